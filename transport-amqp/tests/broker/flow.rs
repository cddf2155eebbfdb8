//! A broker that takes no messages, because it runs out of memory.

use std::time::Duration;

use futures_util::future::join_all;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ConnectionChange, ConnectionEvents};
use polywire_codec::MessagePack;
use polywire_core::{CallError, ErrorKind, Publisher, Puller, Pusher, Transport};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::node;
use crate::outbound::{restored, through_proxy};
use crate::stage::{PATIENCE, client, next_job, serve};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        node("alarm_of_the_broker_is_told", alarm_of_the_broker_is_told),
        node(
            "call_under_alarm_ends_by_its_deadline_unsent",
            call_under_alarm_ends_by_its_deadline_unsent,
        ),
        node("jobs_pushed_under_alarm_go_out_in_order", jobs_pushed_under_alarm_go_out_in_order),
        node("worker_acknowledges_under_alarm", worker_acknowledges_under_alarm),
        node("blocked_transport_closes_in_time", blocked_transport_closes_in_time),
        node(
            "connection_made_under_an_alarm_holds_what_is_sent",
            connection_made_under_an_alarm_holds,
        ),
    ]
}

async fn alarm_of_the_broker_is_told() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let mut events = amqp.events();
    let server = serve(&amqp, "alarmed").await;
    let client = client(&amqp, "alarmed").await;
    alarm(&node);
    // The broker tells those who publish, when they publish.
    let start = || client.request("double").timeout(PATIENCE).start::<u32>(&1).unwrap();
    let first = start();
    blocked(&mut events).await;
    let second = start();
    calm(&node);
    unblocked(&mut events).await;
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (2, 2));
    assert_eq!(server.stats().answered, 2);
}

async fn call_under_alarm_ends_by_its_deadline_unsent() {
    let (node, amqp, mut events) = alarmed().await;
    let served = Amqp::connect(&node.url()).await.unwrap();
    let _server = serve(&served, "unreached").await;
    let client = client(&amqp, "unreached").await;
    let outcome =
        client.request("double").timeout(Duration::from_millis(300)).call::<u32>(&1).await;
    let Err(CallError::Failed(error)) = outcome else { panic!("the call ended with {outcome:?}") };
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    assert!(error.is_unsent() && error.detail("because").unwrap().contains("memory"), "{error:?}");
    calm(&node);
    unblocked(&mut events).await;
    assert_eq!(client.call::<u32>("double", &2).await.unwrap(), 4);
}

async fn jobs_pushed_under_alarm_go_out_in_order() {
    let (node, amqp, mut events) = alarmed().await;
    // Ends can be opened under an alarm: that goes over the other connection.
    let pusher = Pusher::connect(&amqp, "later", MessagePack).timeout(PATIENCE).await.unwrap();
    let _news = Publisher::connect(&amqp, "news", MessagePack).await.unwrap();
    let mut jobs: Puller<u32> = Puller::bind(&amqp, "later", MessagePack).await.unwrap();
    let pushes = join_all((0..50_u32).map(|n| {
        let pusher = pusher.clone();
        async move { pusher.push(&n).await.unwrap() }
    }));
    let clearing = async {
        calm(&node);
        unblocked(&mut events).await;
    };
    tokio::join!(pushes, clearing);
    for expected in 0..50 {
        assert_eq!(next_job(&mut jobs).await, expected);
    }
}

async fn worker_acknowledges_under_alarm() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let mut events = amqp.events();
    let pusher = Pusher::connect(&amqp, "acknowledged", MessagePack).await.unwrap();
    let mut jobs: Puller<u32> = Puller::bind(&amqp, "acknowledged", MessagePack).await.unwrap();
    for n in 0..3_u32 {
        pusher.push(&n).await.unwrap();
    }
    alarm(&node);
    let blocked_push = pusher.push(&3);
    tokio::select! {
        _ = blocked_push => panic!("the broker took a job under an alarm"),
        () = blocked(&mut events) => {}
    }
    for expected in 0..3 {
        assert_eq!(next_job(&mut jobs).await, expected);
    }
    let settling = async {
        while !node.ctl(&["list_queues", "messages_unacknowledged"]).unwrap().trim().ends_with('0')
        {
        }
    };
    timeout(PATIENCE, settling).await.expect("acknowledgements reach the broker");
}

async fn blocked_transport_closes_in_time() {
    let (node, amqp, _events) = alarmed().await;
    let client = client(&amqp, "anybody").await;
    let call = client.request("double").timeout(PATIENCE).start::<u32>(&1).unwrap();
    timeout(PATIENCE, amqp.close()).await.expect("closing ends").unwrap();
    assert_eq!(call.await.unwrap_err().kind(), Some(ErrorKind::Closed));
    calm(&node);
    let leaving =
        async { while node.ctl(&["list_connections", "name"]).unwrap().contains("->") {} };
    timeout(PATIENCE, leaving).await.expect("the connection goes when the broker hears of it");
}

/// What has to be set up on it first is, though the broker blocks it from the first message on.
async fn connection_made_under_an_alarm_holds() {
    let node = Node::start().unwrap();
    let (proxy, builder) = through_proxy(&node.url()).await;
    let amqp = builder.build().await.unwrap();
    let publisher = |channel| Publisher::connect(&amqp, channel, MessagePack).timeout(PATIENCE);
    let (one, other) = (publisher("one").await.unwrap(), publisher("other").await.unwrap());
    let client = client(&amqp, "unreached").await;
    let mut events = amqp.events();
    alarm(&node);
    proxy.sever();
    restored(&mut events).await;
    // In its first moments there is no channel yet.
    let held = async {
        loop {
            let call = client.request("double").timeout(Duration::from_secs(1)).call::<u32>(&1);
            let Err(CallError::Failed(error)) = call.await else {
                panic!("a call was answered by nobody")
            };
            assert!(error.is_unsent(), "{error:?}");
            if error.detail("because").is_some_and(|because| because.contains("memory")) {
                return;
            }
        }
    };
    timeout(PATIENCE, held).await.expect("it is held since the broker takes nothing");
    calm(&node);
    one.publish("x", &1).await.unwrap();
    other.publish("x", &2).await.unwrap();
}

/// A broker under an alarm, and a transport that it has blocked.
async fn alarmed() -> (Node, Amqp, ConnectionEvents) {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let mut events = amqp.events();
    let news = Publisher::connect(&amqp, "alarm", MessagePack).await.unwrap();
    alarm(&node);
    // Those who publish are blocked.
    let published = news.publish("x", &1);
    tokio::select! {
        _ = published => panic!("the broker took an event under an alarm"),
        () = blocked(&mut events) => {}
    }
    (node, amqp, events)
}

pub(crate) fn alarm(node: &Node) {
    node.ctl(&["set_vm_memory_high_watermark", "absolute", "1"]).unwrap();
}

pub(crate) fn calm(node: &Node) {
    node.ctl(&["set_vm_memory_high_watermark", "0.4"]).unwrap();
}

pub(crate) async fn blocked(events: &mut ConnectionEvents) {
    let mut event = timeout(PATIENCE, events.next()).await.unwrap().unwrap();
    while matches!(event.change, ConnectionChange::Connected { .. }) {
        event = timeout(PATIENCE, events.next()).await.unwrap().unwrap();
    }
    assert_eq!(event.role, polywire_amqp::ConnectionRole::Publishing);
    assert!(
        matches!(&event.change, ConnectionChange::Blocked(why) if why.contains("memory")),
        "{event:?}"
    );
}

async fn unblocked(events: &mut ConnectionEvents) {
    while !matches!(
        timeout(PATIENCE, events.next()).await.unwrap().unwrap().change,
        ConnectionChange::Unblocked
    ) {}
}
