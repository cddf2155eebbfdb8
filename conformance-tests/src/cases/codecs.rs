//! The built-in codecs over the transport.
//!
//! A transport carries a body without knowing its format. JSON is text and MessagePack is binary,
//! so both together show whether bodies are carried as they are.

use polywire_codec::{Json, MessagePack};
use polywire_core::{Client, Codec, Publisher, Puller, Pusher, Router, Server, Subscriber};
use serde::{Deserialize, Serialize};

use super::receive::{next_event, next_job};
use crate::context::TestContext;
use crate::context::running_server::RunningServer;
use crate::names::{CHANNEL, QUEUE, SERVICE};
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time};

/// A call in JSON and a call in MessagePack come back unchanged.
///
/// The value holds text beyond ASCII, the least 64-bit integer and floating-point numbers.
///
/// Catches transports of text, which a codec of binary data shows.
pub async fn calls_cross_in_each_codec(context: &TestContext) -> Verdict {
    call_crosses(context, Json).await?;
    call_crosses(context, MessagePack).await
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
