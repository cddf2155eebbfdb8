//! Replies that a handler sends before it ends.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::{CallId, ReplyTo};
use polywire_core::rpc::{Deduplication, ServerHandle};
use polywire_core::transport::{Delivery, Receipt};
use polywire_core::{
    Address, CallError, Client, Code, Context, Deadline, ErrorKind, Fault, Memory, Message,
    Replier, Router, Server,
};
use tokio::sync::Semaphore;

use crate::scripted::{Scripted, sent};

async fn serve(
    transport: &Memory,
    router: Router<MessagePack>,
) -> (ServerHandle, Client<MessagePack>) {
    let server = Server::bind(transport, "shop").await.unwrap();
    let handle = server.handle();
    tokio::spawn(server.serve(router));
    (handle, Client::connect(transport, "shop", MessagePack).await.unwrap())
}

async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Replies with 7, and runs until there is a permit. Then fails if the argument is `true`.
fn early(gate: &Arc<Semaphore>) -> Router<MessagePack> {
    let gate = gate.clone();
    Router::new(MessagePack).method("order", move |replier: Replier<u32>, fails: bool| {
        let gate = gate.clone();
        async move {
            replier.reply(&7).await?;
            gate.acquire().await.unwrap().forget();
            if fails { Err(Fault::new(Code::Internal, "out of paper")) } else { Ok(()) }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn caller_gets_the_reply_while_the_handler_runs() {
    let gate = Arc::new(Semaphore::new(0));
    let (server, client) = serve(&Memory::new(), early(&gate)).await;
    assert_eq!(client.call::<u32>("order", &false).await.unwrap(), 7);
    let stats = server.stats();
    assert_eq!((stats.running, stats.answered, client.stats().in_flight), (1, 0, 0));
    gate.add_permits(1);
    server.drain().await;
    let stats = server.stats();
    assert_eq!(
        (stats.running, stats.answered, stats.answered_early, stats.failed_late),
        (0, 1, 1, 0)
    );
    assert_eq!(client.stats().late_replies, 0, "the call has one reply");
}

#[tokio::test(start_paused = true)]
async fn handler_that_has_replied_outlives_the_deadline_and_the_caller() {
    let gate = Arc::new(Semaphore::new(0));
    let (server, client) = serve(&Memory::new(), early(&gate)).await;
    let order = client.request("order").timeout(Duration::from_secs(1));
    assert_eq!(order.call::<u32>(&false).await.unwrap(), 7);
    drop(client);
    tokio::time::sleep(Duration::from_mins(5)).await;
    let stats = server.stats();
    assert_eq!((stats.running, stats.expired, stats.cancelled), (1, 0, 0));
    gate.add_permits(1);
    until(|| server.stats().answered_early == 1).await;
}

#[tokio::test(start_paused = true)]
async fn failure_after_the_reply_is_counted() {
    let gate = Arc::new(Semaphore::new(1));
    let (server, client) = serve(&Memory::new(), early(&gate)).await;
    assert_eq!(client.call::<u32>("order", &true).await.unwrap(), 7);
    until(|| server.stats().failed_late == 1).await;
    assert_eq!(client.stats().late_replies, 0);
}

#[tokio::test(start_paused = true)]
async fn call_after_the_reply_has_its_own_deadline() {
    let transport = Memory::new();
    let (_, back) = serve(
        &transport,
        Router::new(MessagePack).method("left", async |context: Context, (): ()| {
            Ok(context.remaining().unwrap().as_secs())
        }),
    )
    .await;
    let (results, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let router = Router::new(MessagePack).method("order", move |replier: Replier<()>, (): ()| {
        let (back, results) = (back.clone(), results.clone());
        async move {
            results.send(back.call::<u64>("left", &()).await?).unwrap();
            replier.reply(&()).await?;
            results.send(back.call::<u64>("left", &()).await?).unwrap();
            Ok(())
        }
    });
    let server = Server::bind(&transport, "front").await.unwrap();
    tokio::spawn(server.serve(router));
    let front = Client::connect(&transport, "front", MessagePack)
        .timeout(Duration::from_secs(5))
        .await
        .unwrap();
    front.call::<()>("order", &()).await.unwrap();
    assert_eq!((seen.recv().await, seen.recv().await), (Some(5), Some(30)));
}

#[tokio::test(start_paused = true)]
async fn caller_gets_one_reply_from_the_handler() {
    let (results, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let router = Router::new(MessagePack).method("order", move |late: Replier<u32>, (): ()| {
        let results = results.clone();
        async move {
            // By `current`, as a method of `#[service]` does.
            assert!(late.is_awaited());
            Replier::current().reply(&1).await?;
            assert!(!late.is_awaited());
            results.send(late.reply(&2).await.unwrap_err().kind()).unwrap();
            tokio::spawn(Context::current().unwrap().carry(async move {
                let replier = Replier::current();
                tokio::time::sleep(Duration::from_secs(1)).await;
                results.send(replier.reply(&3).await.unwrap_err().kind()).unwrap();
            }));
            Ok(4)
        }
    });
    let (_, client) = serve(&Memory::new(), router).await;
    assert_eq!(client.call::<u32>("order", &()).await.unwrap(), 1);
    assert_eq!([seen.recv().await, seen.recv().await], [Some(ErrorKind::Closed); 2]);
    assert_eq!(client.stats().late_replies, 0);
}

#[tokio::test(start_paused = true)]
async fn handler_without_an_early_reply_replies_at_its_end() {
    let router =
        Router::new(MessagePack).method("order", async |_: Replier<u32>, (): ()| Ok(5_u32));
    let (server, client) = serve(&Memory::new(), router).await;
    assert_eq!(client.call::<u32>("order", &()).await.unwrap(), 5);
    assert_eq!(server.stats().answered_early, 0);
}

#[tokio::test(start_paused = true)]
async fn early_reply_without_a_waiting_caller_is_dropped() {
    let (results, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let router = Router::new(MessagePack).method("order", move |replier: Replier<u32>, (): ()| {
        let results = results.clone();
        async move {
            results.send(replier.is_awaited()).unwrap();
            replier.reply(&1).await?;
            Ok(2_u32)
        }
    });
    // A router that a handler calls replies to the handler, and not to the handler's caller.
    let inner = Client::new(Arc::new(router), MessagePack);
    let outer = Router::new(MessagePack).method("order", move |(): ()| {
        let inner = inner.clone();
        async move {
            inner.request("order").send(&()).await?;
            Ok(10 + inner.call::<u32>("order", &()).await?)
        }
    });
    let (server, client) = serve(&Memory::new(), outer).await;
    assert_eq!(client.call::<u32>("order", &()).await.unwrap(), 12);
    assert_eq!([seen.recv().await, seen.recv().await], [Some(false); 2]);
    assert_eq!(server.stats().answered_early, 0);
}

#[tokio::test(start_paused = true)]
async fn reply_that_cannot_be_encoded_is_an_error_in_the_handler() {
    let router =
        Router::new(MessagePack).method("order", async |replier: Replier<Unencodable>, (): ()| {
            assert_eq!(replier.reply(&Unencodable).await.unwrap_err().kind(), ErrorKind::Codec);
            Ok(9_u32)
        });
    let (_, client) = serve(&Memory::new(), router).await;
    assert_eq!(client.call::<u32>("order", &()).await.unwrap(), 9);
}

struct Unencodable;

impl serde::Serialize for Unencodable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}

#[tokio::test(start_paused = true)]
async fn handler_without_a_reply_ends_at_the_deadline() {
    let router = Router::new(MessagePack).method("order", async |_: Replier<u32>, (): ()| {
        pending::<()>().await;
        Ok(())
    });
    let (server, client) = serve(&Memory::new(), router).await;
    let order = client.request("order").timeout(Duration::from_secs(1)).call::<u32>(&());
    assert!(matches!(order.await, Err(CallError::DeadlineExceeded(_))));
    until(|| server.stats().expired == 1).await;
}

/// A duplicate gets the early reply, both while the handler runs and afterwards.
#[tokio::test(start_paused = true)]
async fn early_reply_is_cached_by_a_server_that_deduplicates() {
    let (transport, mut script) = Scripted::new(sent);
    let bind = Server::bind(&transport, "shop").deduplicate(Deduplication::default());
    let server = bind.await.unwrap();
    let handle = server.handle();
    let gate = Arc::new(Semaphore::new(0));
    tokio::spawn(server.serve(early(&gate)));
    let deliver = |attempt| {
        let delivery = Delivery::new(order(), Receipt::none()).attempt(attempt);
        script.incoming.send(Ok(delivery)).unwrap();
    };
    deliver(1);
    let first = script.sent.recv().await.unwrap();
    deliver(2);
    until(|| handle.stats().running == 2).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(script.sent.try_recv().is_err(), "the duplicate waits for the handler");
    gate.add_permits(1);
    let second = script.sent.recv().await.unwrap();
    deliver(3);
    let third = script.sent.recv().await.unwrap();
    for reply in [first, second, third] {
        assert_eq!((reply.id, reply.body.as_slice()), (Some(CallId(1)), Some(&b"\x07"[..])));
    }
    until(|| handle.stats().running == 0).await;
    let stats = handle.stats();
    assert_eq!((stats.answered, stats.answered_early, stats.duplicates), (3, 1, 2));
    assert!(script.sent.try_recv().is_err());
}

fn order() -> Message {
    let mut message = Message::request(Address::new("order").unwrap(), Deadline::after_ms(30_000));
    (message.id, message.reply_to) = (Some(CallId(1)), Some(ReplyTo::new("caller")));
    (message.content_type, message.body) = (Some("application/msgpack".into()), vec![0xc2].into());
    message
}
