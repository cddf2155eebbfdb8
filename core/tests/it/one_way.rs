//! One-way calls as their transport gets them: with a time to live, or without any deadline.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::middleware::Deadlines;
use polywire_core::transport::Sending;
use polywire_core::{Client, Context, Deadline, ErrorKind, Memory, Router, Server};
use tokio::time::Instant;

use crate::scripted::{Script, Scripted, never_confirmed, sent};

const SECOND: Duration = Duration::from_secs(1);

async fn client(send: fn() -> Sending<'static>) -> (Client<MessagePack>, Script) {
    let (transport, script) = Scripted::new(send);
    (Client::connect(&transport, "shop", MessagePack).await.unwrap(), script)
}

#[tokio::test(start_paused = true)]
async fn timeout_of_the_sending_is_no_deadline_of_the_call() {
    let (client, mut script) = client(sent).await;
    let note = || client.request("note").timeout(SECOND);
    note().send(&1).await.unwrap();
    note().wait_for_service().send(&2).await.unwrap();
    for _ in 0..2 {
        let message = script.request().await;
        assert_eq!((message.deadline, message.id), (None, None));
    }
}

#[tokio::test(start_paused = true)]
async fn time_to_live_is_the_deadline_however_long_the_sending_may_take() {
    let (client, mut script) = client(sent).await;
    let note = || client.request("note").timeout(SECOND).ttl(5 * SECOND);
    note().send(&1).await.unwrap();
    note().wait_for_service().send(&2).await.unwrap();
    for _ in 0..2 {
        let deadline = script.request().await.deadline;
        assert_eq!(deadline.map(Deadline::remaining), Some(5 * SECOND));
    }
}

#[tokio::test(start_paused = true)]
async fn one_way_call_of_a_handler_inherits_no_deadline() {
    let (notes, mut script) = client(sent).await;
    let router = Router::new(MessagePack).method("order", move |context: Context, (): ()| {
        let notes = notes.clone();
        async move {
            assert!(context.deadline.is_some());
            notes.request("note").send(&1).await?;
            notes.request("note").wait_for_service().send(&2).await?;
            Ok(())
        }
    });
    let memory = Memory::new();
    tokio::spawn(Server::bind(&memory, "front").await.unwrap().serve(router));
    let front = Client::connect(&memory, "front", MessagePack).await.unwrap();
    front.request("order").timeout(SECOND).call::<()>(&()).await.unwrap();
    for _ in 0..2 {
        assert_eq!(script.request().await.deadline, None);
    }
}

#[tokio::test(start_paused = true)]
async fn cap_of_a_layer_limits_the_sending_and_is_no_deadline_of_the_call() {
    let cap = Deadlines::new().cap(SECOND);
    let (client_that_sends, mut script) = client(sent).await;
    let client_that_sends = client_that_sends.layer(&cap);
    client_that_sends.request("note").send(&1).await.unwrap();
    assert_eq!(script.request().await.deadline, None);

    let (client_that_waits, _script) = client(never_confirmed).await;
    let client_that_waits = client_that_waits.layer(&cap);
    let start = Instant::now();
    client_that_waits.request("note").send(&1).await.unwrap_err();
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn call_that_is_not_sent_in_time_fails_on_this_side() {
    let (client, _script) = client(never_confirmed).await;
    let start = Instant::now();
    let error = client.request("note").timeout(SECOND).send(&1).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::DeadlineExceeded));
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[tokio::test]
async fn expired_call_is_kept_only_if_it_has_a_time_to_live() {
    let (mut transport, mut script) = Scripted::new(sent);
    transport.can.dead_letters = true;
    let client = Client::connect(&transport, "shop", MessagePack).await.unwrap();
    client.request("note").keep_expired().send(&1).await.unwrap();
    client.request("note").keep_expired().ttl(SECOND).send(&2).await.unwrap();
    let kept = [script.request().await.keep_expired, script.request().await.keep_expired];
    assert_eq!(kept, [false, true]);
}
