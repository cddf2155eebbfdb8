//! Bounds of a peer are reported by name to the peer that they limit.

use std::time::Duration;

use futures_util::future::join_all;
use omq_tokio::{Options, Socket, SocketType};
use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::{
    CallError, Client, ErrorKind, Pusher, Router, Server, Subscriber, Transport, Window, Worker,
};
use polywire_zmq::{Admission, Side, Zmq};
use tokio::time::timeout;

use crate::support::address::free_address;
use crate::support::context::{Medium, Setup, builder, free_endpoint, setups};
use crate::support::engine::zmq;
use crate::support::events::{next, publisher};
use crate::support::wait::{PATIENCE, until};

/// A transport whose publishers accept 50 subscriptions of each subscriber.
fn limited() -> Zmq {
    let admission = Admission { subscriptions_max: 50, ..Admission::default() };
    zmq().bind("tcp://127.0.0.1:*").admission(admission).build().unwrap()
}

fn connected_to(publishing: &Zmq) -> Zmq {
    let builder = zmq().connect_timeout(PATIENCE);
    builder.connect(&publishing.local_endpoints()[0]).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filter_beyond_the_bound_of_the_publisher_is_refused_by_name() {
    let publishing = limited();
    let publish = publisher(&publishing).await;
    let subscribing = connected_to(&publishing);
    let mut events =
        Subscriber::<u32>::bind(&subscribing, "weather", MessagePack).filter("t.0").await.unwrap();
    let filters = events.filters().clone();
    let added = (1..60).map(|number| {
        let filters = filters.clone();
        async move { filters.add(format!("t.{number}").as_str()).await }
    });
    let added = timeout(PATIENCE, join_all(added)).await.expect("each filter is added or refused");
    let refused: Vec<_> = added.into_iter().filter_map(Result::err).collect();
    for error in &refused {
        assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
        assert!(error.to_string().contains("subscriptions_max"), "{error}");
        assert_eq!(error.detail("max"), Some("50"), "{error}");
    }
    assert_eq!(refused.len(), 10, "there is room for as many as the bound says");
    // The others go on.
    publish.publish("t.0", &7).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 7);
    let error = filters.add("v").await.unwrap_err();
    assert_eq!(error.detail("bound"), Some("subscriptions_max"), "{error}");
    filters.remove("t.1").await.unwrap();
    filters.add("v").await.unwrap();
    publish.publish("v", &8).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_with_more_filters_than_the_publisher_accepts_fails_to_open() {
    let publishing = limited();
    let _publish = publisher(&publishing).await;
    let subscribing = connected_to(&publishing);
    let opening = (0..60)
        .fold(Subscriber::<u32>::bind(&subscribing, "weather", MessagePack), |opening, number| {
            opening.filter(format!("t.{number}").as_str())
        });
    let error = timeout(PATIENCE / 2, async { opening.await })
        .await
        .expect("opening ends")
        .expect_err("the publisher accepts 50 filters");
    assert_eq!(error.detail("bound"), Some("subscriptions_max"), "{error}");
}

/// A publisher that comes later, and tolerates fewer filters than the subscriber has, reports
/// its bound. It ignores the filters beyond, and does not disconnect the subscriber.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriber_learns_the_smaller_bound_of_a_later_publisher() {
    let bound = |subscriptions_max: usize| {
        let admission = Admission { subscriptions_max, ..Admission::default() };
        zmq().admission(admission)
    };
    let first = bound(2000).bind("tcp://127.0.0.1:*").build().unwrap();
    let _publish = publisher(&first).await;
    let later = format!("tcp://{}", free_address());
    let subscribing = zmq().connect(&first.local_endpoints()[0]).connect(&later).build().unwrap();
    let mut events =
        Subscriber::<u32>::bind(&subscribing, "weather", MessagePack).filter("t.0").await.unwrap();
    // The first answer says that there is room for more than 1,000.
    events.filters().add("t.1").await.unwrap();
    let filters = events.filters().clone();
    // More than the 1,026 that the later publisher tolerates.
    let added = (2..1500).map(|number| {
        let filters = filters.clone();
        async move { filters.add(format!("t.{number}").as_str()).await }
    });
    let added = timeout(PATIENCE, join_all(added)).await.expect("each filter is added");
    added.into_iter().for_each(|added| added.unwrap());

    let second = bound(1).bind(&later).build().unwrap();
    let publish = publisher(&second).await;
    let error = next(&mut events).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    assert_eq!(error.detail("bound"), Some("subscriptions_max"), "{error}");
    assert_eq!(error.detail("max"), Some("1"), "{error}");
    publish.publish("t.0", &7).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 7);
    // A new filter is refused. One that is present is not added again, and not removed either.
    let error = filters.add("v").await.unwrap_err();
    assert_eq!(error.detail("max"), Some("1"), "{error}");
    filters.add("t.0").await.unwrap();
    publish.publish("t.0", &8).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 8);
}

/// A client beyond the connections of a server learns which bounds that may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_beyond_the_connections_of_a_server_gets_the_reason() {
    let admission = Admission { connections_max: 1, ..Admission::default() };
    let serving = zmq().bind("tcp://127.0.0.1:*").admission(admission).build().unwrap();
    let _server = serve_lengths(&serving).await;
    let connected = connected_to(&serving);
    let client = Client::connect(&connected, "a", MessagePack).await.unwrap();
    assert_eq!(client.call::<usize>("len", &"abc").await.unwrap(), 3);

    let one_more = zmq().connect(&serving.local_endpoints()[0]);
    let one_more = one_more.connect_timeout(Duration::from_secs(2)).build().unwrap();
    let client = Client::connect(&one_more, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    let refused = async {
        loop {
            // Until the server has counted the first client, it may accept another one and cut it.
            match client.call::<usize>("len", &"abc").await.unwrap_err() {
                CallError::Failed(error) if error.kind() == ErrorKind::Unroutable => return error,
                CallError::Failed(error) if error.kind() == ErrorKind::Disconnected => {}
                error => panic!("{error}"),
            }
        }
    };
    let error = timeout(PATIENCE, refused).await.expect("the call ends");
    assert!(error.to_string().contains("`connections_max`"), "{error}");
}

/// A canary comes by a connection of its own, which does not count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn canaries_of_a_server_and_of_a_worker_with_all_their_connections_come_back() {
    let admission = Admission { connections_max: 1, ..Admission::default() };
    let serving = zmq().bind("tcp://127.0.0.1:*").admission(admission).build().unwrap();
    let _server = serve_lengths(&serving).await;
    let connected = connected_to(&serving);
    let client = Client::connect(&connected, "a", MessagePack).await.unwrap();
    assert_eq!(client.call::<usize>("len", &"abc").await.unwrap(), 3);
    let worker = Worker::bind(&serving, "jobs", MessagePack).await.unwrap();
    let worked = worker.handle();
    tokio::spawn(worker.work(async |_: u32| Ok(())));
    let endpoints = serving.local_endpoints();
    let pushing = zmq().connect(&endpoints[1]).connect_timeout(PATIENCE).build().unwrap();
    let push = Pusher::connect(&pushing, "jobs", MessagePack).await.unwrap();
    push.push(&1_u32).await.unwrap();
    until("the job is done", || worked.stats().done == 1).await;

    let one_more = zmq().connect(&endpoints[0]);
    let one_more = one_more.connect_timeout(Duration::from_millis(500)).build().unwrap();
    let refused = Client::connect(&one_more, "a", MessagePack).await.unwrap();
    // Without a refusal, the server has not counted its client yet.
    let until_refused = async || {
        let refused = async {
            loop {
                match refused.call::<usize>("len", &"abc").await {
                    Err(error) if error.to_string().contains("`connections_max`") => return,
                    _ => {}
                }
            }
        };
        timeout(PATIENCE, refused).await.expect("the server is full");
    };
    until_refused().await;
    for _ in 0..3 {
        let report = serving.health().canary(PATIENCE).await;
        assert!(report.is_own() && report.endpoints.len() == 2, "{report:?}");
    }
    until_refused().await;
    assert_eq!(client.call::<usize>("len", &"abc").await.unwrap(), 3);
}

/// A publisher that connects has chosen its subscribers, and neither states nor enforces a bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publisher_that_connects_accepts_filters_beyond_its_bound() {
    let subscribing = zmq().bind("tcp://127.0.0.1:*").connect_timeout(PATIENCE).build().unwrap();
    let mut events =
        Subscriber::<u32>::bind(&subscribing, "weather", MessagePack).filter("t.0").await.unwrap();
    let admission = Admission { subscriptions_max: 1, ..Admission::default() };
    let connecting = zmq().connect(&subscribing.local_endpoints()[0]).connect_timeout(PATIENCE);
    let publishing = connecting.admission(admission).build().unwrap();
    let publish = publisher(&publishing).await;
    let filters = events.filters().clone();
    // The answer to the first filter says that there is no bound.
    filters.add("t.1").await.unwrap();
    // More than the 1,026 that a publisher with this bound tolerates where it listens.
    let added = (2..1100).map(|number| {
        let filters = filters.clone();
        async move { filters.add(format!("t.{number}").as_str()).await }
    });
    let added = timeout(PATIENCE, join_all(added)).await.expect("each filter is added");
    added.into_iter().for_each(|added| added.unwrap());
    publish.publish("t.1099", &7).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 7);
}

/// One-way calls to a server that does not read end by their own bound, and say that they were not
/// sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_way_call_to_a_server_that_does_not_read_ends_by_its_bound_unsent() {
    for setup in setups()
        .into_iter()
        .filter(|Setup(_, side, medium)| matches!(medium, Medium::Tcp) && *side == Side::Connect)
    {
        let builder = || zmq().engine(setup.0).peer_bytes_max(1_000_000);
        let serving = builder().bind(free_endpoint(&setup)).build().unwrap();
        // Not served: the server reads no request before `serve`.
        let _server = Server::bind(&serving, "a").window(Window::new(1)).await.unwrap();
        let calling = builder().connect(&serving.local_endpoints()[0]).build().unwrap();
        let client = Client::connect(&calling, "a", MessagePack).await.unwrap();
        let large = "x".repeat(100_000);
        let mut refused = None;
        let bound = Duration::from_millis(300);
        for _ in 0..20_000 {
            let begun = std::time::Instant::now();
            let sending = client.request("m").timeout(bound).send(&large);
            if let Err(error) = timeout(PATIENCE, sending).await.expect("the send ends") {
                assert!(begun.elapsed() < 10 * bound, "ended after {:?}", begun.elapsed());
                refused = Some(error);
                break;
            }
        }
        let error = refused.expect("a send finds no room");
        let CallError::Failed(error) = error else { panic!("{setup:?}: {error}") };
        assert!(error.is_unsent(), "{setup:?}: {error}");
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded, "{setup:?}: {error}");
    }
}

/// A server of an earlier version hangs up on a request that is larger than it accepts, each time
/// that it comes again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotent_call_that_its_servers_hang_up_on_ends_and_says_why() {
    let options = Options::default().max_message_size(64 << 10);
    let server = Socket::try_new(SocketType::Router, options).unwrap();
    let endpoint = server.bind("tcp://127.0.0.1:0").await.unwrap().to_string();
    let calling = zmq().connect_timeout(PATIENCE).connect(&endpoint).build().unwrap();
    let client = Client::connect(&calling, "a", MessagePack).await.unwrap();
    let large = client.request("len").idempotent().timeout(Duration::from_hours(1));
    let text = "x".repeat(100 << 10);
    let ended = timeout(PATIENCE, large.call::<usize>(&text));
    let error = ended.await.expect("the call ends long before its deadline").unwrap_err();
    let CallError::Failed(error) = error else { panic!("{error}") };
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error}");
    assert!(!error.is_unsent(), "{error}");
    assert_eq!(error.detail("connections_lost"), Some("5"), "{error}");
    assert!(error.to_string().contains("message_max"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_that_is_larger_than_the_server_accepts_is_refused_by_name() {
    for setup in setups().into_iter().filter(|Setup(_, side, _)| *side == Side::Connect) {
        let admission = Admission { message_max: Some(200 << 10), ..Admission::default() };
        let serving = builder(&setup).admission(admission).bind(free_endpoint(&setup));
        let serving = serving.build().unwrap();
        let _server = serve_lengths(&serving).await;
        let calling = builder(&setup).connect(&serving.local_endpoints()[0]).build().unwrap();
        let client = Client::connect(&calling, "a", MessagePack).await.unwrap();
        let length = async |size: usize| {
            let request = client.request("len").timeout(PATIENCE);
            request.call::<usize>(&"x".repeat(size)).await
        };
        for _ in 0..2 {
            let error = length(300 << 10).await.unwrap_err();
            let CallError::Failed(error) = error else { panic!("{setup:?}: {error}") };
            assert_eq!(error.kind(), ErrorKind::TooLarge, "{setup:?}: {error}");
            assert!(error.is_unsent() && error.to_string().contains("message_max"), "{error}");
            assert_eq!(error.detail("limit"), Some("204800"), "{setup:?}: {error}");
            // The connection lasts, and takes what is as large as the bound.
            let size = error.detail("size").unwrap().parse::<usize>().unwrap();
            let largest = (200 << 10) - (size - (300 << 10));
            assert_eq!(length(largest).await.unwrap(), largest, "{setup:?}");
            assert!(length(largest + 1).await.is_err(), "{setup:?}");
        }
    }
}

/// Serves a method that returns the length of a text.
async fn serve_lengths(transport: &Zmq) -> ServerHandle {
    let server = Server::bind(transport, "a").await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack).method("len", async |text: String| Ok(text.len()));
    tokio::spawn(server.serve(router));
    handle
}

/// As many filters as the default bound, one after the other, and some more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_and_last_of_a_thousand_filters_receive() {
    let publishing = zmq().bind("tcp://127.0.0.1:*").build().unwrap();
    let publish = publisher(&publishing).await;
    let subscribing = connected_to(&publishing);
    let mut events =
        Subscriber::<u32>::bind(&subscribing, "weather", MessagePack).filter("t.0").await.unwrap();
    let mut quarters = Vec::new();
    for quarter in [1..251, 251..501, 501..751, 751..1000] {
        let begun = std::time::Instant::now();
        for number in quarter {
            events.filters().add(format!("t.{number}").as_str()).await.unwrap();
        }
        quarters.push(begun.elapsed());
    }
    // Where each addition copies all filters before it, the last quarter takes seven times as long
    // as the first one.
    let (first, last) = (quarters[0], quarters[3]);
    assert!(last < 4 * first + Duration::from_secs(1), "the quarters took {quarters:?}");
    for number in 1000..1100 {
        let refused = events.filters().add(format!("t.{number}").as_str()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Overloaded, "{refused}");
    }
    for number in [0, 1, 500, 997, 998, 999] {
        publish.publish(format!("t.{number}").as_str(), &number).await.unwrap();
        assert_eq!(*next(&mut events).await.unwrap(), number);
    }
}
