//! Peers that do not read: the messages that wait for them are bounded in bytes, and are sent when
//! the peers read again.

use std::time::Duration;

use omq_tokio::{Message, Options, Socket, SocketType};
use polywire_codec::MessagePack;
use polywire_core::{Client, Limits, Publisher, Pusher, Router, Server, Window};
use polywire_zmq::ZmqBuilder;
use polywire_zmq::proxy::{Pattern, Proxy};
use tokio::time::timeout;

use crate::support::engine::zmq;
use crate::support::wait::{PATIENCE, until};

/// The time after which a send counts as waiting for its peer.
const HELD_UP: Duration = Duration::from_millis(500);
const BYTES_MAX: usize = 1_000_000;
const LARGE: usize = 100_000;
/// The number of messages that the engine would queue by count.
const MANY: usize = 1000;
/// The maximum of messages that the bound in bytes admits, including those in the connection and at
/// its other end.
const FEW: usize = 700;

fn builder() -> ZmqBuilder {
    zmq().connect_timeout(PATIENCE).peer_bytes_max(BYTES_MAX)
}

/// Connects a peer with the smallest queue, which reads only in `recv`.
async fn silent_peer(kind: SocketType, endpoint: &str) -> Socket {
    let peer = Socket::try_new(kind, Options::default().recv_hwm(1)).unwrap();
    peer.connect(endpoint).await.unwrap();
    peer
}

/// Binds such a peer.
async fn bound_silent_peer(kind: SocketType) -> (Socket, String) {
    let peer = Socket::try_new(kind, Options::default().recv_hwm(1)).unwrap();
    let endpoint = peer.bind("tcp://127.0.0.1:0").await.unwrap().to_string();
    (peer, endpoint)
}

/// Sends messages one after the other. Returns the number of messages before one has to wait.
async fn send_until_full(mut send: impl AsyncFnMut(usize)) -> usize {
    for number in 0..MANY {
        if timeout(HELD_UP, send(number)).await.is_err() {
            return number;
        }
    }
    MANY
}

/// Receives that many messages.
async fn read(socket: &Socket, count: usize) {
    for _ in 0..count {
        timeout(PATIENCE, socket.recv()).await.expect("a message arrives").unwrap();
    }
}

fn large() -> String {
    "x".repeat(LARGE)
}

/// Makes a call of a method of service "a". The body is nil in MessagePack.
fn request(method: u8) -> Message {
    let head = b"P\x01\x01\x03\0\0\0\0\0\0\0\x07\0\xff\xff\xff";
    Message::from([&head[..], b"\x01\x01a\x02\x01", &[method], b"\x81\x01\xc0"].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn few_large_replies_wait_for_a_client_that_does_not_read() {
    let serving = builder().bind("tcp://127.0.0.1:*").build().unwrap();
    let server = Server::bind(&serving, "a").window(Window::new(MANY)).await.unwrap();
    let handle = server.handle();
    tokio::spawn(
        server.serve(Router::new(MessagePack).method("m", |(): ()| async { Ok(large()) })),
    );
    let peer = silent_peer(SocketType::Dealer, &serving.local_endpoints()[0]).await;
    for _ in 0..MANY {
        timeout(PATIENCE, peer.send(request(b'm'))).await.unwrap().unwrap();
    }
    // The server replies to other clients meanwhile.
    let calling = builder().connect(&serving.local_endpoints()[0]).build().unwrap();
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    assert_eq!(client.call::<String>("m", &()).await.unwrap().len(), LARGE);
    let ended = async {
        while handle.stats().answered + handle.stats().undelivered <= MANY as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("every request ends");
    let stats = handle.stats();
    assert!(stats.answered <= FEW as u64, "{stats:?}");
    read(&peer, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_way_calls_wait_for_a_server_that_does_not_read() {
    let (peer, endpoint) = bound_silent_peer(SocketType::Router).await;
    let calling = builder().connect(endpoint).build().unwrap();
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    let body = large();
    let sent = send_until_full(async |_| client.request("m").send(&body).await.unwrap()).await;
    assert!(sent <= FEW, "{sent} were sent");
    let last = tokio::spawn(async move { client.request("m").send(&large()).await.unwrap() });
    read(&peer, sent + 1).await;
    last.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_wait_for_a_puller_that_does_not_read() {
    let (peer, endpoint) = bound_silent_peer(SocketType::Pull).await;
    let pushing = builder().connect(endpoint).build().unwrap();
    let push = Pusher::connect(&pushing, "jobs", MessagePack).timeout(PATIENCE).await.unwrap();
    let body = large();
    let sent = send_until_full(async |_| push.push(&body).await.unwrap()).await;
    assert!(sent <= FEW, "{sent} were pushed");
    let last = tokio::spawn(async move { push.push(&large()).await.unwrap() });
    read(&peer, sent + 1).await;
    last.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_a_subscriber_that_does_not_read() {
    let publishing = builder().bind("tcp://127.0.0.1:*").build().unwrap();
    let publisher = Publisher::connect(&publishing, "weather", MessagePack).await.unwrap();
    let peer = silent_peer(SocketType::Sub, &publishing.local_endpoints()[0]).await;
    peer.subscribe("weather").await.unwrap();
    let mut is_subscribed = false;
    while !is_subscribed {
        publisher.publish("a", &()).await.unwrap();
        is_subscribed = timeout(Duration::from_millis(50), peer.recv()).await.is_ok();
    }
    let body = large();
    let sent = send_until_full(async |_| publisher.publish("a", &body).await.unwrap()).await;
    assert!(sent <= FEW, "{sent} were published");
    let last = tokio::spawn(async move { publisher.publish("a", &large()).await.unwrap() });
    // Some of the first events may still be queued as well.
    read(&peer, sent + 1).await;
    last.await.unwrap();
}

/// The pusher does not know how much each puller has yet to receive, so the queues are short.
#[tokio::test(flavor = "multi_thread")]
async fn connecting_puller_that_does_not_read_gets_few_jobs_and_holds_up_no_other() {
    let limits = Limits { body_max: LARGE + 100, ..Limits::default() };
    let pushing = builder().limits(limits).bind("tcp://127.0.0.1:*").build().unwrap();
    let push = Pusher::connect(&pushing, "jobs", MessagePack).timeout(PATIENCE).await.unwrap();
    let endpoint = &pushing.local_endpoints()[0];
    let peer = silent_peer(SocketType::Pull, endpoint).await;
    push.push(&()).await.unwrap();
    read(&peer, 1).await;
    let reading = silent_peer(SocketType::Pull, endpoint).await;
    let body = large();
    let pushed = tokio::spawn(async move {
        for _ in 0..MANY {
            timeout(PATIENCE, push.push(&body)).await.expect("the other puller has room").unwrap();
        }
    });
    read(&reading, MANY - FEW).await;
    let read_on = tokio::spawn(async move { while reading.recv().await.is_ok() {} });
    pushed.await.unwrap();
    read_on.abort();
    read(&peer, 1).await;
}

/// The number of calls with small replies, behind calls whose replies fill the bound of one peer.
const SMALL_CALLS: usize = 20;

/// Sends the calls: first those of method `h` with huge replies, then those of `s`.
async fn call_all(caller: &Socket, huge: usize) {
    let methods = [(b'h', huge), (b's', SMALL_CALLS)];
    for (method, count) in methods {
        for _ in 0..count {
            timeout(PATIENCE, caller.send(request(method))).await.unwrap().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn small_replies_overtake_waiting_large_ones() {
    // More than the client and the connection buffer.
    let huge = 10;
    let serving = builder().bind("tcp://127.0.0.1:*").build().unwrap();
    let server = Server::bind(&serving, "a").window(Window::new(MANY)).await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack)
        .method("h", |(): ()| async { Ok("x".repeat(20 * BYTES_MAX)) })
        .method("s", |(): ()| async { Ok("x") });
    tokio::spawn(server.serve(router));
    let caller = silent_peer(SocketType::Dealer, &serving.local_endpoints()[0]).await;
    call_all(&caller, huge).await;
    // The client has read nothing. Only the huge replies wait for it.
    until("the small replies are accepted", || handle.stats().answered > SMALL_CALLS as u64).await;
    read(&caller, huge + SMALL_CALLS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn largest_replies_and_small_ones_behind_them_pass_a_proxy() {
    let huge = 4;
    let any = "tcp://127.0.0.1:*";
    let proxy = Proxy::start(Pattern::RequestReply, any, any).await.unwrap();
    let serving = zmq().connect(proxy.backend()).build().unwrap();
    let server = Server::bind(&serving, "a").await.unwrap();
    // Less the bytes that encode the length.
    let largest = Limits::default().body_max - 5;
    let router = Router::new(MessagePack)
        .method("h", move |(): ()| async move { Ok("x".repeat(largest)) })
        .method("s", |(): ()| async { Ok("x") });
    tokio::spawn(server.serve(router));
    let caller = silent_peer(SocketType::Dealer, proxy.frontend()).await;
    call_all(&caller, huge).await;
    let passed = || proxy.stats().to_frontend + proxy.stats().dropped;
    until("the small replies are accepted", || passed() > SMALL_CALLS as u64).await;
    assert_eq!(proxy.stats().dropped, 0);
    read(&caller, huge + SMALL_CALLS).await;
}
