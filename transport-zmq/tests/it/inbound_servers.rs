//! Servers that connect to their client, one of which has no room.

use std::time::Duration;

use omq_tokio::{Message, Options, Socket, SocketType};
use polywire_codec::MessagePack;
use polywire_core::{Client, Router, Server};
use tokio::time::timeout;

use crate::support::engine::zmq;
use crate::support::wait::PATIENCE;

/// More messages than all queues between two peers hold.
const MANY: usize = 30_000;
/// The calls that wait for the server without room.
const CALLS: usize = 1_000;

/// Returns the processor time of this thread.
fn busy() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(statistics.split_whitespace().next().unwrap().parse().unwrap())
}

/// Returns whether a message is a request that expects a reply: kind 1, with a call id.
fn expects_reply(message: &Message) -> bool {
    message.iter().any(|part| matches!(part[..], [b'P', 1, 1, flags, ..] if flags & 1 != 0))
}

#[tokio::test]
async fn call_waits_idly_for_its_only_server_and_holds_up_no_other() {
    let calling = zmq().bind("tcp://127.0.0.1:*").build().unwrap();
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    let endpoint = calling.local_endpoints()[0].clone();
    // This server reads nothing until `recv` is called.
    let silent = Socket::try_new(SocketType::Router, Options::default().recv_hwm(1)).unwrap();
    silent.connect(endpoint.as_str()).await.unwrap();
    let body = "x".repeat(500);
    let send = async || {
        timeout(PATIENCE, client.request("m").send(&body))
            .await
            .expect("a queue has room")
            .unwrap();
    };
    send().await;
    let serving = zmq().connect(endpoint).build().unwrap();
    let server = Server::bind(&serving, "another").await.unwrap();
    tokio::spawn(server.serve(Router::new(MessagePack)));
    // Every second message goes to the silent server until its queue is full. The other server
    // drops the rest.
    for _ in 0..MANY {
        send().await;
    }

    // The server with room refuses the calls, so they wait for the server without room.
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
    timeout(PATIENCE / 2, idle).await.expect("the waiting calls use no processor time");
    assert!(calls.iter().all(|call| !call.is_finished()));
    for _ in 0..10 {
        send().await;
    }
    let arrives = async { while !expects_reply(&silent.recv().await.unwrap()) {} };
    timeout(PATIENCE, arrives).await.expect("a call reaches the silent server");
    assert!(calls.iter().all(|call| !call.is_finished()));
}
