//! Forwarders of the three patterns, with clients and servers that know only them.

#![cfg(feature = "engine-omq")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is a failure"
)]

use std::time::Duration;

use futures_util::future::join_all;
use polywire_codec::MessagePack;
use polywire_core::{
    CallError, Client, Code, ErrorKind, Fault, Publisher, Puller, Pusher, Router, Server,
    Subscriber,
};
use polywire_zmq::Zmq;
use polywire_zmq::proxy::{Pattern, Proxy, ProxyEndpoint};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const ANY: &str = "tcp://127.0.0.1:*";

async fn forwarder(pattern: Pattern) -> Proxy {
    Proxy::start(pattern, ANY, ANY).await.unwrap()
}

fn dial(endpoint: &str) -> Zmq {
    Zmq::builder().connect(endpoint).connect_timeout(Duration::from_secs(5)).build().unwrap()
}

async fn serve(zmq: &Zmq) {
    let server = Server::bind(zmq, "a").await.unwrap();
    let router = Router::new(MessagePack)
        .method("echo", |value: u64| async move { Ok(value) })
        .method("big", |value: Vec<u8>| async move { Ok(value) })
        .method("hang", |(): ()| async move { Ok(std::future::pending::<u32>().await) })
        .method("fail", |(): ()| async move {
            Err::<u32, _>(Fault::new(Code::Application, "sold out").with_kind("OutOfStock"))
        });
    tokio::spawn(server.serve(router));
}

#[tokio::test]
async fn calls_go_through_and_keep_their_deadline_and_their_errors() {
    let forwarder = forwarder(Pattern::RequestReply).await;
    let servers = [dial(forwarder.backend()), dial(forwarder.backend())];
    join_all(servers.iter().map(serve)).await;
    let callers = [dial(forwarder.frontend()), dial(forwarder.frontend())];
    let mut calls = Vec::new();
    for (number, caller) in (0..).zip(&callers) {
        let client = Client::connect(caller, "a", MessagePack).await.unwrap();
        for value in 0..200_u64 {
            let client = client.clone();
            // The numbers of the calls of both are the same, and the answers are not.
            calls.push(async move {
                let value = value + 1000 * number;
                assert_eq!(client.call::<u64>("echo", &value).await.unwrap(), value);
            });
        }
    }
    timeout(PATIENCE, join_all(calls)).await.expect("all are answered");
    assert_eq!((forwarder.stats().to_backend, forwarder.stats().to_frontend), (400, 400));

    let client = Client::connect(&callers[0], "a", MessagePack).await.unwrap();
    let big = vec![7u8; 100_000];
    assert_eq!(client.call::<Vec<u8>>("big", &big).await.unwrap(), big);
    match client.call::<u32>("fail", &()).await {
        Err(CallError::Fault(fault)) => {
            assert_eq!(
                (fault.code, &*fault.kind, &*fault.message),
                (Code::Application, "OutOfStock", "sold out")
            );
        }
        other => panic!("it ended with {other:?}"),
    }
    let hurried = client.clone().with_timeout(Duration::from_millis(100));
    match timeout(PATIENCE, hurried.call::<u32>("hang", &())).await.unwrap() {
        Err(CallError::DeadlineExceeded(_)) => {}
        other => panic!("it ended with {other:?}"),
    }
    // A service that nobody serves is refused by the server, through the forwarder.
    let strange = Client::connect(&callers[0], "b", MessagePack).await.unwrap();
    match timeout(PATIENCE, strange.call::<u32>("echo", &1)).await.unwrap() {
        Err(CallError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Unroutable),
        other => panic!("it ended with {other:?}"),
    }
    timeout(PATIENCE, forwarder.stop()).await.expect("it stops");
}

#[tokio::test]
async fn a_call_that_no_server_is_there_for_is_unroutable() {
    let forwarder = forwarder(Pattern::RequestReply).await;
    let calling = dial(forwarder.frontend());
    let client = Client::connect(&calling, "a", MessagePack).await.unwrap();
    match timeout(PATIENCE, client.call::<u64>("echo", &1)).await.unwrap() {
        Err(CallError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Unroutable),
        other => panic!("it ended with {other:?}"),
    }
    let serving = dial(forwarder.backend());
    serve(&serving).await;
    assert_eq!(timeout(PATIENCE, client.call::<u64>("echo", &1)).await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn calls_that_no_server_is_there_for_wait_side_by_side() {
    let forwarder = forwarder(Pattern::RequestReply).await;
    let calling = dial(forwarder.frontend());
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    // One after the other, they would take longer than their time.
    let calls = join_all((0..100).map(|_| client.call::<u64>("echo", &1)));
    for outcome in timeout(PATIENCE * 2, calls).await.unwrap() {
        match outcome {
            Err(CallError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Unroutable),
            other => panic!("it ended with {other:?}"),
        }
    }
}

#[tokio::test]
async fn what_strangers_write_harms_no_forwarder() {
    use omq_tokio::{Message, Options, Socket, SocketType};

    let forwarder = forwarder(Pattern::RequestReply).await;
    for (kind, endpoint) in
        [(SocketType::Dealer, forwarder.frontend()), (SocketType::Router, forwarder.backend())]
    {
        let stranger = Socket::try_new(kind, Options::default()).unwrap();
        stranger.connect(endpoint).await.unwrap();
        stranger.wait_connected(1, PATIENCE).await.unwrap();
        if kind == SocketType::Dealer {
            for message in
                [&b""[..], b"P", b"P\x01\x02\x01\0\0\0\0\0\0\0\x01\0\0\0\0", &[0xFF; 300]]
            {
                stranger.send(Message::from_slice(message)).await.unwrap();
            }
        }
    }
    let serving = dial(forwarder.backend());
    serve(&serving).await;
    let calling = dial(forwarder.frontend());
    let client = Client::connect(&calling, "a", MessagePack).await.unwrap();
    assert_eq!(timeout(PATIENCE, client.call::<u64>("echo", &1)).await.unwrap().unwrap(), 1);
}

/// An envelope of this kind, with the number and the deadline of a call.
fn envelope(kind: u8, number: u8) -> Vec<u8> {
    [&[b'P', 1, kind, 3], &[0; 7][..], &[number], &[0, 0, 255, 255], b"\x01\x01a\x02\x01m"].concat()
}

#[tokio::test]
async fn a_caller_that_does_not_read_holds_up_no_other() {
    use omq_tokio::{Message, Options, Socket, SocketType};

    let forwarder = forwarder(Pattern::RequestReply).await;
    // Like a server of ours, it waits for room. Others drop what they have none for, whoever's
    // reply that is.
    let options = Options::default().router_mandatory(true);
    let server = Socket::try_new(SocketType::Router, options).unwrap();
    server.connect(forwarder.backend()).await.unwrap();
    server.wait_connected(1, PATIENCE).await.unwrap();
    let serving = tokio::spawn(async move {
        while let Ok(mut request) = server.recv().await {
            let identity = request.pop_identity().unwrap().to_bytes();
            let mut reply = request.part_bytes(0).unwrap()[..16].to_vec();
            reply[2] = 2;
            let reply = Message::multipart([bytes::Bytes::from(reply), vec![0; 50_000].into()]);
            server.send_to(&identity, reply).await.unwrap();
        }
    });
    let [mute, other] = [1, 1000].map(|ahead| {
        Socket::try_new(SocketType::Dealer, Options::default().recv_hwm(ahead)).unwrap()
    });
    for caller in [&mute, &other] {
        caller.connect(forwarder.frontend()).await.unwrap();
    }
    // What lies in the queues and in the connection, and then some: at 100 ms each, they would take
    // minutes.
    for _ in 0..4000 {
        timeout(PATIENCE, mute.send(Message::from(envelope(1, 7)))).await.unwrap().unwrap();
    }
    timeout(PATIENCE, async {
        while forwarder.stats().to_backend < 4000 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("all are passed on");
    other.send(Message::from(envelope(1, 8))).await.unwrap();
    let reply = timeout(PATIENCE, other.recv()).await.expect("it is answered").unwrap();
    assert_eq!(reply.part_bytes(0).unwrap()[11], 8);
    assert!(forwarder.stats().dropped > 0);
    serving.abort();
}

#[tokio::test]
async fn what_is_no_request_or_no_reply_is_dropped_and_counted() {
    use omq_tokio::{Message, Options, Socket, SocketType};

    let forwarder = forwarder(Pattern::RequestReply).await;
    let [server, caller] = [SocketType::Router, SocketType::Dealer]
        .map(|kind| Socket::try_new(kind, Options::default()).unwrap());
    server.connect(forwarder.backend()).await.unwrap();
    server.wait_connected(1, PATIENCE).await.unwrap();
    caller.connect(forwarder.frontend()).await.unwrap();
    let too_many = std::iter::once(envelope(1, 9)).chain((0..100).map(|_| vec![b'x']));
    for message in [2, 3, 4, 5].map(|kind| Message::from(envelope(kind, 1))) {
        caller.send(message).await.unwrap();
    }
    caller.send(Message::multipart(too_many)).await.unwrap();
    caller.send(Message::from(envelope(1, 7))).await.unwrap();
    // The request comes through, and nothing else does.
    let mut request = timeout(PATIENCE, server.recv()).await.unwrap().unwrap();
    let identity = request.pop_identity().unwrap().to_bytes();
    let request = request.part_bytes(0).unwrap();
    assert_eq!(request[2], 1);
    let number = request[11];
    assert_eq!((forwarder.stats().to_backend, forwarder.stats().dropped), (1, 5));
    for (kind, number) in [(1, number), (4, number), (5, number), (2, number + 1), (2, number)] {
        server.send_to(&identity, Message::from(envelope(kind, number))).await.unwrap();
    }
    let reply = timeout(PATIENCE, caller.recv()).await.unwrap().unwrap().part_bytes(0).unwrap();
    assert_eq!((reply[2], reply[11]), (2, 7));
    assert_eq!(forwarder.stats().dropped, 9);
}

#[tokio::test]
async fn jobs_go_through_and_wait_for_a_puller() {
    let forwarder = forwarder(Pattern::Pipeline).await;
    let pushing = dial(forwarder.frontend());
    let push = Pusher::connect(&pushing, "jobs", MessagePack).await.unwrap();
    for job in 0..100_u32 {
        push.push(&job).await.unwrap();
    }
    let pulling = dial(forwarder.backend());
    let mut jobs: Puller<u32> = Puller::bind(&pulling, "jobs", MessagePack).await.unwrap();
    for expected in 0..100 {
        assert_eq!(*timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap(), expected);
    }
    assert_eq!(forwarder.stats().to_backend, 100);
    timeout(PATIENCE, forwarder.stop()).await.expect("it stops");
}

#[tokio::test]
async fn events_go_through_and_none_is_missed_once_a_subscriber_is_open() {
    let forwarder = forwarder(Pattern::PubSub).await;
    let publishing = dial(forwarder.frontend());
    let publish = Publisher::connect(&publishing, "weather", MessagePack).await.unwrap();
    let mut published = 0;
    for round in 0..100 {
        let subscribing = dial(forwarder.backend());
        let mut events: Subscriber<u32> =
            Subscriber::bind(&subscribing, "weather", MessagePack).filter("a.*").await.unwrap();
        publish.publish("b", &0).await.unwrap();
        publish.publish("a.b", &round).await.unwrap();
        published += 2;
        assert_eq!(*timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap(), round);
        events.filters().add("b").await.unwrap();
        publish.publish("b", &round).await.unwrap();
        published += 1;
        assert_eq!(*timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap(), round);
    }
    assert_eq!(forwarder.stats().to_backend, published);
    timeout(PATIENCE, forwarder.stop()).await.expect("it stops");
}

#[tokio::test]
async fn a_forwarder_may_dial_and_gives_its_port_back() {
    let serving = Zmq::builder().bind(ANY).build().unwrap();
    serve(&serving).await;
    let back = ProxyEndpoint::connect(&serving.local_endpoints()[0]);
    let forwarder = Proxy::start(Pattern::RequestReply, ANY, back).await.unwrap();
    let front = forwarder.frontend().to_owned();
    let calling = dial(&front);
    let client = Client::connect(&calling, "a", MessagePack).await.unwrap();
    assert_eq!(timeout(PATIENCE, client.call::<u64>("echo", &1)).await.unwrap().unwrap(), 1);
    forwarder.stop().await;
    timeout(PATIENCE, async {
        while Proxy::start(Pattern::PubSub, front.as_str(), ANY).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the port is free again");
    let error = Proxy::start(Pattern::PubSub, "tcp://127.0.0.1", ANY).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_forwarder_that_cannot_start_leaves_nothing_open() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let back = format!("tcp://{}", taken.local_addr().unwrap());
    for pattern in [Pattern::RequestReply, Pattern::Pipeline, Pattern::PubSub] {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let front = format!("tcp://{free}");
        let error = Proxy::start(pattern, front.as_str(), back.as_str()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        timeout(PATIENCE, async {
            while std::net::TcpListener::bind(free).is_err() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the port is free");
    }
}

#[tokio::test]
async fn a_stopped_forwarder_hands_out_the_events_that_it_has() {
    let forwarder = forwarder(Pattern::PubSub).await;
    let subscribing = dial(forwarder.backend());
    let mut events: Subscriber<u32> =
        Subscriber::bind(&subscribing, "weather", MessagePack).await.unwrap();
    let publishing = dial(forwarder.frontend());
    let publish = Publisher::connect(&publishing, "weather", MessagePack).await.unwrap();
    for event in 0..500 {
        publish.publish("a", &event).await.unwrap();
    }
    assert_eq!(*timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap(), 0);
    timeout(PATIENCE, forwarder.stop()).await.expect("it stops");
    // When the last one is through, those before it are: none is missing in between.
    let mut expected = 1;
    while let Ok(Some(event)) = timeout(Duration::from_millis(500), events.next()).await {
        assert_eq!(*event.unwrap(), expected);
        expected += 1;
    }
}
