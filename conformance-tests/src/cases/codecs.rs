//! The built-in codecs over the transport.
//!
//! A transport carries a body without knowing its format. JSON is text and MessagePack is binary,
//! so both together show whether bodies are carried as they are.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use polywire_codec::{Json, MessagePack};
use polywire_core::{
    CallError, Client, Code, Codec, Error, ErrorKind, Message, Publisher, Puller, Pusher, Reply,
    Router, Server, Service, Subscriber, service_fn,
};
use serde::{Deserialize, Serialize};

use super::receive::{next_event, next_job};
use super::refusal::error_of;
use super::request::raw_request;
use crate::context::TestContext;
use crate::context::running_server::RunningServer;
use crate::names::{CHANNEL, QUEUE, SERVICE};
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time, within};

/// A call in JSON and a call in MessagePack come back unchanged.
///
/// The value holds text beyond ASCII, the least 64-bit integer and floating-point numbers.
///
/// Catches transports of text, which a codec of binary data shows.
pub async fn calls_cross_in_each_codec(context: &TestContext) -> Verdict {
    call_crosses(context, Json).await?;
    call_crosses(context, MessagePack).await
}

/// A client reads replies in each format that it accepts, and in no other.
///
/// A server answers all requests in JSON. A client that sends MessagePack and accepts JSON
/// as well reads the reply. A client of MessagePack alone fails, with an error that names both
/// formats, and goes on. A server that accepts both formats answers each client in its own.
///
/// Catches backends that lose the media type of a reply.
pub async fn client_reads_the_formats_that_it_accepts(context: &TestContext) -> Verdict {
    let answer = service_fn(|_| async {
        let mut reply = Message::new("700");
        reply.content_type = Some(Json::CONTENT_TYPE.into());
        Ok::<_, CallError>(Reply::from(reply))
    });
    let _server = context.serve(answer).await?;
    let transport = context.calling().await?;
    let both = Client::connect(&transport, SERVICE, (MessagePack, Json)).timeout(PATIENCE);
    let both = in_time(both).await?;
    let one = context.client_on(&transport).await?;
    let reply: u32 = both.call("ask", &()).await.or_fail("a reply in the second format is read")?;
    ensure!(reply == 700, "the client of both formats read {reply}");
    let outcome = one.call::<u32>("ask", &()).await;
    let Err(CallError::Failed(error)) = outcome else {
        return Err(Failure::new(format!("a reply in a foreign format was read as {outcome:?}")));
    };
    let text = error.to_string();
    ensure!(error.kind() == ErrorKind::Codec, "a reply in a foreign format failed as {error:?}");
    for format in [Json::CONTENT_TYPE, MessagePack::CONTENT_TYPE] {
        ensure!(text.contains(format), "the error does not name {format}: {text}");
    }
    let serving = context.serving().await?;
    let name = format!("{SERVICE}.both");
    let server = in_time(Server::bind(&serving, name.clone())).await?;
    let router = Router::new((MessagePack, Json)).method("double", async |n: u32| Ok(2 * n));
    let _both = RunningServer::start(serving, server, router);
    answers_in(context, &name, Json).await?;
    answers_in(context, &name, MessagePack).await
}

/// The media type of a request counts without its case and its parameters, the charset excepted.
///
/// A server of JSON answers requests whose media type differs from that of the codec in case, and
/// in a charset that is UTF-8. It answers another charset with a fault, [`Code::InvalidArguments`].
///
/// Catches wires that carry the media types that they know, and replace others.
pub async fn parameters_of_a_media_type_do_not_count(context: &TestContext) -> Verdict {
    let router = Router::new(Json).method("double", async |n: u32| Ok(2 * n));
    let _server = context.serve(router).await?;
    let requester = context.requester().await?;
    let ask = async |media_type: &'static str| {
        let mut request = raw_request("double")?;
        request.message.body = Bytes::from_static(b"7").into();
        request.message.content_type = Some(media_type.into());
        requester.call(request).await.or_fail(&format!("a request in {media_type} is answered"))
    };
    for media_type in [
        Json::CONTENT_TYPE,
        "application/json; charset=utf-8",
        "Application/JSON;charset=\"UTF-8\"",
    ] {
        let reply = ask(media_type).await?.message;
        ensure!(
            reply.fault.is_none(),
            "a request in {media_type} was answered with {:?}",
            reply.fault
        );
        let body = reply.body.into_bytes();
        ensure!(*body == *b"14", "a request in {media_type} was answered with {body:?}");
    }
    let foreign = ask("application/json; charset=latin1").await?.message;
    let foreign = foreign.fault.or_fail("another charset is answered with a fault")?;
    ensure!(
        foreign.code == Code::InvalidArguments,
        "another charset was answered with {foreign:?}"
    );
    Ok(())
}

/// Calls a server of several formats in one of them.
async fn answers_in<C: Codec>(context: &TestContext, service: &str, codec: C) -> Verdict {
    let transport = context.calling().await?;
    let client = Client::connect(&transport, service, codec).timeout(PATIENCE);
    let reply: u32 =
        in_time(client).await?.call("double", &4).await.or_fail("a call is answered")?;
    ensure!(reply == 8, "a call in {} got {reply}", C::CONTENT_TYPE);
    Ok(())
}

/// Calls a service that returns its argument, in one codec.
async fn call_crosses<C: Codec>(context: &TestContext, codec: C) -> Verdict {
    let transport = context.serving().await?;
    let service = format!("{SERVICE}.{}", C::CONTENT_TYPE.replace('/', "-"));
    let server = in_time(Server::bind(&transport, service.clone())).await?;
    let router =
        Router::new(codec.clone()).method("echo", |reading: Reading| async move { Ok(reading) });
    let _serving = RunningServer::start(transport, server, router);
    let client =
        in_time(Client::connect(&context.calling().await?, service, codec).timeout(PATIENCE))
            .await?;
    let back: Reading = client.call("echo", &reading()).await.or_fail("a call is answered")?;
    ensure!(back == reading(), "in {}, a value came back as {back:?}", C::CONTENT_TYPE);
    Ok(())
}

/// A job in JSON and a job in MessagePack arrive unchanged.
///
/// As [`calls_cross_in_each_codec`], over a queue for each codec.
///
/// Catches transports of text, and bodies that end at a zero byte.
///
/// Needs the capability `pipeline`.
pub async fn jobs_cross_in_each_codec(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    job_crosses(context, Json).await?;
    job_crosses(context, MessagePack).await
}

/// Pushes and pulls a job, in one codec.
async fn job_crosses<C: Codec>(context: &TestContext, codec: C) -> Verdict {
    let queue = format!("{QUEUE}.{}", C::CONTENT_TYPE.replace('/', "-"));
    let mut jobs: Puller<Reading> =
        in_time(Puller::bind(&context.serving().await?, queue.clone(), codec.clone())).await?;
    let pusher = in_time(Pusher::connect(&context.calling().await?, queue, codec)).await?;
    pusher.push(&reading()).await.or_fail("a push")?;
    let job = next_job(&mut jobs).await?;
    ensure!(*job == reading(), "in {}, a job came as {:?}", C::CONTENT_TYPE, *job);
    job.ack();
    Ok(())
}

/// An event in JSON and an event in MessagePack arrive unchanged.
///
/// As [`calls_cross_in_each_codec`], over a channel for each codec.
///
/// Catches transports of text, and bodies that end at a zero byte.
///
/// Needs the capability `pubsub`.
pub async fn events_cross_in_each_codec(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    event_crosses(context, Json).await?;
    event_crosses(context, MessagePack).await
}

/// Publishes and receives an event, in one codec.
async fn event_crosses<C: Codec>(context: &TestContext, codec: C) -> Verdict {
    let channel = format!("{CHANNEL}.{}", C::CONTENT_TYPE.replace('/', "-"));
    let mut events: Subscriber<Reading> =
        in_time(Subscriber::bind(&context.serving().await?, channel.clone(), codec.clone()))
            .await?;
    let publisher = in_time(Publisher::connect(&context.calling().await?, channel, codec)).await?;
    publisher.publish("a", &reading()).await.or_fail("publishing")?;
    let event = next_event(&mut events).await?;
    ensure!(*event == reading(), "in {}, an event came as {:?}", C::CONTENT_TYPE, *event);
    Ok(())
}

/// Numbers that JSON does not have.
const NOT_IN_JSON: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

/// Numbers that need all digits of a floating-point number.
const IN_JSON: [f64; 2] = [0.1, f64::MAX];

/// A call in JSON with a number that JSON does not have fails at its caller and is not sent.
///
/// The numbers are not-a-number and the two infinities, in a call and in a one-way call. The error
/// is [`ErrorKind::Codec`] and unsent. Finite numbers come back unchanged, and the handler has seen
/// these alone when its server has drained.
///
/// Catches transports that read bodies and write them again.
pub async fn call_with_a_number_beyond_json_is_unsent(context: &TestContext) -> Verdict {
    let seen: Arc<Mutex<Vec<f64>>> = Arc::default();
    let noted = seen.clone();
    let router = Router::new(Json).method("note", move |number: f64| {
        noted.lock().unwrap_or_else(PoisonError::into_inner).push(number);
        async move { Ok(number) }
    });
    let server = context.serve(router).await?;
    let transport = context.calling().await?;
    let client = in_time(Client::connect(&transport, SERVICE, Json).timeout(PATIENCE)).await?;
    for number in NOT_IN_JSON {
        let called = client.call::<f64>("note", &number).await;
        is_unsent("a call", number, error_of(&called))?;
        let sent = client.request("note").send(&number).await;
        is_unsent("a one-way call", number, error_of(&sent))?;
    }
    for number in IN_JSON {
        let back: f64 = client.call("note", &number).await.or_fail("a finite number is sent")?;
        is_same(number, back)?;
    }
    within(PATIENCE, "the server drains", server.handle.drain()).await?;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    ensure!(seen.len() == IN_JSON.len(), "the handler got the numbers {seen:?}");
    Ok(())
}

/// A job in JSON with a number that JSON does not have fails at its pusher and is not sent.
///
/// As [`call_with_a_number_beyond_json_is_unsent`]: the puller gets the finite numbers alone.
///
/// Catches the same as [`call_with_a_number_beyond_json_is_unsent`].
///
/// Needs the capability `pipeline`.
pub async fn job_with_a_number_beyond_json_is_unsent(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let mut jobs: Puller<f64> =
        in_time(Puller::bind(&context.serving().await?, QUEUE, Json)).await?;
    let pusher = in_time(Pusher::connect(&context.calling().await?, QUEUE, Json)).await?;
    for number in NOT_IN_JSON {
        is_unsent("a push", number, pusher.push(&number).await.as_ref().err())?;
    }
    for number in IN_JSON {
        pusher.push(&number).await.or_fail("a finite number is pushed")?;
        let job = next_job(&mut jobs).await?;
        is_same(number, *job)?;
        job.ack();
    }
    Ok(())
}

/// An event in JSON with a number that JSON does not have fails at its publisher and is not sent.
///
/// As [`call_with_a_number_beyond_json_is_unsent`]: the subscriber gets the finite numbers alone.
///
/// Catches the same as [`call_with_a_number_beyond_json_is_unsent`].
///
/// Needs the capability `pubsub`.
pub async fn event_with_a_number_beyond_json_is_unsent(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let mut events: Subscriber<f64> =
        in_time(Subscriber::bind(&context.serving().await?, CHANNEL, Json)).await?;
    let publisher = in_time(Publisher::connect(&context.calling().await?, CHANNEL, Json)).await?;
    for number in NOT_IN_JSON {
        is_unsent("an event", number, publisher.publish("a", &number).await.as_ref().err())?;
    }
    for number in IN_JSON {
        publisher.publish("a", &number).await.or_fail("a finite number is published")?;
        is_same(number, *next_event(&mut events).await?)?;
    }
    Ok(())
}

/// Checks that a message failed in its codec, and was not sent.
fn is_unsent(what: &str, number: f64, error: Option<&Error>) -> Verdict {
    let is_refused =
        error.is_some_and(|error| error.kind() == ErrorKind::Codec && error.is_unsent());
    ensure!(is_refused, "{what} with the number {number} ended with the error {error:?}");
    Ok(())
}

/// Checks that a number arrived with each of its digits.
fn is_same(sent: f64, came: f64) -> Verdict {
    ensure!(sent.to_bits() == came.to_bits(), "the number {sent:e} came as {came:e}");
    Ok(())
}

/// A value with fields of several types.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    place: String,
    degrees: Option<f64>,
    history: Vec<(i64, f32)>,
}

/// A value with text beyond ASCII, a bound of integers and floating-point numbers.
fn reading() -> Reading {
    Reading {
        place: "Zürich \u{1f321}".to_owned(),
        degrees: Some(-1.5),
        history: vec![(i64::MIN, 0.25)],
    }
}
