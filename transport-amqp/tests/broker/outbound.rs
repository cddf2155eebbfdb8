//! What goes out: returned, held while there is no connection, and bounded while nothing is
//! confirmed.

use std::time::Duration;

use futures_util::future::join_all;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, AmqpBuilder, ConnectionChange, ConnectionEvents, ConnectionRole};
use polywire_codec::MessagePack;
use polywire_conformance::{Direction, Proxy};
use polywire_core::message::CallId;
use polywire_core::transport::Sender;
use polywire_core::{
    Address, CallError, Deadline, ErrorKind, Message, Puller, Pusher, Server, Transport,
};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::stage::{PATIENCE, channel, client, next_job};
use crate::{broker, node};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        broker(
            "each_unroutable_message_is_told_and_no_other",
            each_unroutable_message_is_told_and_no_other,
        ),
        broker("held_jobs_go_out_in_order", held_jobs_go_out_in_order),
        broker("message_that_is_given_up_is_never_sent", message_that_is_given_up_is_never_sent),
        node("unconfirmed_messages_are_bounded", unconfirmed_messages_are_bounded),
        broker("message_that_is_not_confirmed_in_time_may_have_arrived", not_confirmed_in_time),
        broker(
            "message_that_the_broker_refuses_is_rejected",
            message_that_the_broker_refuses_is_rejected,
        ),
    ]
}

async fn each_unroutable_message_is_told_and_no_other(url: String) {
    let amqp = Amqp::builder(&url).unwrap().persistent(false).build().await.unwrap();
    // A server that was there leaves its queue.
    drop(Server::bind(&amqp, "routable").await.unwrap());
    let routable = requests_to(&amqp, "routable").await;
    let unroutable = requests_to(&amqp, "nobody.is.here").await;
    for window in 0..200_u64 {
        let sending = (0..100).map(|n| {
            let is_routable = n % 10 != window % 10;
            let sender = if is_routable { &routable } else { &unroutable };
            let mut request =
                Message::request(Address::new("x").unwrap(), Deadline::after(PATIENCE));
            request.id = Some(CallId(window * 100 + n));
            let sending = sender.send(request);
            async move { (is_routable, sending.await) }
        });
        for (is_routable, outcome) in join_all(sending).await {
            match outcome {
                Ok(()) => assert!(is_routable, "a message was taken that nobody takes"),
                Err(error) => {
                    assert!(!is_routable, "a message was taken, and its sender told: {error:?}");
                    assert_eq!(error.kind(), ErrorKind::Unroutable);
                    assert!(error.is_unsent());
                }
            }
        }
    }
}

/// A sender of requests. Their numbers are given by whoever sends; no reply is waited for.
async fn requests_to(amqp: &Amqp, service: &str) -> Sender {
    amqp.requester(&Address::new(service).unwrap()).await.unwrap().0
}

/// In order among themselves, beyond the bounds of the buffer, and before what comes when the
/// connection is back.
async fn held_jobs_go_out_in_order(url: String) {
    let (proxy, builder) = through_proxy(&url).await;
    let amqp = builder.publish_buffer(20, 1 << 20).build().await.unwrap();
    let mut events = amqp.events();
    let mut jobs = puller(&url, "held.in.order").await;
    let pusher = pusher(&amqp, "held.in.order").await;
    cut(&proxy, &mut events).await;
    let held = join_all((0..200_u32).map(|n| {
        let pusher = pusher.clone();
        async move { pusher.push(&n).await.unwrap() }
    }));
    let later = async {
        proxy.refuse(false);
        restored(&mut events).await;
        for n in 200..300_u32 {
            pusher.push(&n).await.unwrap();
        }
    };
    // The former are all handed over before the latter begins.
    tokio::join!(held, later);
    for expected in 0..300 {
        assert_eq!(next_job(&mut jobs).await, expected);
    }
}

async fn message_that_is_given_up_is_never_sent(url: String) {
    let (proxy, builder) = through_proxy(&url).await;
    let amqp = builder.connect_timeout(Duration::from_millis(700)).build().await.unwrap();
    let mut events = amqp.events();
    let mut jobs = puller(&url, "given.up").await;
    let pusher = pusher(&amqp, "given.up").await;
    let caller = client(&amqp, "nobody").await;
    cut(&proxy, &mut events).await;
    assert!(timeout(Duration::ZERO, pusher.push(&1)).await.is_err(), "it is held, and dropped");
    let impatient = caller.request("x").timeout(Duration::from_millis(50)).call::<u32>(&1);
    let (impatient, pushed) = tokio::join!(impatient, pusher.push(&2));
    let Err(CallError::Failed(impatient)) = impatient else {
        panic!("the call ended with {impatient:?}")
    };
    for error in [impatient, pushed.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Disconnected);
        assert!(error.is_unsent(), "{error:?}");
    }
    proxy.refuse(false);
    restored(&mut events).await;
    // By now a line may be open, or not.
    while pusher.push(&3).await.is_err() {}
    assert_eq!(next_job(&mut jobs).await, 3);
}

async fn unconfirmed_messages_are_bounded() {
    let node = Node::start().unwrap();
    let amqp =
        Amqp::builder(&node.url()).unwrap().unconfirmed_max(4, 1 << 20).build().await.unwrap();
    drop(Server::bind(&amqp, "frozen").await.unwrap());
    let client = client(&amqp, "frozen").await;
    node.freeze().unwrap();
    let call = || client.request("x").timeout(Duration::from_millis(500)).call::<u32>(&());
    let calls = std::iter::repeat_with(call).take(10);
    let mut sent = 0;
    for outcome in join_all(calls).await {
        match outcome {
            // On its way, so that nobody knows.
            Err(CallError::DeadlineExceeded(_)) => sent += 1,
            Err(CallError::Failed(error)) => {
                assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
                assert!(error.is_unsent(), "{error:?}");
            }
            other => panic!("a call that nobody serves ended with {other:?}"),
        }
    }
    assert_eq!(sent, 4);
    node.thaw().unwrap();
    // What was on its way is confirmed now, and makes room.
    let mut call = client.request("x").timeout(PATIENCE).start::<u32>(&1).unwrap();
    call.handed_over().await;
}

async fn not_confirmed_in_time(url: String) {
    let (proxy, builder) = through_proxy(&url).await;
    let amqp = builder.confirm_timeout(Duration::from_millis(300)).build().await.unwrap();
    let pusher = pusher(&amqp, "unconfirmed").await;
    proxy.black_hole(Direction::ToServer);
    let error = pusher.push(&1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error:?}");
    assert!(!error.is_unsent() && error.detail("seconds").is_some(), "{error:?}");
}

async fn message_that_the_broker_refuses_is_rejected(url: String) {
    let node_channel = channel(&url).await;
    let mut full = FieldTable::default();
    full.insert("x-max-length".into(), AMQPValue::LongInt(1));
    full.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    node_channel.queue_declare("polywire.full".into(), durable, full).await.unwrap();
    let amqp = Amqp::connect(&url).await.unwrap();
    let requests = requests_to(&amqp, "full").await;
    let request = || Message::request(Address::new("x").unwrap(), Deadline::after(PATIENCE));
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        outcomes.push(requests.send(request()).await);
    }
    let error = outcomes.pop().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Rejected, "{error:?}");
    assert!(!error.is_unsent());
}

/// A proxy before the broker, and what connects through it.
pub(crate) async fn through_proxy(url: &str) -> (Proxy, AmqpBuilder) {
    let (before, port) = url.trim_end_matches("/%2f").rsplit_once(':').unwrap();
    let proxy = Proxy::start(format!("127.0.0.1:{port}")).await.unwrap();
    let url = format!("{}@{}", before.rsplit_once('@').unwrap().0, proxy.address());
    (proxy, Amqp::builder(&url).unwrap())
}

/// Cuts the connections, and lets nobody in, until the transport knows that it cannot publish.
async fn cut(proxy: &Proxy, events: &mut ConnectionEvents) {
    proxy.refuse(true);
    proxy.sever();
    loop {
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap();
        if event.role == ConnectionRole::Publishing
            && matches!(event.change, ConnectionChange::Lost(_))
        {
            return;
        }
    }
}

pub(crate) async fn restored(events: &mut ConnectionEvents) {
    loop {
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap();
        if event.role == ConnectionRole::Publishing
            && matches!(event.change, ConnectionChange::Restored { .. })
        {
            return;
        }
    }
}

async fn pusher(amqp: &Amqp, queue: &str) -> Pusher<MessagePack> {
    Pusher::connect(amqp, queue, MessagePack).timeout(PATIENCE).await.unwrap()
}

/// A puller that has a connection of its own.
async fn puller(url: &str, queue: &str) -> Puller<u32> {
    let amqp = Amqp::connect(url).await.unwrap();
    Puller::bind(&amqp, queue, MessagePack).await.unwrap()
}
