//! Bounds of a peer are told to the one who is limited, by name.

use std::time::Duration;

use futures_util::future::join_all;
use omq_tokio::{Options, Socket, SocketType};
use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::{CallError, Client, ErrorKind, Router, Server, Subscriber, Window};
use polywire_zmq::{Admission, Side, Zmq};
use tokio::time::timeout;

use crate::support::context::{Medium, Setup, builder, free_endpoint, setups};
use crate::support::engine::zmq;
use crate::support::events::{next, publisher};
use crate::support::wait::PATIENCE;

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
async fn the_first_and_the_last_of_a_thousand_filters_hear() {
    let publishing = zmq().bind("tcp://127.0.0.1:*").build().unwrap();
    let publish = publisher(&publishing).await;
    let subscribing = connected_to(&publishing);
    let mut events =
        Subscriber::<u32>::bind(&subscribing, "weather", MessagePack).filter("t.0").await.unwrap();
    let begun = std::time::Instant::now();
    let mut quarters = Vec::new();
    for number in 1..1000 {
        events.filters().add(format!("t.{number}").as_str()).await.unwrap();
        if number % 250 == 0 || number == 999 {
            quarters.push(begun.elapsed());
        }
    }
    println!("250, 500, 750, 1,000 filters after {quarters:?}");
    for number in 1000..1100 {
        let refused = events.filters().add(format!("t.{number}").as_str()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Overloaded, "{refused}");
    }
    for number in [0, 1, 500, 997, 998, 999] {
        publish.publish(format!("t.{number}").as_str(), &number).await.unwrap();
        assert_eq!(*next(&mut events).await.unwrap(), number);
    }
}
