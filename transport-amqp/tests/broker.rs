//! What is AMQP's own: connecting and failing to, returned messages, queues that go, a broker that dies.
//!
//! Most of it needs a broker: `cargo xtask test` starts one and says where in `POLYWIRE_AMQP_URL`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail so")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use libtest_mimic::{Arguments, Completion, Trial};
use polywire_amqp::{Amqp, Change, ConnectionEvent, Credentials, Purpose};
use polywire_codec::MessagePack;
use polywire_core::{
    Address, CallError, Client, Code, Context, Error, ErrorKind, Fault, Reply, Router, Server, ServerHandle,
    Transport, Window, service_fn,
};
use polywire_rabbitmq_node::Node;
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Longer than anything takes that does not hang.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let trials = vec![
        alone("malformed_url_is_refused", malformed_url_is_refused),
        alone("unreachable_host_is_named", unreachable_host_is_named),
        alone("unresolvable_host_is_named", unresolvable_host_is_named),
        alone("silent_peer_is_given_up_in_the_connect_time", silent_peer_is_given_up_in_the_connect_time),
        broker("wrong_password_is_denied", wrong_password_is_denied),
        broker("unknown_virtual_host_is_denied", unknown_virtual_host_is_denied),
        broker("unroutable_calls_fail_and_no_others", unroutable_calls_fail_and_no_others),
        broker("returned_reply_fails_no_call_of_ours", returned_reply_fails_no_call_of_ours),
        broker("oversized_fault_is_answered_with_a_small_one", oversized_fault_is_answered_with_a_small_one),
        broker("requests_are_persistent_and_expire", requests_are_persistent_and_expire),
        broker("garbled_requests_are_answered_or_rejected", garbled_requests_are_answered_or_rejected),
        broker("garbled_reply_fails_its_call_alone", garbled_reply_fails_its_call_alone),
        broker("reserved_headers_are_refused", reserved_headers_are_refused),
        broker("queue_of_other_arguments_is_named", queue_of_other_arguments_is_named),
        broker("deleted_request_queue_is_made_again", deleted_request_queue_is_made_again),
        broker("deleted_reply_queue_fails_its_calls_at_once", deleted_reply_queue_fails_its_calls_at_once),
        broker("requests_not_begun_are_handed_back", requests_not_begun_are_handed_back),
        broker(
            "dropped_server_has_its_request_delivered_again",
            dropped_server_has_its_request_delivered_again,
        ),
        node("confirmed_request_outlives_a_killed_broker", confirmed_request_outlives_a_killed_broker),
        node("killed_broker_comes_back_and_all_goes_on", killed_broker_comes_back_and_all_goes_on),
        node("frozen_broker_does_not_keep_close_from_ending", frozen_broker_does_not_keep_close_from_ending),
        #[cfg(feature = "tls")]
        node("certificates_are_verified", certificates_are_verified),
        node("lost_broker_is_replaced_by_the_next_one", lost_broker_is_replaced_by_the_next_one),
        node("changed_password_is_asked_for_again", changed_password_is_asked_for_again),
        node("refused_user_is_not_retried_for_ever", refused_user_is_not_retried_for_ever),
        node("alarm_of_the_broker_is_told", alarm_of_the_broker_is_told),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// A test that needs no broker.
fn alone<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::test(name, move || {
        run(test());
        Ok(())
    })
}

/// A test that needs a broker, given by its URL.
fn broker<F: Future<Output = ()> + 'static>(name: &str, test: fn(String) -> F) -> Trial {
    Trial::ignorable_test(name, move || match std::env::var("POLYWIRE_AMQP_URL") {
        Ok(url) => {
            run(test(url));
            Ok(Completion::Completed)
        }
        Err(_) => Ok(not_run()),
    })
}

/// A test that starts a node of its own; where it may is told by the same variable.
fn node<F: Future<Output = ()> + 'static>(name: &str, test: fn() -> F) -> Trial {
    Trial::ignorable_test(name, move || {
        if std::env::var_os("POLYWIRE_AMQP_URL").is_none() {
            return Ok(not_run());
        }
        run(test());
        Ok(Completion::Completed)
    })
}

fn not_run() -> Completion {
    Completion::ignored_with("for want of a broker; `cargo xtask test` starts one")
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { timeout(PATIENCE * 2, test).await.expect("the test ends") });
}

async fn malformed_url_is_refused() {
    for url in
        ["http://user:hunter2@localhost", "amqp://user:hunter2@localhost:port", "user:hunter2@localhost"]
    {
        assert_eq!(refused(url).await.kind(), ErrorKind::Config, "{url}");
    }
}

async fn unreachable_host_is_named() {
    let error = refused("amqp://user:hunter2@127.0.0.1:1").await;
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert_eq!((error.detail("host"), error.detail("port")), (Some("127.0.0.1"), Some("1")));
}

async fn unresolvable_host_is_named() {
    let error = refused("amqp://user:hunter2@nowhere.invalid").await;
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert_eq!(error.detail("host"), Some("nowhere.invalid"));
}

async fn silent_peer_is_given_up_in_the_connect_time() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("amqp://user:hunter2@127.0.0.1:{port}?connection_timeout=500");
    let error = timeout(Duration::from_secs(5), refused(&url)).await.expect("it gives up");
    assert_eq!(error.kind(), ErrorKind::Disconnected);
    assert_eq!(error.detail("port"), Some(&*port.to_string()));
    // What was opened is closed again: whoever goes on trying does not pile up connections.
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut said = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut said)).await.expect("it hangs up").unwrap();
}

async fn wrong_password_is_denied(url: String) {
    let error = refused(&url.replace("guest:guest", "guest:hunter2")).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.detail("host").is_some());
}

async fn unknown_virtual_host_is_denied(url: String) {
    let error = refused(&url.replace("%2f", "nowhere")).await;
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
}

/// The error of a connection that cannot be made; whose text holds no password.
async fn refused(url: &str) -> Error {
    let error = Amqp::connect(url).await.expect_err("the connection is refused");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    error
}

async fn unroutable_calls_fail_and_no_others(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let _server = serve(&amqp, "busy").await;
    let served = client(&amqp, "busy").await;
    let unserved = client(&amqp, "nobody.at.all").await;
    let calls = (0..2_000_u32).map(|n| {
        let client = if n % 10 == 3 { &unserved } else { &served };
        let call = client.request("double").start::<_, u32>(&n).unwrap();
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
    let call = client(&amqp, "elsewhere").await.request("wait").start::<_, u32>(&7).unwrap();
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
    let router = Router::new(MessagePack)
        .method("fail", |(): ()| async { Err::<u32, _>(Fault::new(Code::Application, "x".repeat(200_000))) });
    tokio::spawn(server.serve(router));
    let client = client(&amqp, "verbose").await;
    let outcome = client.request("fail").timeout(PATIENCE).call::<_, u32>(&()).await;
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
    let call =
        client.request("look").timeout(Duration::from_secs(7)).header("größe", "目").start::<_, u32>(&1);
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
    let good = || BasicProperties::default().with_type("double".into()).with_correlation_id("x".into());
    let garbled = [
        BasicProperties::default().with_correlation_id("x".into()),
        good().with_type("two words".into()),
        good().with_headers(bad_text()),
    ];
    for (before, properties) in (0..).zip(garbled) {
        publish(&channel, "polywire.victim", properties.clone().with_reply_to("answers".into())).await;
        let answer = timeout(PATIENCE, answers.next()).await.unwrap().unwrap().unwrap();
        let fault = answer.properties.headers().as_ref().unwrap().inner().get("polywire.fault").cloned();
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
    assert_eq!(client(&amqp, "victim").await.call::<_, u32>("double", &2).await.unwrap(), 4);
}

async fn garbled_reply_fails_its_call_alone(url: String) {
    let channel = channel(&url).await;
    let mut requests = consume(&channel, "polywire.babbler").await;
    let amqp = Amqp::connect(&url).await.unwrap();
    let client = client(&amqp, "babbler").await;
    let garbled = client.request("say").start::<_, u32>(&1).unwrap();
    reply(&channel, &mut requests, bad_text()).await;
    let error = garbled.await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Codec), "{error:?}");

    let (first, second) = (client.request("say").start::<_, u32>(&1), client.request("say").start(&1));
    reply(&channel, &mut requests, FieldTable::default()).await;
    reply(&channel, &mut requests, FieldTable::default()).await;
    assert_eq!((first.unwrap().await.unwrap(), second.unwrap().await.unwrap()), (1, 1_u32));
}

async fn reserved_headers_are_refused(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let _server = serve(&amqp, "headers").await;
    let client = client(&amqp, "headers").await;
    let call = client.request("double").header("polywire.fault", "Internal");
    assert_eq!(call.call::<_, u32>(&1).await.unwrap_err().kind(), Some(ErrorKind::Config));
    let call = client.request("double").header("x".repeat(300), "");
    assert_eq!(call.call::<_, u32>(&1).await.unwrap_err().kind(), Some(ErrorKind::TooLarge));
    assert_eq!(client.call::<_, u32>("double", &1).await.unwrap(), 2);
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
    assert_eq!(client.call::<_, u32>("double", &1).await.unwrap(), 2);
    delete(&url, "polywire.fragile").await;
    eventually_answered(&client).await;
}

async fn deleted_reply_queue_fails_its_calls_at_once(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let handle = serve_gated(&amqp, "slow", &gate).await;
    let client = client(&amqp, "slow").await;
    let pending = client.request("wait").start::<_, u32>(&1).unwrap();
    until(|| handle.stats().running == 1).await;
    // The server has no room for another request, whose properties tell where replies go.
    let channel = channel(&url).await;
    let mut requests = consume(&channel, "polywire.slow").await;
    let second = client.request("wait").start::<_, u32>(&2).unwrap();
    let request = timeout(PATIENCE, requests.next()).await.unwrap().unwrap().unwrap();
    let queue = request.properties.reply_to().as_ref().unwrap().as_str().to_owned();
    delete(&url, &queue).await;
    drop((requests, second));
    let error = timeout(Duration::from_secs(10), pending).await.expect("at once").unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Disconnected), "{error:?}");
    gate.add_permits(100);
    eventually_answered(&client).await;
}

async fn requests_not_begun_are_handed_back(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let idle = Server::bind(&amqp, "idle").await.unwrap();
    let client = client(&amqp, "idle").await;
    let mut calls: Vec<_> =
        (0..4_u32).map(|n| client.request("again").start::<_, bool>(&n).unwrap()).collect();
    for call in &mut calls {
        call.handed_over().await;
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
    let call = client(&amqp, "mortal").await.request("again").start::<_, bool>(&1).unwrap();
    until(|| handle.stats().running == 1).await;
    serving.abort();
    let _other = serve(&amqp, "mortal").await;
    assert!(call.await.unwrap(), "not marked as redelivered");
}

async fn confirmed_request_outlives_a_killed_broker() {
    let mut node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    // A server that was there leaves its queue.
    drop(Server::bind(&amqp, "absent").await.unwrap());
    let mut call = client(&amqp, "absent").await.request("double").start::<_, u32>(&21).unwrap();
    call.handed_over().await;
    let killing = tokio::task::spawn_blocking(move || {
        node.kill().unwrap();
        node.restart().unwrap();
        node
    });
    let node = killing.await.unwrap();
    let serving = Amqp::connect(&node.url()).await.unwrap();
    let _server = serve(&serving, "absent").await;
    assert_eq!(call.await.unwrap(), 42);
}

async fn killed_broker_comes_back_and_all_goes_on() {
    let mut node = Node::start().unwrap();
    let (serving, calling) =
        (Amqp::connect(&node.url()).await.unwrap(), Amqp::connect(&node.url()).await.unwrap());
    let _server = serve(&serving, "steady").await;
    let client = client(&calling, "steady").await;
    assert_eq!(client.call::<_, u32>("double", &1).await.unwrap(), 2);
    let running = client.clone();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let calls = tokio::spawn(async move {
        let mut ended = 0_u32;
        while stopped.try_recv().is_err() {
            // Whatever becomes of it, it ends by its deadline.
            let call = running.request("double").timeout(Duration::from_secs(2)).call::<_, u32>(&21);
            match timeout(Duration::from_secs(4), call).await.expect("a call ends by its deadline") {
                Ok(doubled) => assert_eq!(doubled, 42),
                Err(CallError::DeadlineExceeded | CallError::Failed(_)) => {}
                Err(other) => panic!("a call ended with {other:?}"),
            }
            ended += 1;
        }
        ended
    });
    let node = tokio::task::spawn_blocking(move || {
        node.kill().unwrap();
        node.restart().unwrap();
        node
    });
    let _node = node.await.unwrap();
    eventually_answered(&client).await;
    stop.send(()).unwrap();
    assert!(calls.await.unwrap() > 0);
}

async fn frozen_broker_does_not_keep_close_from_ending() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let _server = serve(&amqp, "cold").await;
    let client = client(&amqp, "cold").await;
    assert_eq!(client.call::<_, u32>("double", &1).await.unwrap(), 2);
    node.freeze().unwrap();
    timeout(Duration::from_secs(5), amqp.close()).await.expect("closing ends").unwrap();
    assert_eq!(client.call::<_, u32>("double", &1).await.unwrap_err().kind(), Some(ErrorKind::Closed));
}

#[cfg(feature = "tls")]
async fn lost_broker_is_replaced_by_the_next_one() {
    let (mut first, second) = (Node::start().unwrap(), Node::start().unwrap());
    let url = format!("amqp://guest:guest@127.0.0.1:{},127.0.0.1:{}", first.port(), second.port());
    let amqp = Amqp::connect(&url).await.unwrap();
    let mut events = amqp.events();
    let _server = serve(&amqp, "moving").await;
    let client = client(&amqp, "moving").await;
    assert_eq!(client.call::<_, u32>("double", &1).await.unwrap(), 2);
    assert!(
        second.ctl(&["list_connections"]).unwrap().trim().is_empty(),
        "the second broker is used already"
    );
    first.kill().unwrap();
    let mut restored = Vec::new();
    while restored.len() < 2 {
        let ConnectionEvent { purpose, change, .. } = events.next().await.unwrap();
        match change {
            Change::Lost(error) => assert_eq!(error.kind(), ErrorKind::Disconnected),
            Change::Restored { port, .. } => {
                assert_eq!(port, second.port());
                restored.push(purpose);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_ne!(restored[0], restored[1]);
    // The queue of the service is made at the second broker as soon as its consumer is there.
    let answer = async {
        loop {
            match client.call::<_, u32>("double", &2).await {
                Ok(four) => return four,
                Err(error) => {
                    assert!(matches!(error.kind(), Some(ErrorKind::Unroutable | ErrorKind::Disconnected)));
                }
            }
        }
    };
    assert_eq!(answer.await, 4);
}

async fn changed_password_is_asked_for_again() {
    let node = Node::start().unwrap();
    let password = Arc::new(std::sync::Mutex::new("guest"));
    let shared = password.clone();
    let url = format!("amqp://nobody:nothing@127.0.0.1:{}", node.port());
    let builder = Amqp::builder(&url).unwrap().credentials(move || {
        let password = *shared.lock().unwrap();
        async move { Ok(Credentials::new("guest", password)) }
    });
    let amqp = builder.connect().await.unwrap();
    let mut events = amqp.events();
    let _server = serve(&amqp, "rotated").await;
    node.ctl(&["change_password", "guest", "changed"]).unwrap();
    *password.lock().unwrap() = "changed";
    node.ctl(&["close_all_connections", "rotation"]).unwrap();
    let mut restored = 0;
    while restored < 2 {
        restored += u32::from(matches!(events.next().await.unwrap().change, Change::Restored { .. }));
    }
    assert_eq!(client(&amqp, "rotated").await.call::<_, u32>("double", &2).await.unwrap(), 4);
}

async fn refused_user_is_not_retried_for_ever() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let mut events = amqp.events();
    let client = client(&amqp, "nobody").await;
    node.ctl(&["change_password", "guest", "changed"]).unwrap();
    node.ctl(&["close_all_connections", "rotation"]).unwrap();
    let mut refused = 0;
    while refused < 2 {
        if let Change::Refused(error) = events.next().await.unwrap().change {
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert_eq!(error.detail("port"), Some(node.port().to_string().as_str()));
            refused += 1;
        }
    }
    let outcome = client.call::<_, u32>("double", &2).await;
    assert_eq!(outcome.unwrap_err().kind(), Some(ErrorKind::Denied));
    let error = Server::bind(&amqp, "late").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
}

async fn alarm_of_the_broker_is_told() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let mut events = amqp.events();
    let server = serve(&amqp, "alarmed").await;
    let client = client(&amqp, "alarmed").await;
    node.ctl(&["set_vm_memory_high_watermark", "0.000001"]).unwrap();
    // The broker tells those who publish, when they publish.
    let start = || client.request("double").timeout(PATIENCE).start::<_, u32>(&1).unwrap();
    let first = start();
    let event = events.next().await.unwrap();
    assert_eq!(event.purpose, Purpose::Publishing);
    assert!(matches!(&event.change, Change::Blocked(why) if why.contains("memory")), "{event:?}");
    let second = start();
    node.ctl(&["set_vm_memory_high_watermark", "0.4"]).unwrap();
    loop {
        if matches!(events.next().await.unwrap().change, Change::Unblocked) {
            break;
        }
    }
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (2, 2));
    assert_eq!(server.stats().answered, 2);
}

async fn certificates_are_verified() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/rabbitmq/certificates");
    std::fs::create_dir_all(&folder).unwrap();
    let folder = folder.canonicalize().unwrap();
    certificates(&folder);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let at = folder.display();
    let node = Node::start_with(&format!(
        "listeners.ssl.default = 127.0.0.1:{port}\nssl_options.cacertfile = {at}/ca.pem\n\
         ssl_options.certfile = {at}/server.pem\nssl_options.keyfile = {at}/server.key\n\
         ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = false\n"
    ))
    .unwrap();
    let url = |host: &str, ca: &str| format!("amqps://guest:guest@{host}:{port}?cacertfile={at}/{ca}");

    let amqp = Amqp::connect(&url("localhost", "ca.pem")).await.unwrap();
    let _server = serve(&amqp, "secret").await;
    assert_eq!(client(&amqp, "secret").await.call::<_, u32>("double", &1).await.unwrap(), 2);

    // One that insists on the client's.
    let strict_port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let strict = Node::start_with(&format!(
        "listeners.ssl.default = 127.0.0.1:{strict_port}\nssl_options.cacertfile = {at}/ca.pem\n\
         ssl_options.certfile = {at}/server.pem\nssl_options.keyfile = {at}/server.key\n\
         ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n"
    ))
    .unwrap();
    let strict_url = format!("amqps://guest:guest@localhost:{strict_port}?cacertfile={at}/ca.pem");
    let error = Amqp::connect(&strict_url).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error:?}");
    let with_ours = format!("{strict_url}&certfile={at}/server.pem&keyfile={at}/server.key");
    Amqp::connect(&with_ours).await.unwrap().close().await.unwrap();
    drop(strict);

    for (host, ca) in [("127.0.0.2", "ca.pem"), ("localhost", "other.pem")] {
        let error = Amqp::connect(&url(host, ca)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Disconnected, "{host} {ca}: {error:?}");
        assert_eq!(error.detail("host"), Some(host));
    }
    drop(node);
}

/// A CA, a server's certificate for `localhost`, and a CA that signed nothing.
#[cfg(feature = "tls")]
fn certificates(folder: &std::path::Path) {
    let script = "set -e
        for ca in ca other; do
            openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$ca -keyout $ca.key -out $ca.pem
        done
        openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
        echo subjectAltName=DNS:localhost > names
        openssl x509 -req -days 2 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile names -out server.pem
        chmod 644 *.key";
    let made = std::process::Command::new("sh").args(["-c", script]).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

async fn serve(amqp: &Amqp, service: &str) -> ServerHandle {
    let server = Server::bind(amqp, Address::new(service).unwrap()).await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack)
        .method("double", |n: u32| async move { Ok(2 * n) })
        .method("again", |context: Context, _: u32| async move { Ok(context.is_redelivered()) });
    tokio::spawn(server.serve(router));
    handle
}

/// A server of one request at a time, which waits for a permit.
async fn serve_gated(amqp: &Amqp, service: &str, gate: &Arc<Semaphore>) -> ServerHandle {
    let server = Server::bind(amqp, Address::new(service).unwrap()).window(Window::new(1)).await.unwrap();
    let handle = server.handle();
    let gate = gate.clone();
    let router = Router::new(MessagePack)
        .method("wait", move |n: u32| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(n)
            }
        })
        .method("double", |n: u32| async move { Ok(2 * n) });
    tokio::spawn(server.serve(router));
    handle
}

async fn client(amqp: &Amqp, service: &str) -> Client<MessagePack> {
    Client::connect(amqp, Address::new(service).unwrap(), MessagePack).await.unwrap()
}

/// Calls until a call is answered.
async fn eventually_answered(client: &Client<MessagePack>) {
    let calling = async {
        while client.request("double").timeout(Duration::from_secs(2)).call::<_, u32>(&1).await.ok()
            != Some(2)
        {}
    };
    timeout(PATIENCE, calling).await.expect("a call is answered again");
}

async fn until(holds: impl Fn() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, looking).await.expect("it comes to be so");
}

async fn channel(url: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    connection.create_channel().await.unwrap()
}

/// Consumes a durable queue of the default arguments, which is made if it is not there.
async fn consume(channel: &Channel, queue: &str) -> lapin::Consumer {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(ShortString::from(queue), durable, FieldTable::default()).await.unwrap();
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    channel.basic_consume(ShortString::from(queue), "".into(), options, arguments).await.unwrap()
}

/// How many messages of a queue nobody has been given.
async fn waiting(channel: &Channel, queue: &str) -> u32 {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare(ShortString::from(queue), passive, FieldTable::default());
    queue.await.unwrap().message_count()
}

/// Answers the next request with 1, and these headers.
async fn reply(channel: &Channel, requests: &mut lapin::Consumer, headers: FieldTable) {
    let request = timeout(PATIENCE, requests.next()).await.unwrap().unwrap().unwrap().properties;
    let properties = BasicProperties::default()
        .with_correlation_id(request.correlation_id().clone().unwrap())
        .with_content_type("application/msgpack".into())
        .with_headers(headers);
    publish(channel, request.reply_to().as_ref().unwrap().as_str(), properties).await;
}

/// Headers of which one is not UTF-8.
fn bad_text() -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert("note".into(), AMQPValue::LongString(b"\xff".to_vec().into()));
    headers
}

async fn publish(channel: &Channel, queue: &str, properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    channel.basic_publish("".into(), ShortString::from(queue), options, b"\x01", properties).await.unwrap();
}

async fn delete(url: &str, queue: &str) {
    let channel = channel(url).await;
    channel
        .queue_delete(ShortString::from(queue), lapin::options::QueueDeleteOptions::default())
        .await
        .unwrap();
}
