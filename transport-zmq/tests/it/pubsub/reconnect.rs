//! Publishers and subscribers that connect late, or come back.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Publisher, Subscriber, Transport};
use polywire_zmq::Zmq;
use tokio::time::timeout;

use crate::support::events::{next, publisher, subscriber};
use crate::support::jobs::{bound, builder, connected};
use crate::support::wait::PATIENCE;

#[tokio::test]
async fn unreachable_endpoint_delays_neither_subscriber_nor_publisher() {
    let publishing = bound();
    let publish = publisher(&publishing).await;
    let subscribing = builder()
        .connect("tcp://127.0.0.1:1")
        .connect(&publishing.local_endpoints()[0])
        .build()
        .unwrap();
    let mut events = timeout(Duration::from_secs(2), subscriber(&subscribing, "#"))
        .await
        .expect("the handle opens at once");
    publish.publish("a", &1).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 1);

    let unreachable = builder().connect("tcp://127.0.0.1:1").build().unwrap();
    let publish = timeout(Duration::from_secs(2), publisher(&unreachable))
        .await
        .expect("the handle opens at once");
    publish.publish("a", &1).await.unwrap();
}

#[tokio::test]
async fn subscriber_that_binds_its_port_again_receives_events() {
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
    // The subscriber misses the events that are published while it is disconnected.
    timeout(PATIENCE, async {
        for value in 2.. {
            publish.publish("a", &value).await.unwrap();
            if timeout(Duration::from_millis(50), events.next()).await.is_ok() {
                return;
            }
        }
    })
    .await
    .expect("an event arrives again");
}

/// Binds the port of a closed socket as soon as the port is free.
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
async fn publisher_that_binds_its_port_again_gets_the_subscriptions() {
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
    .expect("the subscriptions are sent again");
}
