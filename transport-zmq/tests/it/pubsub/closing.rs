//! Publishers and subscribers that close, stop or are dropped.

use polywire_core::{ErrorKind, Transport};
use tokio::time::timeout;

use crate::support::events::{next, publisher, subscriber};
use crate::support::jobs::{bound, connected};
use crate::support::wait::PATIENCE;

#[tokio::test]
async fn closed_and_dropped_handles_end_and_hold_up_no_other() {
    let publishing = bound();
    let publish = publisher(&publishing).await;
    let subscribing = connected(&[&publishing]);
    let mut kept = subscriber(&subscribing, "#").await;
    let gone = subscriber(&subscribing, "#").await;
    let filters = gone.filters();
    drop(gone);
    // The dropped subscriber is not read, although its filters still exist. The publisher does not
    // wait for it.
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
async fn closing_publisher_delivers_accepted_events() {
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
async fn stopped_subscriber_yields_its_events_and_ends() {
    let publishing = bound();
    let publish = publisher(&publishing).await;
    let subscribing = connected(&[&publishing]);
    let mut events = subscriber(&subscribing, "#").await;
    publish.publish("a", &1).await.unwrap();
    publish.publish("a", &2).await.unwrap();
    assert_eq!(*next(&mut events).await.unwrap(), 1);
    events.stop();
    while timeout(PATIENCE, events.next()).await.expect("the subscriber ends").is_some() {}
}
