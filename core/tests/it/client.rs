//! Clients over a scripted transport, which does what the memory transport never does.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::CallId;
use polywire_core::middleware::{Middleware, layer};
use polywire_core::rpc::Requester;
use polywire_core::transport::Sending;
use polywire_core::{
    Address, CallError, Client, Code, Deadline, Error, ErrorKind, Fault, Memory, Message, Reply,
    Request, Router, Server, Service, service_fn,
};
use tokio::time::{Instant, timeout};

use crate::scripted::{Script, Scripted, connection_lost, never_confirmed, sent};

async fn client(send: fn() -> Sending<'static>) -> (Client<MessagePack>, Script) {
    let (transport, script) = Scripted::new(send);
    (Client::connect(&transport, "service", MessagePack).await.unwrap(), script)
}

#[tokio::test]
async fn reply_that_overtakes_its_confirm_completes_the_call() {
    let (client, mut script) = client(never_confirmed).await;
    let call = client.request("double").start::<i64>(&1).unwrap();
    let id = script.request().await.id;
    script.reply(id, b"\x02");
    assert_eq!(call.await.unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn call_without_a_reply_ends_at_its_deadline() {
    let (client, mut script) = client(sent).await;
    for timeout in [Duration::from_secs(30), Duration::from_millis(7)] {
        let start = Instant::now();
        let outcome = client.with_timeout(timeout).call::<i64>("double", &1).await;
        assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))));
        assert_eq!(start.elapsed().as_millis(), timeout.as_millis());
        assert!(script.request().await.deadline.is_some());
    }
    assert_eq!(client.stats().in_flight, 0);
}

#[tokio::test]
async fn expired_call_is_not_sent() {
    let (client, mut script) = client(sent).await;
    let outcome = client.request("double").deadline(Deadline::after_ms(0)).call::<i64>(&1).await;
    assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))));
    assert!(script.sent.try_recv().is_err());
}

#[tokio::test]
async fn error_that_names_a_call_fails_that_call_alone() {
    let (client, mut script) = client(sent).await;
    let first = client.request("double").start::<i64>(&1).unwrap();
    let failing = script.request().await.id.unwrap();
    let second = client.request("double").start::<i64>(&1).unwrap();
    let succeeding = script.request().await.id;
    script.fail(Error::new(ErrorKind::Unroutable, "returned").with_call(failing));
    script.reply(succeeding, b"\x02");
    assert_eq!(first.await.unwrap_err().kind(), Some(ErrorKind::Unroutable));
    assert_eq!(second.await.unwrap(), 2);
}

#[tokio::test]
async fn lost_connection_fails_in_flight_calls_and_the_next_call_works() {
    let (client, mut script) = client(sent).await;
    let lost = client.request("double").start::<i64>(&1).unwrap();
    script.request().await;
    script.fail(Error::new(ErrorKind::Disconnected, "the reply queue is gone"));
    assert_eq!(lost.await.unwrap_err().kind(), Some(ErrorKind::Disconnected));
    let next = client.request("double").start::<i64>(&1).unwrap();
    let id = script.request().await.id;
    script.reply(id, b"\x02");
    assert_eq!(next.await.unwrap(), 2);
}

#[tokio::test]
async fn late_and_unreadable_replies_are_counted_and_fail_no_call() {
    let (client, mut script) = client(sent).await;
    script.reply(Some(CallId(77)), b"\x02");
    script.reply(None, b"\x02");
    script.fail(Error::new(ErrorKind::Codec, "garbage"));
    let call = client.request("double").start::<i64>(&1).unwrap();
    let id = script.request().await.id;
    script.reply(id, b"\x02");
    assert_eq!(call.await.unwrap(), 2);
    let stats = client.stats();
    assert_eq!((stats.late_replies, stats.bad_replies, stats.in_flight), (2, 1, 0));
}

#[tokio::test]
async fn calls_beyond_the_bound_are_overloaded() {
    let (transport, mut script) = Scripted::new(sent);
    let client = Client::connect(&transport, "service", MessagePack).pending_max(1).await.unwrap();
    let first = client.request("double").start::<i64>(&1).unwrap();
    script.request().await;
    let error = client.call::<i64>("double", &1).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Overloaded));
    drop(first);
}

#[tokio::test]
async fn failed_send_is_the_calls_error() {
    let (client, _script) = client(connection_lost).await;
    let error = client.call::<i64>("double", &1).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Disconnected));
    assert_eq!(client.stats().in_flight, 0);
}

#[tokio::test]
async fn dropping_the_last_clone_closes_the_connection() {
    let (client, script) = client(sent).await;
    let clone = client.clone();
    drop(client);
    assert!(!script.incoming.is_closed());
    drop(clone);
    script.incoming.closed().await;
}

#[tokio::test]
async fn router_is_a_service_without_any_transport() {
    let router = Router::new(MessagePack).method("double", |n: i64| async move { Ok(n * 2) });
    let client = Client::new(router, MessagePack);
    assert_eq!(client.call::<i64>("double", &4).await.unwrap(), 8);
}

#[tokio::test(start_paused = true)]
async fn client_of_a_service_without_timers_enforces_the_deadline() {
    let router = Router::new(MessagePack)
        .method("wait", |(): ()| async { Ok(std::future::pending::<u8>().await) });
    let client = Client::new(router, MessagePack);
    let began = Instant::now();
    let outcome = client.request("wait").timeout(Duration::from_secs(1)).call::<u8>(&()).await;
    assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))), "{outcome:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

/// A layer that never ends a call.
#[derive(Clone)]
struct Stall;

impl Middleware for Stall {
    async fn call<S: Service>(&self, _: Request, _: &S) -> Result<Reply, CallError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn client_enforces_the_deadline_in_a_layer_that_stalls() {
    let (client, _script) = client(sent).await;
    let client = client.layer(&layer(Stall));
    let began = Instant::now();
    let call = client.request("double").timeout(Duration::from_secs(1)).call::<i64>(&1);
    let outcome = timeout(Duration::from_secs(60), call).await.unwrap();
    assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))), "{outcome:?}");
    assert_eq!(began.elapsed().as_secs(), 1);
}

#[tokio::test]
async fn mark_of_at_most_once_overrules_that_of_idempotent() {
    let typed = Client::new(
        service_fn(async |request: Request| {
            assert!(request.at_most_once && !request.idempotent, "{request:?}");
            Ok(Reply::default())
        }),
        MessagePack,
    );
    // The reply has no body, which the client cannot decode.
    typed.request("pay").idempotent().at_most_once().call::<i64>(&1).await.unwrap_err();

    let (transport, mut script) = Scripted::new(sent);
    let service = Address::new("service").unwrap();
    let requester = Requester::open(&transport, service, 1).await.unwrap();
    let method = Address::new("pay").unwrap();
    let mut request = Request::new(Message::request(method, Deadline::after_ms(30_000)));
    (request.idempotent, request.at_most_once, request.oneway) = (true, true, true);
    requester.call(request).await.unwrap();
    let message = script.request().await;
    assert_eq!((message.idempotent, message.at_most_once), (false, true));
}

fn cannot_connect() -> Sending<'static> {
    Sending::ready(Err(Error::new(ErrorKind::Disconnected, "cannot connect").unsent()))
}

#[tokio::test]
async fn lost_call_that_runs_at_most_once_is_interrupted_unless_it_was_not_sent() {
    let (lost, _script) = client(connection_lost).await;
    let error = lost.request("pay").at_most_once().call::<i64>(&1).await.unwrap_err();
    assert_eq!(error.fault().map(|fault| fault.code), Some(Code::Interrupted), "{error:?}");
    let (unsent, _script) = client(cannot_connect).await;
    let error = unsent.request("pay").at_most_once().call::<i64>(&1).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Disconnected), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn call_that_waits_for_a_server_is_sent_again_only_while_it_reaches_none() {
    let (client, mut script) = client(sent).await;
    let call = client.request("double").wait_for_service().start::<i64>(&1).unwrap();
    let returned = || Error::new(ErrorKind::Unroutable, "returned");
    let first = script.request().await.id.unwrap();
    script.fail(returned().unsent().with_call(first));
    let second = script.request().await.id.unwrap();
    script.fail(returned().with_call(second));
    assert_eq!(call.await.unwrap_err().kind(), Some(ErrorKind::Unroutable));
    assert!(script.sent.try_recv().is_err());
}

fn rejected() -> Sending<'static> {
    Sending::ready(Err(Error::new(ErrorKind::Rejected, "rejected")))
}

fn rejected_unsent() -> Sending<'static> {
    Sending::ready(Err(Error::new(ErrorKind::Rejected, "rejected").unsent()))
}

/// An error of decoding names the part of the value, its type, and the call.
#[tokio::test]
async fn undecodable_result_names_its_part_its_type_and_its_call() {
    let (client, mut script) = client(sent).await;
    let reply = async {
        let id = script.request().await.id;
        script.reply(id, b"\x92\x01\xa3two");
    };
    let (outcome, ()) = tokio::join!(client.call::<Vec<u64>>("place", &1), reply);
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "cannot decode the MessagePack: the value does not match its type (type: Vec<u64>, \
         path: [1], service: service, method: place): invalid type: string, expected u64"
    );
}

#[tokio::test]
async fn undecodable_arguments_name_their_part_their_type_and_the_call() {
    let transport = Memory::new();
    let router = Router::new(MessagePack)
        .method("place", async |lines: Vec<u64>| Ok::<_, Fault>(lines.len()));
    tokio::spawn(Server::bind(&transport, "orders").await.unwrap().serve(router));
    let client = Client::connect(&transport, "orders", MessagePack).await.unwrap();
    let error = client.call::<usize>("place", &(1, "two")).await.unwrap_err();
    assert_eq!(error.fault().map(|fault| fault.code), Some(Code::InvalidArguments), "{error}");
    let text = error.to_string();
    assert!(text.starts_with("orders/place: "), "{text}");
    for part in ["type: Vec<u64>", "path: [1]", "invalid type: string, expected u64"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Returns how often a call and a one-way call that wait for a server are sent within their time.
async fn sent_within_a_second(send: fn() -> Sending<'static>, is_at_most_once: bool) -> [usize; 2] {
    let (client, mut script) = client(send).await;
    let request = || {
        let request = client.request("pay").wait_for_service().timeout(Duration::from_secs(1));
        if is_at_most_once { request.at_most_once() } else { request }
    };
    let mut sent = || std::iter::from_fn(|| script.sent.try_recv().ok()).count();
    request().call::<i64>(&1).await.unwrap_err();
    let calls = sent();
    request().send(&1).await.unwrap_err();
    [calls, sent()]
}

#[tokio::test(start_paused = true)]
async fn rejected_call_that_runs_at_most_once_is_not_sent_again() {
    assert_eq!(sent_within_a_second(rejected, true).await, [1, 1]);
    let repeated: [(fn() -> Sending<'static>, bool); 2] =
        [(rejected, false), (rejected_unsent, true)];
    for (send, is_at_most_once) in repeated {
        let [calls, one_way] = sent_within_a_second(send, is_at_most_once).await;
        assert!(calls > 1 && one_way > 1, "{calls} and {one_way}, {is_at_most_once}");
    }
}

#[tokio::test]
async fn names_that_are_not_addresses_are_refused() {
    let memory = Memory::new();
    let error = Client::connect(&memory, "no spaces, please", MessagePack).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let error = Server::bind(&memory, "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let client = Client::new(
        Requester::open(&memory, Address::new("a").unwrap(), 1).await.unwrap(),
        MessagePack,
    );
    let error = client.call::<()>("two..dots", &()).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Config));
}
