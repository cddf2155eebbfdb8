//! Subscribers that do not read, and policies for them.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{ErrorKind, Group, Overflow, Publisher, Subscriber, Window};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::events::{next, publisher, subscriber};
use crate::support::jobs::{bound, builder, connected};
use crate::support::wait::{PATIENCE, stays_connected};

#[tokio::test]
async fn publisher_waits_for_a_slow_subscriber_which_misses_nothing() {
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
        assert!(published < 20_000, "the queues are unbounded");
    };
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    for expected in 0..published {
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(event.0, expected);
    }
    // A filter can be added while events wait for the receiver.
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

/// A few events leave room for heartbeats behind them, which the subscriber does not read. Many
/// fill the buffers of the kernel, so that the publisher cannot write.
#[tokio::test(flavor = "multi_thread")]
async fn subscriber_that_is_busy_for_many_heartbeats_misses_no_event() {
    const HEARTBEAT: Duration = Duration::from_millis(500);
    for (most, size) in [(20_u32, 10), (20_000, 20_000)] {
        let subscribing = builder().bind("tcp://127.0.0.1:*").heartbeat(HEARTBEAT).build().unwrap();
        let mut events: Subscriber<(u32, Vec<u8>)> =
            Subscriber::bind(&subscribing, "weather", MessagePack)
                .window(Window::new(1))
                .await
                .unwrap();
        let endpoint = &subscribing.local_endpoints()[0];
        let publishing = builder().connect(endpoint).heartbeat(HEARTBEAT).build().unwrap();
        let publish = Publisher::connect(&publishing, "weather", MessagePack)
            .timeout(if size > 10 { Duration::from_millis(500) } else { PATIENCE })
            .await
            .unwrap();
        let body = vec![0_u8; size];
        let mut published = 0;
        while published < most && publish.publish("a", &(published, &body)).await.is_ok() {
            published += 1;
        }
        assert!(published == most || size > 10, "a few events wait for a subscriber");
        stays_connected(&publishing, HEARTBEAT).await;
        for expected in 0..published {
            let event = timeout(PATIENCE, events.next()).await.expect("the event arrives");
            assert_eq!(event.unwrap().unwrap().0, expected, "events of {size} bytes");
        }
    }
}

/// The peer reads and writes nothing after its heartbeat. A publisher that cannot write notices in
/// no other way. The heartbeats of this publisher would take 70 seconds.
#[tokio::test]
async fn subscriber_that_is_silent_for_longer_than_it_has_announced_is_disconnected() {
    let publishing =
        builder().bind("tcp://127.0.0.1:*").heartbeat(Duration::from_secs(10)).build().unwrap();
    let _publish = publisher(&publishing).await;
    let endpoint = publishing.local_endpoints()[0].clone();
    let mut peer = TcpStream::connect(endpoint.trim_start_matches("tcp://")).await.unwrap();
    // A time to live of 2 tenths of a second.
    let hello = [&introduction(b"SUB")[..], b"\x04\x07\x04PING\0\x02"].concat();
    peer.write_all(&hello).await.unwrap();
    // A reset ends the connection as well.
    let _ =
        timeout(PATIENCE, peer.read_to_end(&mut Vec::new())).await.expect("the peer is cut off");
}

/// The peer writes, and reads nothing. Its publisher cannot write to it, and gives it up after
/// sixty heartbeats: 6 seconds.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn subscriber_that_takes_no_bytes_holds_its_publisher_for_a_bounded_time() {
    // The publisher's queue is full long before the peer is given up, also on a busy machine.
    let publishing = builder()
        .bind("tcp://127.0.0.1:*")
        .heartbeat(Duration::from_millis(100))
        .peer_bytes_max(1 << 20)
        .build()
        .unwrap();
    let publish = Publisher::connect(&publishing, "weather", MessagePack)
        .timeout(Duration::from_millis(500))
        .await
        .unwrap();
    let endpoint = publishing.local_endpoints()[0].clone();
    let mut peer = TcpStream::connect(endpoint.trim_start_matches("tcp://")).await.unwrap();
    // The handshake, and a subscription to everything.
    peer.write_all(&[&introduction(b"SUB")[..], b"\0\x01\x01"].concat()).await.unwrap();
    // Longer than the first pause of the kernel between its probes, which each message restarts.
    let living = tokio::spawn(async move {
        while peer.write_all(b"\x04\x05\x04PONG").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    let body = vec![0_u8; 20_000];
    let publishes_until = async |works: bool| {
        while publish.publish("a", &body).await.is_ok() != works {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, publishes_until(false))
        .await
        .expect("the publisher waits for its subscriber");
    timeout(PATIENCE, publishes_until(true)).await.expect("the publisher has given it up");
    timeout(PATIENCE, living).await.expect("the peer is cut off").unwrap();
}

/// The heartbeats of a subscriber announce six times their interval of 100 ms.
#[tokio::test]
async fn subscriber_announces_the_silence_that_means_its_death() {
    let subscribing =
        builder().bind("tcp://127.0.0.1:*").heartbeat(Duration::from_millis(100)).build().unwrap();
    let _events = subscriber(&subscribing, "a").await;
    let endpoint = subscribing.local_endpoints()[0].clone();
    let mut peer = TcpStream::connect(endpoint.trim_start_matches("tcp://")).await.unwrap();
    peer.write_all(&introduction(b"PUB")).await.unwrap();
    let mut read = Vec::new();
    let ping = b"\x04PING\0\x06";
    let reading = async {
        while !read.windows(ping.len()).any(|bytes| bytes == ping) {
            assert!(
                peer.read_buf(&mut read).await.unwrap() > 0,
                "no heartbeat of 6 tenths: {read:?}"
            );
        }
    };
    timeout(PATIENCE, reading).await.expect("a heartbeat arrives");
}

/// Returns the greeting and the READY command of a socket of this type: ZMTP 3.1 without security.
fn introduction(socket_type: &[u8; 3]) -> Vec<u8> {
    let mut greeting = [0; 64];
    (greeting[0], greeting[9], greeting[10], greeting[11]) = (0xFF, 0x7F, 3, 1);
    greeting[12..16].copy_from_slice(b"NULL");
    let ready = b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03";
    [&greeting[..], ready, socket_type].concat()
}

#[tokio::test]
async fn filter_is_added_while_events_wait() {
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
    timeout(PATIENCE, events.filters().add("b"))
        .await
        .expect("the publisher confirms the filter")
        .unwrap();
    publish.publish("b", &500).await.unwrap();
    for expected in 0..=500 {
        assert_eq!(*next(&mut events).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn overflow_policies_work_and_groups_are_unsupported() {
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
