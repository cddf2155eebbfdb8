//! Publishing: returned messages, the buffer, the limit on unconfirmed messages, and rejects.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable};
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ConnectionChange, ConnectionEvents, ConnectionRole};
use polywire_codec::MessagePack;
use polywire_conformance::{Direction, FaultProxy};
use polywire_core::message::CallId;
use polywire_core::transport::Sender;
use polywire_core::{Address, CallError, Deadline, ErrorKind, Message, Puller, Server, Transport};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::{PATIENCE, restored, through_proxy};
use crate::endpoints::{acked_job, client, pusher};
use crate::engine::channel;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker each_unroutable_message_fails_and_no_other,
        broker buffered_jobs_keep_their_order,
        broker withdrawn_message_is_never_sent,
        broker large_messages_without_a_connection_are_unsent_in_time,
        node unconfirmed_messages_are_limited,
        broker message_without_a_confirm_may_have_arrived,
        broker message_that_a_queue_rejects_is_rejected,
    ]
}

async fn each_unroutable_message_fails_and_no_other(url: String) {
    let amqp = Amqp::builder(&url).unwrap().persistent(false).build().await.unwrap();
    // The queue outlives its server.
    drop(Server::bind(&amqp, "routable").await.unwrap());
    let routable = requests_to(&amqp, "routable").await;
    let unroutable = requests_to(&amqp, "unserved.outbound").await;
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
                Ok(()) => assert!(is_routable, "an unroutable message was accepted"),
                Err(error) => {
                    assert!(!is_routable, "a routable message failed: {error:?}");
                    assert_eq!(error.kind(), ErrorKind::Unroutable);
                    assert!(error.is_unsent());
                }
            }
        }
    }
}

/// Returns a sender of requests, which receives no replies. The call ids are up to the test.
async fn requests_to(amqp: &Amqp, service: &str) -> Sender {
    amqp.requester(&Address::new(service).unwrap()).await.unwrap().0
}

/// The order holds among buffered jobs, beyond the bounds of the buffer, and towards later jobs.
async fn buffered_jobs_keep_their_order(url: String) {
    let (proxy, builder) = through_proxy(&url).await;
    let amqp = builder.publish_buffer(20, 1 << 20).build().await.unwrap();
    let mut events = amqp.events();
    let mut jobs = own_puller(&url, "buffered.in.order").await;
    let pusher = pusher(&amqp, "buffered.in.order").await;
    cut(&proxy, &mut events).await;
    let buffered = join_all((0..200_u32).map(|n| {
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
    // `join!` polls `buffered` first, so these jobs are pushed before the later ones.
    tokio::join!(buffered, later);
    for expected in 0..300 {
        assert_eq!(acked_job(&mut jobs).await, expected);
    }
}

async fn withdrawn_message_is_never_sent(url: String) {
    let (proxy, builder) = through_proxy(&url).await;
    let amqp = builder.connect_timeout(Duration::from_millis(700)).build().await.unwrap();
    let mut events = amqp.events();
    let mut jobs = own_puller(&url, "withdrawn").await;
    let pusher = pusher(&amqp, "withdrawn").await;
    let caller = client(&amqp, "unserved").await;
    cut(&proxy, &mut events).await;
    assert!(
        timeout(Duration::ZERO, pusher.push(&1)).await.is_err(),
        "the job is buffered, and withdrawn"
    );
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
    // The channel opens a moment after the connection.
    while pusher.push(&3).await.is_err() {}
    assert_eq!(acked_job(&mut jobs).await, 3);
}

async fn large_messages_without_a_connection_are_unsent_in_time(url: String) {
    let (proxy, builder) = through_proxy(&url).await;
    let limit = Duration::from_millis(700);
    let amqp = builder.connect_timeout(limit).publish_buffer(2, 3 << 20).build().await.unwrap();
    let mut events = amqp.events();
    let mut jobs =
        Puller::<String>::bind(&Amqp::connect(&url).await.unwrap(), "large.unsent", MessagePack)
            .await
            .unwrap();
    let pusher = pusher(&amqp, "large.unsent").await;
    cut(&proxy, &mut events).await;
    let begun = Instant::now();
    // The second has no room in the buffer, and must not wait for the first.
    let (small, large) = ("small".to_owned(), "x".repeat(2 << 20));
    let failed = join_all([&large, &large, &small].map(|job| pusher.push(job))).await;
    for error in failed.into_iter().map(Result::unwrap_err) {
        assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Disconnected, true), "{error:?}");
    }
    assert!(begun.elapsed() < limit * 10, "{:?}", begun.elapsed());
    // A message whose sender still waits is sent when the connection is back.
    let pushing = async {
        while let Err(error) = pusher.push(&large).await {
            assert!(error.is_unsent(), "{error:?}");
        }
    };
    let restoring = async {
        proxy.refuse(false);
        restored(&mut events).await;
    };
    timeout(PATIENCE, async { tokio::join!(pushing, restoring) }).await.expect("the job is sent");
    let job = timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(job.len(), large.len());
    job.ack();
    pusher.push(&small).await.unwrap();
    let job = timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(*job, "small");
    job.ack();
}

async fn unconfirmed_messages_are_limited() {
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
            // Published, with an unknown outcome.
            Err(CallError::DeadlineExceeded(_)) => sent += 1,
            Err(CallError::Failed(error)) => {
                assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
                assert!(error.is_unsent(), "{error:?}");
            }
            other => panic!("a call without a server ended with {other:?}"),
        }
    }
    assert_eq!(sent, 4);
    node.thaw().unwrap();
    // The published requests are confirmed now, and make room.
    let mut call = client.request("x").timeout(PATIENCE).start::<u32>(&1).unwrap();
    call.sent().await;
}

async fn message_without_a_confirm_may_have_arrived(url: String) {
    let (proxy, builder) = through_proxy(&url).await;
    let amqp = builder.confirm_timeout(Duration::from_millis(300)).build().await.unwrap();
    let pusher = pusher(&amqp, "unconfirmed").await;
    // The first message waits until the broker has validated the user id.
    pusher.push(&0).await.unwrap();
    proxy.black_hole(Direction::ToServer);
    let error = pusher.push(&1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{error:?}");
    assert!(!error.is_unsent() && error.detail("seconds").is_some(), "{error:?}");
}

async fn message_that_a_queue_rejects_is_rejected(url: String) {
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

/// Cuts all connections, and refuses new ones. Returns when the transport has noticed.
async fn cut(proxy: &FaultProxy, events: &mut ConnectionEvents) {
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

/// Returns a puller with a transport of its own.
async fn own_puller(url: &str, queue: &str) -> Puller<u32> {
    let amqp = Amqp::connect(url).await.unwrap();
    Puller::bind(&amqp, queue, MessagePack).await.unwrap()
}
