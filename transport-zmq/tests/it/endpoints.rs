//! Endpoints that are added and removed while endpoint handles are open.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{
    CallError, Client, ErrorKind, Publisher, Puller, Pusher, Router, Server, Subscriber, Transport,
};
use polywire_zmq::{Zmq, ZmqBuilder};
use tokio::time::timeout;

use crate::support::address::free_address;
use crate::support::engine::zmq;
use crate::support::wait::{PATIENCE, until};

const ANY: &str = "tcp://127.0.0.1:*";

fn builder() -> ZmqBuilder {
    zmq().connect_timeout(Duration::from_secs(5))
}

/// Starts a server that replies with its name.
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

/// Calls until this server replies.
async fn until_named(client: &Client<MessagePack>, wanted: &str) {
    timeout(PATIENCE, async { while name(client).await != wanted {} })
        .await
        .expect("the server replies");
}

#[tokio::test]
async fn client_connects_to_and_disconnects_from_servers() {
    let (one, other) = (serve("one").await, serve("other").await);
    let calling = builder().connect(endpoint(&one)).build().unwrap();
    let client = Client::connect(&calling, "names", MessagePack).await.unwrap();
    assert_eq!(name(&client).await, "one");
    calling.connect_endpoint(&endpoint(&other)).await.unwrap();
    until_named(&client, "other").await;
    until_named(&client, "one").await;

    // Only the call at the disconnected server fails.
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
            Ok(other) => panic!("the call ended with {other:?}"),
            Err(_) => {}
        }
    }
    assert_eq!(lost, 1);
    for _ in 0..10 {
        assert_eq!(name(&client).await, "other");
    }
    // A client that is opened later has the current endpoints.
    let later = Client::connect(&calling, "names", MessagePack).await.unwrap();
    for _ in 0..10 {
        assert_eq!(name(&later).await, "other");
    }
}

#[tokio::test]
async fn server_binds_and_unbinds_an_endpoint() {
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
    ended.await.expect("no server is reachable any more");
}

#[tokio::test]
async fn open_client_and_pusher_bind_an_endpoint() {
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
async fn pusher_and_puller_change_endpoints() {
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
async fn publishers_and_subscribers_miss_nothing_at_added_endpoints() {
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
async fn impossible_change_is_an_error_and_changes_nothing() {
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
    // Two handles are open, and only one of them can bind a fixed port.
    let _puller: Puller<u32> = Puller::bind(&serving, "jobs", MessagePack).await.unwrap();
    let before = serving.local_endpoints();
    let free = free_address();
    let error = serving.bind_endpoint(&format!("tcp://{free}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(serving.local_endpoints(), before);
    // Without an open handle, the change holds for later handles.
    let unopened = builder().connect("tcp://127.0.0.1:1").build().unwrap();
    assert!(unopened.bind_endpoint(ANY).await.unwrap().is_empty());
    unopened.disconnect_endpoint("tcp://127.0.0.1:1").await.unwrap();
    serve_on(&unopened, "late").await;
    assert_eq!(unopened.local_endpoints().len(), 1);
    unopened.close().await.unwrap();
    assert_eq!(unopened.bind_endpoint(ANY).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn dropped_handle_does_not_prevent_changes_of_others() {
    let publishing = builder().bind(ANY).build().unwrap();
    let _publisher = Publisher::connect(&publishing, "weather", MessagePack).await.unwrap();
    let zmq = builder().bind(ANY).build().unwrap();
    let events: Subscriber<u32> = Subscriber::bind(&zmq, "weather", MessagePack).await.unwrap();
    let filters = events.filters();
    drop(events);
    let mut jobs: Puller<u32> = Puller::bind(&zmq, "jobs", MessagePack).await.unwrap();
    jobs.stop();
    serve_on(&zmq, "one").await;
    // Only the server is bound there.
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
async fn connecting_twice_changes_nothing() {
    let serving = serve("one").await;
    let calling = builder().connect(endpoint(&serving)).build().unwrap();
    let client = Client::connect(&calling, "names", MessagePack).await.unwrap();
    let mut call = client.request("hang").start::<u32>(&()).unwrap();
    call.sent().await;
    calling.connect_endpoint(&endpoint(&serving)).await.unwrap();
    assert_eq!(name(&client).await, "one");
    assert!(timeout(Duration::from_millis(50), call).await.is_err());
}

/// The first handle binds the endpoint, and the second cannot. The endpoint is removed from the
/// first again, and both keep their endpoints and what is in flight.
#[tokio::test]
async fn failed_change_is_undone_and_keeps_previous_endpoints() {
    let serving = serve("one").await;
    let _puller: Puller<u32> = Puller::bind(&serving, "jobs", MessagePack).await.unwrap();
    let before = serving.local_endpoints();
    let calling = builder().connect(&before[0]).build().unwrap();
    let client = Client::connect(&calling, "names", MessagePack).await.unwrap();
    let mut call = client.request("hang").start::<u32>(&()).unwrap();
    call.sent().await;

    let free = free_address();
    let error = serving.bind_endpoint(&format!("tcp://{free}")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains(&free.to_string()), "{error}");

    assert_eq!(serving.local_endpoints(), before);
    // The socket of the engine is closed in a task, so the port may be free a moment later.
    until("the port is free again", || std::net::TcpListener::bind(free).is_ok()).await;
    assert_eq!(name(&client).await, "one");
    assert!(timeout(Duration::from_millis(50), call).await.is_err());
    // The failed change does not hold for handles that are opened later either.
    let _later: Puller<u32> = Puller::bind(&serving, "other", MessagePack).await.unwrap();
    assert!(std::net::TcpListener::bind(free).is_ok());
}
