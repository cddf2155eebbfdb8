//! Peers that do not read: what waits for them is bounded in bytes, too, and goes on when they read
//! again.

#![cfg(feature = "engine-omq")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test, a panic is a failure")]

use std::time::Duration;

use omq_tokio::{Message, Options, Socket, SocketType};
use polywire_codec::MessagePack;
use polywire_core::{Client, Limits, Publisher, Pusher, Router, Server, Window};
use polywire_zmq::proxy::{Pattern, Proxy};
use polywire_zmq::{Engine, Zmq, ZmqBuilder};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
/// How long something waits that is taken to wait for its peer.
const HELD_UP: Duration = Duration::from_millis(500);
const BYTES_MAX: usize = 1_000_000;
const LARGE: usize = 100_000;
/// As many as the engine would hold by their number.
const MANY: usize = 1000;
/// Those that the bound lets through, with what lies in the connection and at its other end.
const FEW: usize = 700;

fn builder() -> ZmqBuilder {
    Zmq::builder().engine(Engine::Omq).connect_timeout(PATIENCE).peer_bytes_max(BYTES_MAX)
}

/// A peer that takes in as little as it can, and nothing that it is not told to read.
async fn mute(kind: SocketType, endpoint: &str) -> Socket {
    let mute = Socket::try_new(kind, Options::default().recv_hwm(1)).unwrap();
    mute.connect(endpoint).await.unwrap();
    mute
}

/// One of those for others to dial.
async fn bound_mute(kind: SocketType) -> (Socket, String) {
    let mute = Socket::try_new(kind, Options::default().recv_hwm(1)).unwrap();
    let endpoint = mute.bind("tcp://127.0.0.1:0").await.unwrap().to_string();
    (mute, endpoint)
}

/// How many are handed over, one after the other, before one has to wait.
async fn handed_over(mut send: impl AsyncFnMut(usize)) -> usize {
    for number in 0..MANY {
        if timeout(HELD_UP, send(number)).await.is_err() {
            return number;
        }
    }
    MANY
}

/// Reads so many.
async fn read(socket: &Socket, count: usize) {
    for _ in 0..count {
        timeout(PATIENCE, socket.recv()).await.expect("it arrives").unwrap();
    }
}

fn large() -> String {
    "x".repeat(LARGE)
}

/// A call of this method of service "a", with nothing for its body in MessagePack.
fn request(method: u8) -> Message {
    let head = b"P\x01\x01\x03\0\0\0\0\0\0\0\x07\0\xff\xff\xff";
    Message::from([&head[..], b"\x01\x01a\x02\x01", &[method], b"\x81\x01\xc0"].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_to_a_caller_that_does_not_read_are_few_if_they_are_large() {
    let serving = builder().bind("tcp://127.0.0.1:*").build().unwrap();
    let server = Server::bind(&serving, "a").window(Window::new(MANY)).await.unwrap();
    let handle = server.handle();
    tokio::spawn(
        server.serve(Router::new(MessagePack).method("m", |(): ()| async { Ok(large()) })),
    );
    let mute = mute(SocketType::Dealer, &serving.local_endpoints()[0]).await;
    for _ in 0..MANY {
        timeout(PATIENCE, mute.send(request(b'm'))).await.unwrap().unwrap();
    }
    // Others are served meanwhile.
    let calling = builder().connect(&serving.local_endpoints()[0]).build().unwrap();
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    assert_eq!(client.call::<String>("m", &()).await.unwrap().len(), LARGE);
    let ended = async {
        while handle.stats().answered + handle.stats().undelivered <= MANY as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("every request comes to an end");
    let stats = handle.stats();
    assert!(stats.answered <= FEW as u64, "{stats:?}");
    read(&mute, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_want_no_reply_wait_for_a_server_that_does_not_read() {
    let (mute, endpoint) = bound_mute(SocketType::Router).await;
    let calling = builder().connect(endpoint).build().unwrap();
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    let body = large();
    let sent = handed_over(async |_| client.request("m").send(&body).await.unwrap()).await;
    assert!(sent <= FEW, "{sent} were sent");
    let last = tokio::spawn(async move { client.request("m").send(&large()).await.unwrap() });
    read(&mute, sent + 1).await;
    last.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_wait_for_a_puller_that_does_not_read() {
    let (mute, endpoint) = bound_mute(SocketType::Pull).await;
    let pushing = builder().connect(endpoint).build().unwrap();
    let push = Pusher::connect(&pushing, "jobs", MessagePack).timeout(PATIENCE).await.unwrap();
    let body = large();
    let sent = handed_over(async |_| push.push(&body).await.unwrap()).await;
    assert!(sent <= FEW, "{sent} were pushed");
    let last = tokio::spawn(async move { push.push(&large()).await.unwrap() });
    read(&mute, sent + 1).await;
    last.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_wait_for_a_subscriber_that_does_not_read() {
    let publishing = builder().bind("tcp://127.0.0.1:*").build().unwrap();
    let publisher = Publisher::connect(&publishing, "weather", MessagePack).await.unwrap();
    let mute = mute(SocketType::Sub, &publishing.local_endpoints()[0]).await;
    mute.subscribe("weather").await.unwrap();
    let mut heard = false;
    while !heard {
        publisher.publish("a", &()).await.unwrap();
        heard = timeout(Duration::from_millis(50), mute.recv()).await.is_ok();
    }
    let body = large();
    let sent = handed_over(async |_| publisher.publish("a", &body).await.unwrap()).await;
    assert!(sent <= FEW, "{sent} were published");
    let last = tokio::spawn(async move { publisher.publish("a", &large()).await.unwrap() });
    // And perhaps some of the first ones.
    read(&mute, sent + 1).await;
    last.await.unwrap();
}

/// The pusher does not know how much each of them has yet to take, so the queue is short.
#[tokio::test(flavor = "multi_thread")]
async fn a_puller_that_dials_and_does_not_read_is_given_few_jobs_and_holds_up_no_other() {
    let limits = Limits { body_max: LARGE + 100, ..Limits::default() };
    let pushing = builder().limits(limits).bind("tcp://127.0.0.1:*").build().unwrap();
    let push = Pusher::connect(&pushing, "jobs", MessagePack).timeout(PATIENCE).await.unwrap();
    let endpoint = &pushing.local_endpoints()[0];
    let mute = mute(SocketType::Pull, endpoint).await;
    push.push(&()).await.unwrap();
    read(&mute, 1).await;
    let reading = self::mute(SocketType::Pull, endpoint).await;
    let body = large();
    let pushed = tokio::spawn(async move {
        for _ in 0..MANY {
            timeout(PATIENCE, push.push(&body)).await.expect("there is room").unwrap();
        }
    });
    read(&reading, MANY - FEW).await;
    let read_on = tokio::spawn(async move { while reading.recv().await.is_ok() {} });
    pushed.await.unwrap();
    read_on.abort();
    read(&mute, 1).await;
}

/// Calls that are answered with little, behind some that are answered with as much as there may be
/// for one peer.
const SMALL_CALLS: usize = 20;

/// Sends the calls, those of method `h` first.
async fn call_all(caller: &Socket, huge: usize) {
    let methods = [(b'h', huge), (b's', SMALL_CALLS)];
    for (method, count) in methods {
        for _ in 0..count {
            timeout(PATIENCE, caller.send(request(method))).await.unwrap().unwrap();
        }
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let polling = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, polling).await.expect(what);
}

#[tokio::test(flavor = "multi_thread")]
async fn small_replies_do_not_wait_for_the_large_ones_before_them() {
    // More than the caller's end and the connection take in by themselves.
    let huge = 10;
    let serving = builder().bind("tcp://127.0.0.1:*").build().unwrap();
    let server = Server::bind(&serving, "a").window(Window::new(MANY)).await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack)
        .method("h", |(): ()| async { Ok("x".repeat(20 * BYTES_MAX)) })
        .method("s", |(): ()| async { Ok("x") });
    tokio::spawn(server.serve(router));
    let caller = mute(SocketType::Dealer, &serving.local_endpoints()[0]).await;
    call_all(&caller, huge).await;
    // It has not read a thing, and only what is large has to wait for that.
    until("they are handed over", || handle.stats().answered > SMALL_CALLS as u64).await;
    read(&caller, huge + SMALL_CALLS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_of_the_largest_size_and_small_ones_behind_them_get_through_a_forwarder() {
    let huge = 4;
    let any = "tcp://127.0.0.1:*";
    let forwarder = Proxy::start(Pattern::RequestReply, any, any).await.unwrap();
    let serving = Zmq::builder().engine(Engine::Omq).connect(forwarder.backend()).build().unwrap();
    let server = Server::bind(&serving, "a").await.unwrap();
    // Less what tells how long it is.
    let largest = Limits::default().body_max - 5;
    let router = Router::new(MessagePack)
        .method("h", move |(): ()| async move { Ok("x".repeat(largest)) })
        .method("s", |(): ()| async { Ok("x") });
    tokio::spawn(server.serve(router));
    let caller = mute(SocketType::Dealer, forwarder.frontend()).await;
    call_all(&caller, huge).await;
    let passed = || forwarder.stats().to_frontend + forwarder.stats().dropped;
    until("they are handed over", || passed() > SMALL_CALLS as u64).await;
    assert_eq!(forwarder.stats().dropped, 0);
    read(&caller, huge + SMALL_CALLS).await;
}
