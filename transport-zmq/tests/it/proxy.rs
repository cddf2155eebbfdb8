//! Proxies of the three patterns, with peers that know only the proxy.

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

use crate::support::address::free_address;
use crate::support::engine::zmq;
use crate::support::wait::PATIENCE;

const ANY: &str = "tcp://127.0.0.1:*";

async fn start(pattern: Pattern) -> Proxy {
    Proxy::start(pattern, ANY, ANY).await.unwrap()
}

fn connect(endpoint: &str) -> Zmq {
    zmq().connect(endpoint).connect_timeout(Duration::from_secs(5)).build().unwrap()
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
async fn calls_pass_and_keep_their_deadline_and_errors() {
    let proxy = start(Pattern::RequestReply).await;
    let servers = [connect(proxy.backend()), connect(proxy.backend())];
    join_all(servers.iter().map(serve)).await;
    let callers = [connect(proxy.frontend()), connect(proxy.frontend())];
    let mut calls = Vec::new();
    for (number, caller) in (0..).zip(&callers) {
        let client = Client::connect(caller, "a", MessagePack).await.unwrap();
        for value in 0..200_u64 {
            let client = client.clone();
            // The call ids of both clients are equal, and the replies differ.
            calls.push(async move {
                let value = value + 1000 * number;
                assert_eq!(client.call::<u64>("echo", &value).await.unwrap(), value);
            });
        }
    }
    timeout(PATIENCE, join_all(calls)).await.expect("every call has a reply");
    assert_eq!((proxy.stats().to_backend, proxy.stats().to_frontend), (400, 400));

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
        other => panic!("the call ended with {other:?}"),
    }
    let hurried = client.clone().with_timeout(Duration::from_millis(100));
    match timeout(PATIENCE, hurried.call::<u32>("hang", &())).await.unwrap() {
        Err(CallError::DeadlineExceeded(_)) => {}
        other => panic!("the call ended with {other:?}"),
    }
    // The server refuses an unknown service, and the proxy passes the refusal on.
    let unknown = Client::connect(&callers[0], "b", MessagePack).await.unwrap();
    match timeout(PATIENCE, unknown.call::<u32>("echo", &1)).await.unwrap() {
        Err(CallError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Unroutable),
        other => panic!("the call ended with {other:?}"),
    }
    timeout(PATIENCE, proxy.stop()).await.expect("the proxy stops");
}

#[tokio::test]
async fn call_without_a_server_is_unroutable() {
    let proxy = start(Pattern::RequestReply).await;
    let calling = connect(proxy.frontend());
    let client = Client::connect(&calling, "a", MessagePack).await.unwrap();
    match timeout(PATIENCE, client.call::<u64>("echo", &1)).await.unwrap() {
        Err(CallError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Unroutable),
        other => panic!("the call ended with {other:?}"),
    }
    let serving = connect(proxy.backend());
    serve(&serving).await;
    assert_eq!(timeout(PATIENCE, client.call::<u64>("echo", &1)).await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn calls_without_a_server_wait_concurrently() {
    let proxy = start(Pattern::RequestReply).await;
    let calling = connect(proxy.frontend());
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    // Calls that wait one after the other would exceed their deadlines.
    let calls = join_all((0..100).map(|_| client.call::<u64>("echo", &1)));
    for outcome in timeout(PATIENCE * 2, calls).await.unwrap() {
        match outcome {
            Err(CallError::Failed(error)) => assert_eq!(error.kind(), ErrorKind::Unroutable),
            other => panic!("the call ended with {other:?}"),
        }
    }
}

#[tokio::test]
async fn jobs_pass_and_wait_for_a_puller() {
    let proxy = start(Pattern::Pipeline).await;
    let pushing = connect(proxy.frontend());
    let push = Pusher::connect(&pushing, "jobs", MessagePack).await.unwrap();
    for job in 0..100_u32 {
        push.push(&job).await.unwrap();
    }
    let pulling = connect(proxy.backend());
    let mut jobs: Puller<u32> = Puller::bind(&pulling, "jobs", MessagePack).await.unwrap();
    for expected in 0..100 {
        assert_eq!(*timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap(), expected);
    }
    assert_eq!(proxy.stats().to_backend, 100);
    timeout(PATIENCE, proxy.stop()).await.expect("the proxy stops");
}

#[tokio::test]
async fn events_pass_and_an_open_subscriber_misses_none() {
    let proxy = start(Pattern::PubSub).await;
    let publishing = connect(proxy.frontend());
    let publish = Publisher::connect(&publishing, "weather", MessagePack).await.unwrap();
    let mut published = 0;
    for round in 0..100 {
        let subscribing = connect(proxy.backend());
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
    assert_eq!(proxy.stats().to_backend, published);
    timeout(PATIENCE, proxy.stop()).await.expect("the proxy stops");
}

#[tokio::test]
async fn proxy_connects_and_frees_its_port_at_stop() {
    let serving = zmq().bind(ANY).build().unwrap();
    serve(&serving).await;
    let backend = ProxyEndpoint::connect(&serving.local_endpoints()[0]);
    let proxy = Proxy::start(Pattern::RequestReply, ANY, backend).await.unwrap();
    let frontend = proxy.frontend().to_owned();
    let calling = connect(&frontend);
    let client = Client::connect(&calling, "a", MessagePack).await.unwrap();
    assert_eq!(timeout(PATIENCE, client.call::<u64>("echo", &1)).await.unwrap().unwrap(), 1);
    proxy.stop().await;
    timeout(PATIENCE, async {
        while Proxy::start(Pattern::PubSub, frontend.as_str(), ANY).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the port is free again");
    let error = Proxy::start(Pattern::PubSub, "tcp://127.0.0.1", ANY).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn proxy_that_cannot_start_leaves_nothing_open() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let backend = format!("tcp://{}", taken.local_addr().unwrap());
    for pattern in [Pattern::RequestReply, Pattern::Pipeline, Pattern::PubSub] {
        let free = free_address();
        let frontend = format!("tcp://{free}");
        let error = Proxy::start(pattern, frontend.as_str(), backend.as_str()).await.unwrap_err();
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
async fn stopped_proxy_passes_on_received_events() {
    let proxy = start(Pattern::PubSub).await;
    let subscribing = connect(proxy.backend());
    let mut events: Subscriber<u32> =
        Subscriber::bind(&subscribing, "weather", MessagePack).await.unwrap();
    let publishing = connect(proxy.frontend());
    let publish = Publisher::connect(&publishing, "weather", MessagePack).await.unwrap();
    for event in 0..500 {
        publish.publish("a", &event).await.unwrap();
    }
    assert_eq!(*timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap(), 0);
    timeout(PATIENCE, proxy.stop()).await.expect("the proxy stops");
    // Events arrive without a gap.
    let mut expected = 1;
    while let Ok(Some(event)) = timeout(Duration::from_millis(500), events.next()).await {
        assert_eq!(*event.unwrap(), expected);
        expected += 1;
    }
}

/// A client that answers the leave of a proxy which was at this address before learns that this one
/// serves.
#[tokio::test(flavor = "multi_thread")]
async fn proxy_answers_a_leave_that_it_has_not_sent() {
    use omq_tokio::{Message, Options, Socket, SocketType};

    let proxy = Proxy::start(Pattern::RequestReply, "tcp://127.0.0.1:*", "tcp://127.0.0.1:*");
    let proxy = proxy.await.unwrap();
    let peer = Socket::try_new(SocketType::Dealer, Options::default()).unwrap();
    peer.connect(proxy.frontend()).await.unwrap();
    let leave = b"P\x01\x08\x01\xff\xff\xff\xff\xff\xff\xff\xfe\0\0\0\0";
    peer.send(Message::from(leave.to_vec())).await.unwrap();
    let answer = timeout(PATIENCE, peer.recv()).await.expect("the proxy answers").unwrap();
    let serves_on = b"P\x01\x08\0\0\0\0\0\0\0\0\0\0\0\0\0";
    // The bound of the frontend follows.
    assert!(answer.part_bytes(0).unwrap().starts_with(serves_on));
}
