//! Calls: returned messages, queues that go, a broker that dies.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::BasicProperties;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::{CallError, Code, ErrorKind, Fault, Reply, Router, Server, service_fn};
use polywire_rabbitmq_node::Node;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::stage::{
    PATIENCE, bad_text, channel, client, consume, delete, eventually_answered,
    killed_and_restarted, publish, reply, serve, serve_gated, until, waiting,
};
use crate::{broker, node};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        broker("unroutable_calls_fail_and_no_others", unroutable_calls_fail_and_no_others),
        broker("returned_reply_fails_no_call_of_ours", returned_reply_fails_no_call_of_ours),
        broker(
            "oversized_fault_is_answered_with_a_small_one",
            oversized_fault_is_answered_with_a_small_one,
        ),
        broker("requests_are_persistent_and_expire", requests_are_persistent_and_expire),
        broker(
            "garbled_requests_are_answered_or_rejected",
            garbled_requests_are_answered_or_rejected,
        ),
        broker("garbled_reply_fails_its_call_alone", garbled_reply_fails_its_call_alone),
        broker("reserved_headers_are_refused", reserved_headers_are_refused),
        broker("queue_of_other_arguments_is_named", queue_of_other_arguments_is_named),
        broker("deleted_request_queue_is_made_again", deleted_request_queue_is_made_again),
        broker(
            "deleted_reply_queue_fails_its_calls_at_once",
            deleted_reply_queue_fails_its_calls_at_once,
        ),
        broker("requests_not_begun_are_handed_back", requests_not_begun_are_handed_back),
        broker(
            "dropped_server_has_its_request_delivered_again",
            dropped_server_has_its_request_delivered_again,
        ),
        node(
            "message_too_large_for_the_broker_is_told_so",
            message_too_large_for_the_broker_is_told_so,
        ),
        node(
            "confirmed_request_outlives_a_killed_broker",
            confirmed_request_outlives_a_killed_broker,
        ),
        node("killed_broker_comes_back_and_all_goes_on", killed_broker_comes_back_and_all_goes_on),
    ]
}

async fn message_too_large_for_the_broker_is_told_so() {
    let node = Node::start_with("max_message_size = 1048576").unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    // Of its own, since a reply that is too large costs what is not confirmed yet on the same
    // channel: the request, say.
    let servers = Amqp::connect(&node.url()).await.unwrap();
    let server = Server::bind(&servers, "large").await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack)
        .method("grow", |bytes: usize| async move { Ok("x".repeat(bytes)) })
        .method("measure", |text: String| async move { Ok(text.len()) });
    tokio::spawn(server.serve(router));
    let client = client(&amqp, "large").await;
    let error = client.call::<usize>("measure", &"x".repeat(2 << 20)).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::TooLarge), "{error:?}");
    let error = client.call::<String>("grow", &(2 << 20)).await.unwrap_err();
    let CallError::Fault(fault) = error else { panic!("{error:?}") };
    assert_eq!(fault.code, Code::Internal);
    assert!(fault.message.contains("no message of this size"), "{fault}");
    // It was carried out once, and goes on.
    assert_eq!(client.call::<String>("grow", &5).await.unwrap(), "xxxxx");
    // A reply may be there before its confirm.
    until(|| handle.stats().answered == 2).await;
    assert_eq!(handle.stats().undelivered, 0);
}

async fn unroutable_calls_fail_and_no_others(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let _server = serve(&amqp, "busy").await;
    let served = client(&amqp, "busy").await;
    let unserved = client(&amqp, "nobody.at.all").await;
    let calls = (0..2_000_u32).map(|n| {
        let client = if n % 10 == 3 { &unserved } else { &served };
        let call = client.request("double").start::<u32>(&n).unwrap();
        async move { (n, call.await) }
    });
    for (n, outcome) in join_all(calls).await {
        match outcome {
            Ok(doubled) => assert!(n % 10 != 3 && doubled == 2 * n, "{n} doubled is {doubled}"),
            Err(CallError::Failed(error)) => {
                assert!(n % 10 == 3, "call {n} failed: {error:?}");
                assert_eq!(error.kind(), ErrorKind::Unroutable);
                assert!(error.is_unsent());
            }
            other => panic!("call {n} ended with {other:?}"),
        }
    }
}

/// A process that calls and serves has calls of the same numbers as those it serves.
async fn returned_reply_fails_no_call_of_ours(url: String) {
    let (amqp, other) = (Amqp::connect(&url).await.unwrap(), Amqp::connect(&url).await.unwrap());
    let gate = Arc::new(Semaphore::new(0));
    let slow = serve_gated(&other, "elsewhere", &gate).await;
    let server = serve(&amqp, "here").await;
    let call = client(&amqp, "elsewhere").await.request("wait").start::<u32>(&7).unwrap();
    until(|| slow.stats().running == 1).await;
    let stranger = BasicProperties::default()
        .with_type("double".into())
        .with_correlation_id("0-1".into())
        .with_reply_to("polywire.reply.gone".into());
    publish(&channel(&url).await, "polywire.here", stranger).await;
    until(|| server.stats().undelivered == 1).await;
    gate.add_permits(1);
    assert_eq!(call.await.unwrap(), 7);
}

async fn oversized_fault_is_answered_with_a_small_one(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let server = Server::bind(&amqp, "verbose").await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack).method("fail", |(): ()| async {
        Err::<u32, _>(Fault::new(Code::Application, "x".repeat(200_000)))
    });
    tokio::spawn(server.serve(router));
    let client = client(&amqp, "verbose").await;
    let outcome = client.request("fail").timeout(PATIENCE).call::<u32>(&()).await;
    let Err(CallError::Fault(fault)) = outcome else { panic!("the call ended with {outcome:?}") };
    assert_eq!(fault.code, Code::Internal);
    assert!(fault.message.contains("do not fit"), "{}", fault.message);
    // The reply may be here before its confirm is there.
    until(|| handle.stats().answered == 1).await;
}

async fn requests_are_persistent_and_expire(url: String) {
    let channel = channel(&url).await;
    let mut requests = consume(&channel, "polywire.watched").await;
    let amqp = Amqp::connect(&url).await.unwrap();
    let client = client(&amqp, "watched").await;
    let call = client
        .request("look")
        .timeout(Duration::from_secs(7))
        .header("größe", "目")
        .start::<u32>(&1);
    let request = requests.next().await.unwrap().unwrap();
    let properties = &request.properties;
    assert_eq!(properties.delivery_mode(), &Some(2));
    assert_eq!(properties.kind().as_ref().unwrap().as_str(), "look");
    assert_eq!(properties.content_type().as_ref().unwrap().as_str(), "application/msgpack");
    let expiration: u64 = properties.expiration().as_ref().unwrap().as_str().parse().unwrap();
    assert!((5_000..=7_000).contains(&expiration), "{expiration}");
    let headers = properties.headers().as_ref().unwrap();
    assert_eq!(headers.inner().get("größe"), Some(&AMQPValue::LongString("目".into())));
    drop(call);
}

async fn garbled_requests_are_answered_or_rejected(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let handle = serve(&amqp, "victim").await;
    let channel = channel(&url).await;
    let mut answers = consume(&channel, "answers").await;
    let good =
        || BasicProperties::default().with_type("double".into()).with_correlation_id("x".into());
    let garbled = [
        BasicProperties::default().with_correlation_id("x".into()),
        good().with_type("two words".into()),
        good().with_headers(bad_text()),
    ];
    for (before, properties) in (0..).zip(garbled) {
        publish(&channel, "polywire.victim", properties.clone().with_reply_to("answers".into()))
            .await;
        let answer = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
        let fault =
            answer.properties.headers().as_ref().unwrap().inner().get("polywire.fault").cloned();
        assert_eq!(
            fault,
            Some(AMQPValue::LongString(Code::InvalidArguments.as_str().into())),
            "{properties:?}"
        );
        assert_eq!(answer.properties.correlation_id(), properties.correlation_id());
        assert_eq!(answer.properties.delivery_mode(), &Some(2));
        publish(&channel, "polywire.victim", properties).await;
        until(|| handle.stats().rejected == before + 1).await;
    }
    assert_eq!(client(&amqp, "victim").await.call::<u32>("double", &2).await.unwrap(), 4);
}

async fn garbled_reply_fails_its_call_alone(url: String) {
    let channel = channel(&url).await;
    let mut requests = consume(&channel, "polywire.babbler").await;
    let amqp = Amqp::connect(&url).await.unwrap();
    let client = client(&amqp, "babbler").await;
    let garbled = client.request("say").start::<u32>(&1).unwrap();
    reply(&channel, &mut requests, bad_text()).await;
    let error = garbled.await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Codec), "{error:?}");

    let (first, second) = (client.request("say").start::<u32>(&1), client.request("say").start(&1));
    reply(&channel, &mut requests, FieldTable::default()).await;
    reply(&channel, &mut requests, FieldTable::default()).await;
    assert_eq!((first.unwrap().await.unwrap(), second.unwrap().await.unwrap()), (1, 1_u32));
}

async fn reserved_headers_are_refused(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let _server = serve(&amqp, "headers").await;
    let client = client(&amqp, "headers").await;
    let call = client.request("double").header("polywire.fault", "Internal");
    assert_eq!(call.call::<u32>(&1).await.unwrap_err().kind(), Some(ErrorKind::Config));
    let call = client.request("double").header("x".repeat(300), "");
    assert_eq!(call.call::<u32>(&1).await.unwrap_err().kind(), Some(ErrorKind::TooLarge));
    assert_eq!(client.call::<u32>("double", &1).await.unwrap(), 2);
}

async fn queue_of_other_arguments_is_named(url: String) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(5));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel(&url).await.queue_declare("polywire.taken".into(), durable, arguments).await.unwrap();
    let amqp = Amqp::connect(&url).await.unwrap();
    let error = Server::bind(&amqp, "taken").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert_eq!(error.detail("queue"), Some("polywire.taken"));
}

async fn deleted_request_queue_is_made_again(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let _server = serve(&amqp, "fragile").await;
    let client = client(&amqp, "fragile").await;
    assert_eq!(client.call::<u32>("double", &1).await.unwrap(), 2);
    delete(&url, "polywire.fragile").await;
    eventually_answered(&client).await;
}

async fn deleted_reply_queue_fails_its_calls_at_once(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let handle = serve_gated(&amqp, "slow", &gate).await;
    let client = client(&amqp, "slow").await;
    let pending = client.request("wait").start::<u32>(&1).unwrap();
    until(|| handle.stats().running == 1).await;
    // The server has no room for another request, whose properties tell where replies go.
    let channel = channel(&url).await;
    let mut requests = consume(&channel, "polywire.slow").await;
    let second = client.request("wait").start::<u32>(&2).unwrap();
    let request = timeout(PATIENCE, requests.next()).await.unwrap().unwrap().unwrap();
    let queue = request.properties.reply_to().as_ref().unwrap().as_str().to_owned();
    delete(&url, &queue).await;
    drop((requests, second));
    let error = timeout(Duration::from_secs(10), pending).await.expect("at once").unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::RepliesLost), "{error:?}");
    gate.add_permits(100);
    eventually_answered(&client).await;
}

async fn requests_not_begun_are_handed_back(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let idle = Server::bind(&amqp, "idle").await.unwrap();
    let client = client(&amqp, "idle").await;
    let mut calls: Vec<_> =
        (0..4_u32).map(|n| client.request("again").start::<bool>(&n).unwrap()).collect();
    for call in &mut calls {
        call.sent().await;
    }
    let channel = channel(&url).await;
    let held = async { while waiting(&channel, "polywire.idle").await > 0 {} };
    timeout(PATIENCE, held).await.expect("the server that begins none has them all");
    drop(idle);
    let _other = serve(&amqp, "idle").await;
    for outcome in join_all(calls).await {
        assert!(outcome.unwrap(), "not marked as redelivered");
    }
}

async fn dropped_server_has_its_request_delivered_again(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let server = Server::bind(&amqp, "mortal").await.unwrap();
    let handle = server.handle();
    let stuck = service_fn(|_| std::future::pending::<Result<Reply, CallError>>());
    let serving = tokio::spawn(server.serve(stuck));
    let call = client(&amqp, "mortal").await.request("again").start::<bool>(&1).unwrap();
    until(|| handle.stats().running == 1).await;
    serving.abort();
    let _other = serve(&amqp, "mortal").await;
    assert!(call.await.unwrap(), "not marked as redelivered");
}

async fn confirmed_request_outlives_a_killed_broker() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    // A server that was there leaves its queue.
    drop(Server::bind(&amqp, "absent").await.unwrap());
    let client = client(&amqp, "absent").await;
    // A broker may take long to come back.
    let mut call = client.request("double").timeout(PATIENCE * 2).start::<u32>(&21).unwrap();
    call.sent().await;
    let node = killed_and_restarted(node).await;
    let serving = Amqp::connect(&node.url()).await.unwrap();
    let _server = serve(&serving, "absent").await;
    assert_eq!(call.await.unwrap(), 42);
}

async fn killed_broker_comes_back_and_all_goes_on() {
    let node = Node::start().unwrap();
    let (serving, calling) =
        (Amqp::connect(&node.url()).await.unwrap(), Amqp::connect(&node.url()).await.unwrap());
    let _server = serve(&serving, "steady").await;
    let client = client(&calling, "steady").await;
    assert_eq!(client.call::<u32>("double", &1).await.unwrap(), 2);
    let running = client.clone();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let calls = tokio::spawn(async move {
        let mut ended = 0_u32;
        while stopped.try_recv().is_err() {
            // Whatever becomes of it, it ends by its deadline.
            let call = running.request("double").timeout(Duration::from_secs(2)).call::<u32>(&21);
            match timeout(Duration::from_secs(4), call).await.expect("a call ends by its deadline")
            {
                Ok(doubled) => assert_eq!(doubled, 42),
                Err(CallError::DeadlineExceeded(_) | CallError::Failed(_)) => {}
                Err(other) => panic!("a call ended with {other:?}"),
            }
            ended += 1;
        }
        ended
    });
    let _node = killed_and_restarted(node).await;
    eventually_answered(&client).await;
    stop.send(()).unwrap();
    assert!(calls.await.unwrap() > 0);
}
