//! Events over real sockets: nothing is missed that is published after a subscriber is ready,
//! whoever binds.

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
    Error, ErrorKind, Event, Group, Overflow, Publisher, Subscriber, Transport, Window,
};
use polywire_zmq::{Engine, Side, Zmq, ZmqBuilder};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

fn builder() -> ZmqBuilder {
    Zmq::builder().engine(Engine::Omq).connect_timeout(Duration::from_secs(5))
}

fn bound() -> Zmq {
    builder().bind("tcp://127.0.0.1:*").build().unwrap()
}

fn connected(to: &[&Zmq]) -> Zmq {
    let endpoints = to.iter().flat_map(|zmq| zmq.local_endpoints());
    endpoints.fold(builder(), ZmqBuilder::connect).build().unwrap()
}

async fn publisher(zmq: &Zmq) -> Publisher<MessagePack> {
    Publisher::connect(zmq, "weather", MessagePack).timeout(PATIENCE).await.unwrap()
}

async fn subscriber(zmq: &Zmq, filter: &str) -> Subscriber<u32> {
    Subscriber::bind(zmq, "weather", MessagePack).filter(filter).await.unwrap()
}

async fn next(events: &mut Subscriber<u32>) -> Result<Event<u32>, Error> {
    timeout(PATIENCE, events.next()).await.expect("an event comes").expect("the stream goes on")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_dials_misses_nothing_once_it_is_open() {
    let publishing = bound();
    let publish = publisher(&publishing).await;
    for round in 0..1000 {
        let subscribing = connected(&[&publishing]);
        let mut events = subscriber(&subscribing, "a.#").await;
        publish.publish("a.b", &round).await.unwrap();
        assert_eq!(*next(&mut events).await.unwrap(), round);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_dials_is_heard_once_it_is_open() {
    let subscribing = bound();
    let mut events = subscriber(&subscribing, "a.#").await;
    for round in 0..1000 {
        let publishing = connected(&[&subscribing]);
        let publish = publisher(&publishing).await;
        publish.publish("a.b", &round).await.unwrap();
        assert_eq!(*next(&mut events).await.unwrap(), round);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_that_is_added_misses_nothing_in_either_direction() {
    let subscribing = bound();
    let mut events = subscriber(&subscribing, "nothing").await;
    let [first, second] = [(); 2].map(|()| connected(&[&subscribing]));
    let publish = [publisher(&first).await, publisher(&second).await];
    let [third, fourth] = [bound(), bound()];
    let others = [publisher(&third).await, publisher(&fourth).await];
    let dialling = connected(&[&third, &fourth]);
    let mut dialled = subscriber(&dialling, "nothing").await;
    for round in 0..100 {
        let topic = format!("a.{round}");
        events.filters().add(topic.as_str()).await.unwrap();
        dialled.filters().add(topic.as_str()).await.unwrap();
        for (publishers, events) in [(&publish, &mut events), (&others, &mut dialled)] {
            for publish in publishers {
                publish.publish(topic.as_str(), &round).await.unwrap();
                let event = next(events).await.unwrap();
                assert_eq!((event.topic().as_str(), *event), (&*topic, round));
            }
        }
        events.filters().remove(topic.as_str()).await.unwrap();
        dialled.filters().remove(topic.as_str()).await.unwrap();
    }
}

#[tokio::test]
async fn filters_select_and_channels_share_an_endpoint() {
    let subscribing = bound();
    let mut one = subscriber(&subscribing, "a.*").await;
    one.filters().add("a.#.z").await.unwrap();
    let mut other: Subscriber<u32> =
        Subscriber::bind(&subscribing, "weather2", MessagePack).await.unwrap();
    let publishing = connected(&[&subscribing]);
    let publish = publisher(&publishing).await;
    let publish2 = Publisher::connect(&publishing, "weather2", MessagePack).await.unwrap();
    for (topic, value) in [("a", 1), ("a.b", 2), ("a.b.c", 3), ("a.b.z", 4), ("b.z", 5), ("a.c", 6)]
    {
        publish.publish(topic, &value).await.unwrap();
        publish2.publish(topic, &(value + 100)).await.unwrap();
    }
    for expected in [2, 4, 6] {
        assert_eq!(*next(&mut one).await.unwrap(), expected);
    }
    for expected in 101..107 {
        assert_eq!(*next(&mut other).await.unwrap(), expected);
    }
    // The prefix of both is the same, and goes with the last of them only.
    one.filters().remove("a.*").await.unwrap();
    publish.publish("a.b", &7).await.unwrap();
    publish.publish("a.z", &8).await.unwrap();
    assert_eq!(*next(&mut one).await.unwrap(), 8);
}

#[tokio::test]
async fn the_default_is_that_publishers_bind_and_serve_turns_it_round() {
    let publishing = builder().endpoint("tcp://127.0.0.1:*").build().unwrap();
    let publish = publisher(&publishing).await;
    let subscribing = builder().endpoint(&publishing.local_endpoints()[0]).build().unwrap();
    let mut events = subscriber(&subscribing, "#").await;
    publish.publish("a", &1).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 1);

    let subscribing =
        builder().endpoint("tcp://127.0.0.1:*").server_side(Side::Connect).build().unwrap();
    let mut events = subscriber(&subscribing, "#").await;
    let publishing = builder()
        .endpoint(&subscribing.local_endpoints()[0])
        .server_side(Side::Connect)
        .build()
        .unwrap();
    publisher(&publishing).await.publish("a", &2).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 2);
}

#[tokio::test]
async fn a_slow_subscriber_makes_the_publisher_wait_and_misses_nothing() {
    let subscribing = bound();
    let mut events: Subscriber<(u32, Vec<u8>)> =
        Subscriber::bind(&subscribing, "weather", MessagePack)
            .window(Window::new(1))
            .await
            .unwrap();
    let publishing = connected(&[&subscribing]);
    let publish = Publisher::connect(&publishing, "weather", MessagePack)
        .timeout(Duration::from_millis(500))
        .await
        .unwrap();
    let body = vec![0u8; 20_000];
    let mut published = 0;
    let error = loop {
        match publish.publish("a", &(published, &body)).await {
            Ok(()) => published += 1,
            Err(error) => break error,
        }
        assert!(published < 20_000, "the queues have no end");
    };
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    for expected in 0..published {
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(event.0, expected);
    }
    // One that is not read can still be asked for more, while it is asked.
    publish.publish("a", &(published, &body)).await.unwrap();
    timeout(PATIENCE, events.filters().add("b")).await.unwrap().unwrap();
    publish.publish("b", &(u32::MAX, &body)).await.unwrap();
    loop {
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        if event.0 == u32::MAX {
            break;
        }
    }
}

#[tokio::test]
async fn a_filter_can_be_added_while_events_pile_up() {
    let publishing = bound();
    let publish = publisher(&publishing).await;
    let subscribing = connected(&[&publishing]);
    let mut events: Subscriber<u32> = Subscriber::bind(&subscribing, "weather", MessagePack)
        .filter("a")
        .window(Window::new(1))
        .await
        .unwrap();
    for value in 0..500 {
        publish.publish("a", &value).await.unwrap();
    }
    timeout(PATIENCE, events.filters().add("b")).await.expect("it is heard").unwrap();
    publish.publish("b", &500).await.unwrap();
    for expected in 0..=500 {
        assert_eq!(*next(&mut events).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_subscriber_dials_whom_it_can_and_waits_for_nobody_else() {
    let publishing = bound();
    let publish = publisher(&publishing).await;
    let subscribing = builder()
        .connect("tcp://127.0.0.1:1")
        .connect(&publishing.local_endpoints()[0])
        .build()
        .unwrap();
    let mut events = timeout(Duration::from_secs(2), subscriber(&subscribing, "#"))
        .await
        .expect("it is open at once");
    publish.publish("a", &1).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 1);

    let nobody = builder().connect("tcp://127.0.0.1:1").build().unwrap();
    let publish =
        timeout(Duration::from_secs(2), publisher(&nobody)).await.expect("it is open at once");
    publish.publish("a", &1).await.unwrap();
}

#[tokio::test]
async fn a_subscriber_that_comes_back_at_its_port_goes_on() {
    let subscribing = bound();
    let mut events = subscriber(&subscribing, "#").await;
    let endpoint = subscribing.local_endpoints()[0].clone();
    let publishing = connected(&[&subscribing]);
    let publish = publisher(&publishing).await;
    publish.publish("a", &1).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 1);
    subscribing.close().await.unwrap();
    assert!(events.next().await.is_none());
    let (_subscribing, mut events) = rebind(&endpoint).await;
    // What is published while it is away, it misses.
    timeout(PATIENCE, async {
        for value in 2.. {
            publish.publish("a", &value).await.unwrap();
            if timeout(Duration::from_millis(50), events.next()).await.is_ok() {
                return;
            }
        }
    })
    .await
    .expect("it is heard again");
}

/// Binds where somebody was whose socket may take a moment to go.
async fn rebind(endpoint: &str) -> (Zmq, Subscriber<u32>) {
    timeout(PATIENCE, async {
        loop {
            let subscribing = builder().bind(endpoint).build().unwrap();
            if let Ok(events) = Subscriber::bind(&subscribing, "weather", MessagePack).await {
                return (subscribing, events);
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the endpoint is free again")
}

#[tokio::test]
async fn a_publisher_that_comes_back_at_its_port_is_heard_again() {
    let publishing = bound();
    let publish = publisher(&publishing).await;
    let endpoint = publishing.local_endpoints()[0].clone();
    let subscribing = connected(&[&publishing]);
    let mut events = subscriber(&subscribing, "a.#").await;
    publish.publish("a.b", &1).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 1);
    publishing.close().await.unwrap();
    drop((publish, publishing));
    let publishing = builder().bind(&endpoint).build().unwrap();
    let publish = timeout(PATIENCE, async {
        loop {
            match Publisher::connect(&publishing, "weather", MessagePack).await {
                Ok(publish) => return publish,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await
    .unwrap();
    timeout(PATIENCE, async {
        for value in 2.. {
            publish.publish("a.b", &value).await.unwrap();
            if timeout(Duration::from_millis(50), events.next()).await.is_ok() {
                return;
            }
        }
    })
    .await
    .expect("subscriptions are said again");
}

#[tokio::test]
async fn closing_and_dropping_end_what_they_should() {
    let publishing = bound();
    let publish = publisher(&publishing).await;
    let subscribing = connected(&[&publishing]);
    let mut kept = subscriber(&subscribing, "#").await;
    let gone = subscriber(&subscribing, "#").await;
    let filters = gone.filters();
    drop(gone);
    // Nobody reads for the one that is gone, whose filters are still held; nobody waits for it
    // either.
    for value in 0..5_000 {
        publish.publish("a", &value).await.unwrap();
        assert_eq!(*next(&mut kept).await.unwrap(), value);
    }
    assert_eq!(filters.add("b").await.unwrap_err().kind(), ErrorKind::Closed);
    subscribing.close().await.unwrap();
    assert!(kept.next().await.is_none());
    assert_eq!(kept.filters().add("b").await.unwrap_err().kind(), ErrorKind::Closed);
    publishing.close().await.unwrap();
    assert_eq!(publish.publish("a", &1).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_publisher_that_closes_delivers_what_it_has() {
    let publishing = bound();
    let publish = publisher(&publishing).await;
    let mut events = subscriber(&connected(&[&publishing]), "#").await;
    for value in 0..1000 {
        publish.publish("a", &value).await.unwrap();
    }
    publishing.close().await.unwrap();
    for value in 0..1000 {
        assert_eq!(*next(&mut events).await.unwrap(), value);
    }
}

#[tokio::test]
async fn a_stopped_subscriber_yields_what_is_here_and_ends() {
    let publishing = bound();
    let publish = publisher(&publishing).await;
    let subscribing = connected(&[&publishing]);
    let mut events = subscriber(&subscribing, "#").await;
    publish.publish("a", &1).await.unwrap();
    publish.publish("a", &2).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 1);
    events.stop();
    while timeout(PATIENCE, events.next()).await.expect("it ends").is_some() {}
}

#[tokio::test]
async fn policies_are_those_of_core_and_groups_are_unsupported() {
    let publishing = bound();
    let publish = publisher(&publishing).await;
    let subscribing = connected(&[&publishing]);
    let mut latest: Subscriber<u32> = Subscriber::bind(&subscribing, "weather", MessagePack)
        .window(Window::new(1))
        .overflow(Overflow::DropOldest)
        .await
        .unwrap();
    for value in 0..2_000 {
        publish.publish("a", &value).await.unwrap();
    }
    while *next(&mut latest).await.unwrap() != 1_999 {}
    assert!(latest.dropped() > 0);

    let group = Group::new("all").unwrap();
    let grouped = Subscriber::<u32>::bind(&subscribing, "weather", MessagePack).group(group).await;
    assert_eq!(grouped.unwrap_err().kind(), ErrorKind::Unsupported);
}

/// What a stranger publishes who speaks ZeroMQ, but not quite our wire.
#[tokio::test]
async fn what_is_no_event_is_an_error_or_nothing() {
    use omq_tokio::{Message, Options, Socket, SocketType};

    let stranger = Socket::try_new(SocketType::XPub, Options::default()).unwrap();
    let endpoint = stranger.bind("tcp://127.0.0.1:0").await.unwrap().to_string();
    let subscribing =
        builder().connect_timeout(Duration::from_secs(1)).connect(endpoint).build().unwrap();
    // It does not answer to hellos, which is borne.
    let mut events = subscriber(&subscribing, "#").await;
    let mut hello = Vec::new();
    while let Ok(message) = stranger.try_recv() {
        let said = message.part_bytes(0).unwrap();
        if said.starts_with(b"\x01\0hello") {
            hello = said[1..].to_vec();
        }
    }
    assert!(!hello.is_empty());
    let event = |first: &[u8], head: &[u8]| {
        let frames = [first, head].map(bytes::Bytes::copy_from_slice);
        Message::multipart(frames)
    };
    let envelope = |kind: u8, rest: &[u8]| [&[b'P', 1, kind], &[0; 13][..], rest].concat();
    for message in [
        event(&hello, b""),
        event(&hello, &[0xFF; 200]),
        Message::from_slice(&hello),
        event(b"weather\0a", &envelope(4, b"\x01\x01a")),
        Message::from_slice(b"weather\0a"),
        event(b"weather\0a", b""),
        event(b"weather\0", &envelope(5, b"")),
        event(b"weather\0a", &envelope(5, b"\x81\x01\x07")),
    ] {
        stranger.send(message).await.unwrap();
    }
    for _ in 0..3 {
        assert_eq!(next(&mut events).await.unwrap_err().kind(), ErrorKind::Codec);
    }
    assert_eq!(*next(&mut events).await.unwrap(), 7);

    // And what a stranger subscribes to harms no publisher.
    let publishing = bound();
    let publish = publisher(&publishing).await;
    let stranger = Socket::try_new(SocketType::XSub, Options::default()).unwrap();
    stranger.connect(publishing.local_endpoints()[0].as_str()).await.unwrap();
    for said in [&b"\x01"[..], b"\x01\0hello\0", b"\0\0hello\0", b"\0never"] {
        stranger.send(Message::from_slice(said)).await.unwrap();
    }
    for number in 0..20_u8 {
        let hello = [b"\x01\0hello\0", &[number; 16][..]].concat();
        stranger.send(Message::from_slice(&hello)).await.unwrap();
        stranger.send(Message::from_slice(&[&[0], &hello[1..]].concat())).await.unwrap();
    }
    let subscribing = connected(&[&publishing]);
    let mut events = subscriber(&subscribing, "#").await;
    publish.publish("a", &1).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 1);
}
