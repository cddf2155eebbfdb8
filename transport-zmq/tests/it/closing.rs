//! Messages that wait in a socket when it closes, and clients that do not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use omq_tokio::{Message, Options, Socket, SocketType};
use polywire_codec::MessagePack;
use polywire_core::{Client, Puller, Pusher, Router, Server, Transport, Window};
use polywire_zmq::{Side, Zmq};
use tokio::time::{sleep, timeout};

use crate::support::context::{Medium, Setup, builder, free_endpoint, media};
use crate::support::engine::{ENGINE, zmq};
use crate::support::envelope::{LEAVE, REPLY, REQUEST, envelope, id_of, received};
use crate::support::wait::{PATIENCE, until};

/// A closing socket sends its accepted messages while it lingers and its peer receives.
#[tokio::test(flavor = "multi_thread")]
async fn accepted_messages_arrive_after_their_sender_closes() {
    const CALLS: u64 = 500;
    for medium in media() {
        let setup = &Setup(ENGINE, Side::Connect, medium);
        let serving = builder(setup).bind(free_endpoint(setup)).linger(PATIENCE).build().unwrap();
        let server = Server::bind(&serving, "a").window(Window::new(CALLS as usize)).await.unwrap();
        let (handle, received) = (server.handle(), Arc::new(AtomicUsize::new(0)));
        let count = received.clone();
        let router = Router::new(MessagePack)
            .method("notify", move |(): ()| {
                count.fetch_add(1, Ordering::Relaxed);
                async { Ok(()) }
            })
            .method("big", |number: u64| async move { Ok((number, "x".repeat(50_000))) });
        tokio::spawn(server.serve(router));
        let dial = || {
            builder(setup).connect(&serving.local_endpoints()[0]).linger(PATIENCE).build().unwrap()
        };

        let notifying = dial();
        let client = Client::connect(&notifying, "a", MessagePack).timeout(PATIENCE).await.unwrap();
        for _ in 0..CALLS {
            timeout(PATIENCE, client.request("notify").send(&())).await.unwrap().unwrap();
        }
        notifying.close().await.unwrap();
        until("one-way calls arrive after their client has closed", || {
            received.load(Ordering::Relaxed) == CALLS as usize
        })
        .await;

        let calling = dial();
        let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
        let start = |number| client.request("big").start::<(u64, String)>(&number).unwrap();
        let calls: Vec<_> = (0..CALLS).map(start).collect();
        // One-way calls count as answered as well.
        until("all replies are accepted", || {
            handle.stats().running == 0 && { handle.stats().answered >= CALLS }
        })
        .await;
        serving.close().await.unwrap();
        for (number, call) in (0..).zip(calls) {
            let (answer, _) = timeout(PATIENCE, call).await.expect("the call has a reply").unwrap();
            assert_eq!(answer, number);
        }
    }
}

/// Returns a server that is a program of another kind, its client, and the routing id of that. The
/// server has not answered the first question.
async fn raw_server(linger: Duration) -> (Socket, Zmq, Client<MessagePack>, Bytes) {
    let server = Socket::try_new(SocketType::Router, Options::default()).unwrap();
    let endpoint = server.bind("tcp://127.0.0.1:*").await.unwrap().to_string();
    let calling = zmq().connect(endpoint).linger(linger).build().unwrap();
    let connecting = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE);
    let (client, mut question) = tokio::join!(connecting.into_future(), received(&server));
    let peer = question.pop_identity().unwrap().to_bytes();
    assert_eq!(question.pop_front().unwrap()[2], LEAVE);
    (server, calling, client.unwrap(), peer)
}

/// Returns the kind of the next message, without its routing id.
async fn next_kind(server: &Socket) -> u8 {
    let mut message = received(server).await;
    message.pop_identity().unwrap();
    message.pop_front().unwrap()[2]
}

/// A client that closes asks its server whether it has read the one-way calls, and waits for the
/// answer. Without the answer, a close ends with the linger time.
#[tokio::test(flavor = "multi_thread")]
async fn closing_client_waits_until_its_one_way_calls_are_read() {
    for linger in [PATIENCE, Duration::from_millis(200)] {
        let (server, calling, client, peer) = raw_server(linger).await;
        for _ in 0..10 {
            client.request("notify").send(&()).await.unwrap();
        }
        let closing = tokio::spawn(async move { calling.close().await });
        for _ in 0..10 {
            assert_eq!(next_kind(&server).await, REQUEST);
        }
        assert_eq!(next_kind(&server).await, LEAVE, "the client asks once more");
        if linger == PATIENCE {
            // One for each question.
            for _ in 0..2 {
                assert!(!closing.is_finished());
                let answer = Message::multipart([peer.clone(), envelope(LEAVE, None, &[]).into()]);
                server.send(answer).await.unwrap();
            }
        }
        timeout(PATIENCE / 2, closing).await.expect("the client closes").unwrap().unwrap();
    }
}

/// A client whose calls all had replies has nothing to ask when it closes.
#[tokio::test(flavor = "multi_thread")]
async fn closing_client_without_one_way_calls_does_not_wait() {
    let (server, calling, client, peer) = raw_server(PATIENCE).await;
    let call = client.request("m").start::<u64>(&()).unwrap();
    let mut request = received(&server).await;
    request.pop_identity().unwrap();
    let id = id_of(&request.pop_front().unwrap());
    let reply = Message::multipart([peer, envelope(REPLY, Some(id), b"\x81\x01\x05").into()]);
    server.send(reply).await.unwrap();
    assert_eq!(timeout(PATIENCE, call).await.unwrap().unwrap(), 5);
    timeout(PATIENCE / 2, calling.close()).await.expect("the client closes").unwrap();
}

/// A client that sends without reading occupies the window for a limited time.
#[tokio::test(flavor = "multi_thread")]
async fn client_that_does_not_read_delays_others_briefly() {
    let setup = &Setup(ENGINE, Side::Connect, Medium::Tcp);
    let serving = builder(setup).bind(free_endpoint(setup)).build().unwrap();
    let server = Server::bind(&serving, "a").window(Window::new(8)).await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack).method("m", |(): ()| async { Ok("x".repeat(50_000)) });
    tokio::spawn(server.serve(router));
    let silent = Socket::try_new(SocketType::Dealer, Options::default().recv_hwm(1)).unwrap();
    silent.connect(serving.local_endpoints()[0].as_str()).await.unwrap();
    // More requests than the queues and the connection hold. The body is nil in MessagePack.
    let request =
        [&b"P\x01\x01\x03\0\0\0\0\0\0\0\x07\0\xff\xff\xff"[..], b"\x01\x01a\x02\x01m\x81\x01\xc0"]
            .concat();
    for _ in 0..4000 {
        timeout(PATIENCE, silent.send(Message::from(request.clone()))).await.unwrap().unwrap();
    }
    let calling = builder(setup).connect(&serving.local_endpoints()[0]).build().unwrap();
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE * 2).await.unwrap();
    for _ in 0..20 {
        let call = client.call::<String>("m", &());
        assert_eq!(
            timeout(PATIENCE * 2, call).await.expect("the call has a reply").unwrap().len(),
            50_000
        );
    }
    until("all other requests end, too", || {
        let stats = handle.stats();
        stats.answered + stats.undelivered >= 4020
    })
    .await;
    assert!(handle.stats().undelivered > 0, "unread replies are counted");
    drop(silent);
}

/// Jobs of a pusher that has closed wait for a worker that is busy for longer than its heartbeat.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_closed_pusher_wait_for_a_busy_worker() {
    const JOBS: u32 = 2000;
    for medium in media() {
        let setup = &Setup(ENGINE, Side::Connect, medium);
        let heartbeat = Duration::from_millis(100);
        let pulling = builder(setup).bind(free_endpoint(setup)).heartbeat(heartbeat);
        let pulling = pulling.build().unwrap();
        let mut worker = Puller::<u32>::bind(&pulling, "jobs", MessagePack).await.unwrap();
        let pushing = builder(setup).connect(&pulling.local_endpoints()[0]).linger(PATIENCE);
        let pushing = pushing.build().unwrap();
        let pusher = Pusher::connect(&pushing, "jobs", MessagePack).await.unwrap();
        for job in 0..JOBS {
            timeout(PATIENCE, pusher.push(&job)).await.unwrap().unwrap();
        }
        timeout(PATIENCE, pushing.close()).await.unwrap().unwrap();
        // The time of the worker's other work.
        sleep(5 * heartbeat).await;
        for job in 0..JOBS {
            let next = timeout(PATIENCE, worker.next()).await.expect("the job arrives");
            assert_eq!(*next.unwrap().unwrap(), job);
        }
    }
}
