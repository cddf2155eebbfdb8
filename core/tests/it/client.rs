//! Clients over a scripted transport, which does what the memory transport never does.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::CallId;
use polywire_core::rpc::Requester;
use polywire_core::transport::Sending;
use polywire_core::{
    Address, CallError, Client, Deadline, Error, ErrorKind, Memory, Router, Server,
};
use tokio::time::Instant;

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
