//! Servers that dial their caller, of which one has no room.

#![cfg(all(target_os = "linux", feature = "engine-omq"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a panic is a failure")]

use std::time::Duration;

use omq_tokio::{Message, Options, Socket, SocketType};
use polywire_codec::MessagePack;
use polywire_core::{Client, Router, Server};
use polywire_zmq::{Engine, Zmq};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
/// More than lies in all queues between two ends.
const MANY: usize = 30_000;
/// Those that wait for one that has no room.
const CALLS: usize = 1_000;

/// How long this thread has had a processor.
fn busy() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(told.split_whitespace().next().unwrap().parse().unwrap())
}

/// Whether this is a request that wants a reply: kind 1, with an id.
fn wants_reply(message: &Message) -> bool {
    message.iter().any(|part| matches!(part[..], [b'P', 1, 1, flags, ..] if flags & 1 != 0))
}

#[tokio::test]
async fn a_call_waits_for_the_guest_that_it_is_left_with_and_keeps_nobody_busy_or_waiting() {
    let calling = Zmq::builder().engine(Engine::Omq).bind("tcp://127.0.0.1:*").build().unwrap();
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    let endpoint = calling.local_endpoints()[0].clone();
    // It reads nothing until it is told to.
    let mute = Socket::try_new(SocketType::Router, Options::default().recv_hwm(1)).unwrap();
    mute.connect(endpoint.as_str()).await.unwrap();
    let body = "x".repeat(500);
    let tell = async || {
        timeout(PATIENCE, client.request("m").send(&body)).await.expect("there is room").unwrap()
    };
    tell().await;
    let serving = Zmq::builder().engine(Engine::Omq).connect(endpoint).build().unwrap();
    let server = Server::bind(&serving, "another").await.unwrap();
    tokio::spawn(server.serve(Router::new(MessagePack)));
    // Of these the one gets every second, until it is full, and the other one drops the rest.
    for _ in 0..MANY {
        tell().await;
    }

    // Whoever has room refuses them; so they wait for the one that has none.
    let mut calls: Vec<_> =
        (0..CALLS).map(|_| client.request("m").start::<()>(&body).unwrap()).collect();
    for call in &mut calls {
        call.sent().await;
    }
    let idle = async {
        loop {
            let before = busy();
            tokio::time::sleep(Duration::from_secs(1)).await;
            if busy() - before < Duration::from_millis(300) {
                return;
            }
        }
    };
    timeout(PATIENCE / 2, idle).await.expect("a second of waiting is not spent working");
    assert!(calls.iter().all(|call| !call.is_finished()));
    for _ in 0..10 {
        tell().await;
    }
    let arrives = async { while !wants_reply(&mute.recv().await.unwrap()) {} };
    timeout(PATIENCE, arrives).await.expect("it gets there");
    assert!(calls.iter().all(|call| !call.is_finished()));
}
