//! Endpoints that come and go while ends are open.

#![cfg(feature = "engine-omq")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is a failure"
)]

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{
    CallError, Client, ErrorKind, Publisher, Puller, Pusher, Router, Server, Subscriber, Transport,
};
use polywire_zmq::{Engine, Zmq, ZmqBuilder};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const ANY: &str = "tcp://127.0.0.1:*";

fn builder() -> ZmqBuilder {
    Zmq::builder().engine(Engine::Omq).connect_timeout(Duration::from_secs(5))
}

/// A server that answers with its name.
async fn serve(name: &'static str) -> Zmq {
    let zmq = builder().bind(ANY).build().unwrap();
    serve_on(&zmq, name).await;
    zmq
}

async fn serve_on(zmq: &Zmq, name: &'static str) {
    let server = Server::bind(zmq, "names").await.unwrap();
    let router = Router::new(MessagePack)
        .method("name", move |(): ()| async move { Ok(name) })
        .method("hang", |(): ()| async move { Ok(std::future::pending::<u32>().await) });
    tokio::spawn(server.serve(router));
}

fn endpoint(zmq: &Zmq) -> String {
    zmq.local_endpoints()[0].clone()
}

async fn name(client: &Client<MessagePack>) -> String {
    timeout(PATIENCE, client.call("name", &())).await.unwrap().unwrap()
}

/// Calls until this one answers.
async fn until_named(client: &Client<MessagePack>, wanted: &str) {
    timeout(PATIENCE, async { while name(client).await != wanted {} })
        .await
        .expect("it answers in the end");
}

#[tokio::test]
async fn a_requester_gets_and_loses_links() {
    let (one, other) = (serve("one").await, serve("other").await);
    let calling = builder().connect(endpoint(&one)).build().unwrap();
    let client = Client::connect(&calling, "names", MessagePack).await.unwrap();
    assert_eq!(name(&client).await, "one");
    calling.connect_endpoint(&endpoint(&other)).await.unwrap();
    until_named(&client, "other").await;
    until_named(&client, "one").await;

    // The calls that are on the link that goes fail, and only those.
    let mut hanging = Vec::new();
    for _ in 0..2 {
        let mut call = client.request("hang").start::<u32>(&()).unwrap();
        call.sent().await;
        hanging.push(call);
    }
    calling.disconnect_endpoint(&endpoint(&one)).await.unwrap();
    let mut lost = 0;
    for call in hanging {
        match timeout(Duration::from_millis(200), call).await {
            Ok(Err(CallError::Failed(error))) => {
                assert_eq!(error.kind(), ErrorKind::Disconnected);
                lost += 1;
            }
            Ok(other) => panic!("it ended with {other:?}"),
            Err(_) => {}
        }
    }
    assert_eq!(lost, 1);
    for _ in 0..10 {
        assert_eq!(name(&client).await, "other");
    }
    // A requester that is opened later has the endpoints of now.
    let later = Client::connect(&calling, "names", MessagePack).await.unwrap();
    for _ in 0..10 {
        assert_eq!(name(&later).await, "other");
    }
}

#[tokio::test]
async fn a_responder_binds_one_more_and_one_less() {
    let serving = serve("one").await;
    let first = endpoint(&serving);
    let added = serving.bind_endpoint(ANY).await.unwrap();
    let [second] = &*added else { panic!("{added:?}") };
    assert_eq!(serving.local_endpoints(), [first.clone(), second.clone()]);
    let calling =
        builder().connect(second).connect_timeout(Duration::from_millis(300)).build().unwrap();
    let client = Client::connect(&calling, "names", MessagePack).await.unwrap();
    assert_eq!(name(&client).await, "one");
    assert_eq!(serving.unbind_endpoint(second).await.unwrap(), added);
    assert_eq!(serving.local_endpoints(), [first]);
    let ended = timeout(PATIENCE, async {
        loop {
            match client.call::<String>("name", &()).await {
                Err(CallError::Failed(error)) if error.kind() == ErrorKind::Unroutable => return,
                _ => tokio::task::yield_now().await,
            }
        }
    });
    ended.await.expect("nobody is there any more");
}

#[tokio::test]
async fn a_requester_and_a_pusher_bind_while_they_are_open() {
    let calling = builder().bind(ANY).build().unwrap();
    let client = Client::connect(&calling, "names", MessagePack).await.unwrap();
    let push = Pusher::connect(&calling, "jobs", MessagePack).await.unwrap();
    let added = calling.bind_endpoint(ANY).await.unwrap();
    assert_eq!((added.len(), calling.local_endpoints().len()), (2, 4));
    let serving = added.into_iter().fold(builder(), ZmqBuilder::connect).build().unwrap();
    serve_on(&serving, "one").await;
    assert_eq!(name(&client).await, "one");
    let mut jobs: Puller<u32> = Puller::bind(&serving, "jobs", MessagePack).await.unwrap();
    push.push(&1).await.unwrap();
    assert_eq!(*timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap(), 1);
}

#[tokio::test]
async fn a_pusher_and_a_puller_change_endpoints() {
    let [one, other] = [(); 2].map(|()| builder().bind(ANY).build().unwrap());
    let mut first: Puller<u32> = Puller::bind(&one, "jobs", MessagePack).await.unwrap();
    let mut second: Puller<u32> = Puller::bind(&other, "jobs", MessagePack).await.unwrap();
    let pushing = builder().connect(endpoint(&one)).build().unwrap();
    let push = Pusher::connect(&pushing, "jobs", MessagePack).await.unwrap();
    push.push(&1).await.unwrap();
    assert_eq!(*timeout(PATIENCE, first.next()).await.unwrap().unwrap().unwrap(), 1);

    pushing.connect_endpoint(&endpoint(&other)).await.unwrap();
    pushing.disconnect_endpoint(&endpoint(&one)).await.unwrap();
    push.push(&2).await.unwrap();
    assert_eq!(*timeout(PATIENCE, second.next()).await.unwrap().unwrap().unwrap(), 2);

    let pushing = builder().bind(ANY).build().unwrap();
    let push = Pusher::connect(&pushing, "jobs", MessagePack).await.unwrap();
    one.connect_endpoint(&endpoint(&pushing)).await.unwrap();
    push.push(&3).await.unwrap();
    assert_eq!(*timeout(PATIENCE, first.next()).await.unwrap().unwrap().unwrap(), 3);
}

#[tokio::test]
async fn publishers_and_subscribers_are_ready_at_once_where_they_connect() {
    let [one, other] = [(); 2].map(|()| builder().bind(ANY).build().unwrap());
    let first = Publisher::connect(&one, "weather", MessagePack).await.unwrap();
    let second = Publisher::connect(&other, "weather", MessagePack).await.unwrap();
    let subscribing = builder().connect(endpoint(&one)).build().unwrap();
    let mut events: Subscriber<u32> =
        Subscriber::bind(&subscribing, "weather", MessagePack).await.unwrap();
    for round in 0..20 {
        subscribing.connect_endpoint(&endpoint(&other)).await.unwrap();
        second.publish("a", &round).await.unwrap();
        assert_eq!(*timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap(), round);
        subscribing.disconnect_endpoint(&endpoint(&other)).await.unwrap();
    }
    first.publish("a", &100).await.unwrap();
    assert_eq!(*timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap(), 100);

    let bound = builder().bind(ANY).build().unwrap();
    let mut events: Subscriber<u32> =
        Subscriber::bind(&bound, "weather", MessagePack).await.unwrap();
    for round in 0..20 {
        one.connect_endpoint(&endpoint(&bound)).await.unwrap();
        first.publish("a", &round).await.unwrap();
        assert_eq!(*timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap(), round);
        one.disconnect_endpoint(&endpoint(&bound)).await.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_changed_is_told_and_changes_nothing() {
    let serving = serve("one").await;
    for endpoint in ["tcp://127.0.0.1", "tcp://127.0.0.1:*", "nonsense"] {
        assert_eq!(serving.connect_endpoint(endpoint).await.unwrap_err().kind(), ErrorKind::Config);
    }
    for endpoint in ["tcp://127.0.0.1:1", "tcp://127.0.0.1:2"] {
        assert_eq!(serving.unbind_endpoint(endpoint).await.unwrap_err().kind(), ErrorKind::Config);
        assert_eq!(
            serving.disconnect_endpoint(endpoint).await.unwrap_err().kind(),
            ErrorKind::Config
        );
    }
    // A fixed port is free for one end, and there are two.
    let _puller: Puller<u32> = Puller::bind(&serving, "jobs", MessagePack).await.unwrap();
    let before = serving.local_endpoints();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = serving.bind_endpoint(&format!("tcp://{free}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(serving.local_endpoints(), before);
    // Before any end is open, it is only planned.
    let planned = builder().connect("tcp://127.0.0.1:1").build().unwrap();
    assert!(planned.bind_endpoint(ANY).await.unwrap().is_empty());
    planned.disconnect_endpoint("tcp://127.0.0.1:1").await.unwrap();
    serve_on(&planned, "planned").await;
    assert_eq!(planned.local_endpoints().len(), 1);
    planned.close().await.unwrap();
    assert_eq!(planned.bind_endpoint(ANY).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn an_end_that_is_gone_does_not_keep_the_others_from_changing() {
    let publishing = builder().bind(ANY).build().unwrap();
    let _publisher = Publisher::connect(&publishing, "weather", MessagePack).await.unwrap();
    let zmq = builder().bind(ANY).build().unwrap();
    let events: Subscriber<u32> = Subscriber::bind(&zmq, "weather", MessagePack).await.unwrap();
    let filters = events.filters();
    drop(events);
    let mut jobs: Puller<u32> = Puller::bind(&zmq, "jobs", MessagePack).await.unwrap();
    jobs.stop();
    serve_on(&zmq, "one").await;
    // One listens there now, and only one.
    let added = zmq.bind_endpoint(ANY).await.unwrap();
    assert_eq!(added.len(), 1);
    let calling = builder().connect(&added[0]).build().unwrap();
    let client = Client::connect(&calling, "names", MessagePack).await.unwrap();
    assert_eq!(name(&client).await, "one");
    zmq.connect_endpoint(&endpoint(&publishing)).await.unwrap();
    zmq.unbind_endpoint(&added[0]).await.unwrap();
    zmq.disconnect_endpoint(&endpoint(&publishing)).await.unwrap();
    drop((filters, jobs));
}

#[tokio::test]
async fn an_endpoint_that_was_there_before_outlives_a_failed_change() {
    let serving = serve("one").await;
    let calling = builder()
        .connect(endpoint(&serving))
        .connect_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let client = Client::connect(&calling, "names", MessagePack).await.unwrap();
    assert_eq!(name(&client).await, "one");
    let mut call = client.request("hang").start::<u32>(&()).unwrap();
    call.sent().await;
    // It is connected already, and so it stays, with what is under way.
    calling.connect_endpoint(&endpoint(&serving)).await.unwrap();
    assert_eq!(name(&client).await, "one");
    assert!(timeout(Duration::from_millis(50), call).await.is_err());
}
