//! Calls: persistence, returned requests, deleted queues, and brokers that are killed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::BasicProperties;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_core::message::SentAt;
use polywire_core::{CallError, ErrorKind, Reply, Server, service_fn};
use polywire_rabbitmq_node::Node;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::context::{PATIENCE, killed_and_restarted, through_proxy, until};
use crate::endpoints::{client, eventually_answered, serve, serve_gated};
use crate::engine::{channel, consume, delete_queue, publish, until_delivered};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker unroutable_calls_fail_and_no_others,
        broker returned_reply_fails_no_own_call,
        broker requests_are_persistent_and_expire,
        broker clock_of_a_peer_is_shared_by_all_servers_of_a_transport,
        broker mismatched_request_queue_is_named,
        broker deleted_request_queue_is_declared_again,
        broker deleted_reply_queue_fails_its_calls_at_once,
        broker requests_not_begun_are_redelivered,
        broker request_of_a_dropped_server_is_redelivered,
        broker started_call_is_sent_when_the_broker_has_confirmed_it,
        node confirmed_request_survives_a_killed_broker,
        node calls_succeed_again_after_a_killed_broker_restarts,
    ]
}

async fn unroutable_calls_fail_and_no_others(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let _server = serve(&amqp, "busy").await;
    let served = client(&amqp, "busy").await;
    let unserved = client(&amqp, "unserved").await;
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

/// A link of which each direction takes a quarter of a second carries the request and the confirm.
async fn started_call_is_sent_when_the_broker_has_confirmed_it(url: String) {
    const DELAY: Duration = Duration::from_millis(250);
    let near = Amqp::connect(&url).await.unwrap();
    let server = Server::bind(&near, "confirmed.sent").await.unwrap();
    let (proxy, builder) = through_proxy(&url).await;
    let far = builder.build().await.unwrap();
    let client = client(&far, "confirmed.sent").await;
    proxy.delay(DELAY);
    let start = Instant::now();
    let mut call = client.request("wait").timeout(PATIENCE).start::<u32>(&1).unwrap();
    call.sent().await;
    let sent = start.elapsed();
    assert!(sent >= 2 * DELAY, "sent after {sent:?}");
    // The server has not run, so no reply has stood in for the confirm.
    assert!(!call.is_finished());
    drop(server);
}

/// The numbers of the calls that a process sends and of those that it serves may be equal.
async fn returned_reply_fails_no_own_call(url: String) {
    let (amqp, other) = (Amqp::connect(&url).await.unwrap(), Amqp::connect(&url).await.unwrap());
    let gate = Arc::new(Semaphore::new(0));
    let slow = serve_gated(&other, "elsewhere", &gate).await;
    let server = serve(&amqp, "here").await;
    let call = client(&amqp, "elsewhere").await.request("wait").start::<u32>(&7).unwrap();
    until(|| slow.stats().running == 1).await;
    let foreign = BasicProperties::default()
        .with_type("double".into())
        .with_correlation_id("0-1".into())
        .with_reply_to("polywire.reply.gone".into());
    publish(&channel(&url).await, "polywire.here", foreign).await;
    until(|| server.stats().undelivered == 1).await;
    gate.add_permits(1);
    assert_eq!(call.await.unwrap(), 7);
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

/// A client on another machine calls one service, and then another one, whose queue holds its
/// request for longer than that may wait.
async fn clock_of_a_peer_is_shared_by_all_servers_of_a_transport(url: String) {
    let (amqp, channel) = (Amqp::connect(&url).await.unwrap(), channel(&url).await);
    let first = serve(&amqp, "clock.first").await;
    let second = serve(&amqp, "clock.second").await;
    let _answers = consume(&channel, "clock.answers").await;
    let now = SentAt::now();
    let request = |waited: u64| {
        // The first half of the number stands for the machine.
        let sent = SentAt { clock: now.clock ^ (1 << 40), ms: now.ms - waited };
        let mut headers = FieldTable::default();
        headers.insert("polywire.sent".into(), AMQPValue::LongString(sent.to_string().into()));
        BasicProperties::default()
            .with_type("double".into())
            .with_content_type("application/msgpack".into())
            .with_correlation_id("x".into())
            .with_reply_to("clock.answers".into())
            .with_expiration("60000".into())
            .with_headers(headers)
    };
    publish(&channel, "polywire.clock.first", request(0)).await;
    until(|| first.stats().answered == 1).await;
    publish(&channel, "polywire.clock.second", request(90_000)).await;
    until(|| second.stats().expired + second.stats().answered == 1).await;
    assert_eq!(second.stats().expired, 1);
}

async fn mismatched_request_queue_is_named(url: String) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(5));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel(&url).await.queue_declare("polywire.taken".into(), durable, arguments).await.unwrap();
    let amqp = Amqp::connect(&url).await.unwrap();
    let error = Server::bind(&amqp, "taken").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert_eq!(error.detail("queue"), Some("polywire.taken"));
}

async fn deleted_request_queue_is_declared_again(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let _server = serve(&amqp, "fragile").await;
    let client = client(&amqp, "fragile").await;
    assert_eq!(client.call::<u32>("double", &1).await.unwrap(), 2);
    delete_queue(&url, "polywire.fragile").await;
    eventually_answered(&client).await;
}

async fn deleted_reply_queue_fails_its_calls_at_once(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let handle = serve_gated(&amqp, "slow", &gate).await;
    let client = client(&amqp, "slow").await;
    let pending = client.request("wait").start::<u32>(&1).unwrap();
    until(|| handle.stats().running == 1).await;
    // The window of the server is full, so this consumer gets the next request. Its properties name
    // the reply queue.
    let channel = channel(&url).await;
    let mut requests = consume(&channel, "polywire.slow").await;
    let second = client.request("wait").start::<u32>(&2).unwrap();
    let request = timeout(PATIENCE, requests.next()).await.unwrap().unwrap().unwrap();
    let queue = request.properties.reply_to().as_ref().unwrap().as_str().to_owned();
    delete_queue(&url, &queue).await;
    drop((requests, second));
    let error = timeout(Duration::from_secs(10), pending).await.expect("at once").unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::RepliesLost), "{error:?}");
    gate.add_permits(100);
    eventually_answered(&client).await;
}

async fn requests_not_begun_are_redelivered(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let idle = Server::bind(&amqp, "idle").await.unwrap();
    let client = client(&amqp, "idle").await;
    let mut calls: Vec<_> =
        (0..4_u32).map(|n| client.request("again").start::<bool>(&n).unwrap()).collect();
    for call in &mut calls {
        call.sent().await;
    }
    let channel = channel(&url).await;
    until_delivered(&channel, "polywire.idle").await;
    drop(idle);
    let _other = serve(&amqp, "idle").await;
    for outcome in join_all(calls).await {
        assert!(outcome.unwrap(), "not marked as redelivered");
    }
}

async fn request_of_a_dropped_server_is_redelivered(url: String) {
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

async fn confirmed_request_survives_a_killed_broker() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    // The queue outlives its server.
    drop(Server::bind(&amqp, "absent").await.unwrap());
    let client = client(&amqp, "absent").await;
    // Restarting a broker may take long.
    let mut call = client.request("double").timeout(PATIENCE * 2).start::<u32>(&21).unwrap();
    call.sent().await;
    let node = killed_and_restarted(node).await;
    let serving = Amqp::connect(&node.url()).await.unwrap();
    let _server = serve(&serving, "absent").await;
    assert_eq!(call.await.unwrap(), 42);
}

async fn calls_succeed_again_after_a_killed_broker_restarts() {
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
            // A call ends by its deadline, also without a broker.
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
