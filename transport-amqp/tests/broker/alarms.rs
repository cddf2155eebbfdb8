//! A broker that is out of memory, and blocks publishers.

use std::time::Duration;

use futures_util::future::join_all;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ConnectionEvents};
use polywire_codec::MessagePack;
use polywire_core::{CallError, ErrorKind, Publisher, Puller, Pusher, Transport};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::{
    PATIENCE, blocked, clear_alarm, restored, set_alarm, through_proxy, unblocked, until,
};
use crate::endpoints::{acked_job, client, serve};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        node alarm_is_a_connection_event,
        node call_under_alarm_ends_by_its_deadline_unsent,
        node jobs_pushed_under_alarm_keep_their_order,
        node worker_acknowledges_under_alarm,
        node blocked_transport_closes_in_time,
        node connection_opened_under_an_alarm_buffers_messages,
    ]
}

async fn alarm_is_a_connection_event() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let mut events = amqp.events();
    let server = serve(&amqp, "alarmed").await;
    let client = client(&amqp, "alarmed").await;
    set_alarm(&node);
    // The broker blocks a connection at its next message.
    let start = || client.request("double").timeout(PATIENCE).start::<u32>(&1).unwrap();
    let first = start();
    blocked(&mut events).await;
    let second = start();
    clear_alarm(&node);
    unblocked(&mut events).await;
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (2, 2));
    // The server counts after the confirm of its reply, which may reach the client first.
    until(|| server.stats().answered == 2).await;
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
    clear_alarm(&node);
    unblocked(&mut events).await;
    assert_eq!(client.call::<u32>("double", &2).await.unwrap(), 4);
}

async fn jobs_pushed_under_alarm_keep_their_order() {
    let (node, amqp, mut events) = alarmed().await;
    // Endpoint handles open under an alarm, over the other connection.
    let pusher = Pusher::connect(&amqp, "later", MessagePack).timeout(PATIENCE).await.unwrap();
    let _news = Publisher::connect(&amqp, "news", MessagePack).await.unwrap();
    let mut jobs: Puller<u32> = Puller::bind(&amqp, "later", MessagePack).await.unwrap();
    let pushes = join_all((0..50_u32).map(|n| {
        let pusher = pusher.clone();
        async move { pusher.push(&n).await.unwrap() }
    }));
    let clearing = async {
        clear_alarm(&node);
        unblocked(&mut events).await;
    };
    tokio::join!(pushes, clearing);
    for expected in 0..50 {
        assert_eq!(acked_job(&mut jobs).await, expected);
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
    set_alarm(&node);
    let blocked_push = pusher.push(&3);
    tokio::select! {
        _ = blocked_push => panic!("the broker accepted a job under an alarm"),
        () = blocked(&mut events) => {}
    }
    for expected in 0..3 {
        assert_eq!(acked_job(&mut jobs).await, expected);
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
    let client = client(&amqp, "unserved").await;
    let call = client.request("double").timeout(PATIENCE).start::<u32>(&1).unwrap();
    timeout(PATIENCE, amqp.close()).await.expect("closing ends").unwrap();
    assert_eq!(call.await.unwrap_err().kind(), Some(ErrorKind::Closed));
    clear_alarm(&node);
    let leaving =
        async { while node.ctl(&["list_connections", "name"]).unwrap().contains("->") {} };
    timeout(PATIENCE, leaving).await.expect("the broker closes the connection after the alarm");
}

/// The setup of the connection succeeds, although the broker blocks it at its first message.
async fn connection_opened_under_an_alarm_buffers_messages() {
    let node = Node::start().unwrap();
    let (proxy, builder) = through_proxy(&node.url()).await;
    let amqp = builder.build().await.unwrap();
    let publisher = |channel| Publisher::connect(&amqp, channel, MessagePack).timeout(PATIENCE);
    let (one, other) = (publisher("one").await.unwrap(), publisher("other").await.unwrap());
    let client = client(&amqp, "unreached").await;
    let mut events = amqp.events();
    set_alarm(&node);
    proxy.sever();
    restored(&mut events).await;
    // The first calls may find no channel yet.
    let buffered = async {
        loop {
            let call = client.request("double").timeout(Duration::from_secs(1)).call::<u32>(&1);
            let Err(CallError::Failed(error)) = call.await else {
                panic!("a call without a server succeeded")
            };
            assert!(error.is_unsent(), "{error:?}");
            if error.detail("because").is_some_and(|because| because.contains("memory")) {
                return;
            }
        }
    };
    timeout(PATIENCE, buffered).await.expect("calls are buffered because of the alarm");
    clear_alarm(&node);
    one.publish("x", &1).await.unwrap();
    other.publish("x", &2).await.unwrap();
}

/// Returns a node under an alarm, and a transport that it has blocked.
async fn alarmed() -> (Node, Amqp, ConnectionEvents) {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let mut events = amqp.events();
    let news = Publisher::connect(&amqp, "alarm", MessagePack).await.unwrap();
    set_alarm(&node);
    // The broker blocks a connection at its next message.
    let published = news.publish("x", &1);
    tokio::select! {
        _ = published => panic!("the broker accepted an event under an alarm"),
        () = blocked(&mut events) => {}
    }
    (node, amqp, events)
}
