//! Subscribers that do not read, and policies for them.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{ErrorKind, Group, Overflow, Publisher, Subscriber, Window};
use tokio::time::timeout;

use crate::support::events::{next, publisher};
use crate::support::jobs::{bound, connected};
use crate::support::wait::PATIENCE;

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
