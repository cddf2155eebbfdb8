//! Tests of the synchronization, with a publisher that answers no marker, and one with a bound that
//! changes.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use futures_util::StreamExt;
use polywire_core::{Address, Window};
use tokio::time::timeout;

use super::*;
use crate::config::ZmqBuilder;
use crate::engine::{self, XPub};
use crate::wire::UNIQUE;

/// The time after which a wait has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Opens a publisher. Returns it and its endpoint.
async fn publisher() -> (Arc<dyn XPub>, String) {
    let (settings, endpoints) = ZmqBuilder::new().bind("tcp://127.0.0.1:*").settings().unwrap();
    let socket = engine::open_xpub(&settings).unwrap();
    let mut bound = engine::add_endpoints(&*socket, &endpoints.serving).await.unwrap();
    (socket, bound.remove(0))
}

/// Opens a subscriber that is connected to an endpoint.
async fn subscriber(endpoint: &str) -> (Arc<dyn Sub>, Arc<EventBuffer>, Subscriptions) {
    let (settings, endpoints) = ZmqBuilder::new().connect(endpoint).settings().unwrap();
    let socket = engine::open_sub(&settings, Window::new(16)).unwrap();
    let buffer = Arc::new(EventBuffer::new(socket.messages()));
    let channel = Channel::new(&Address::new("weather").unwrap());
    let subscriptions = Subscriptions::new(socket.clone(), buffer.clone(), channel, PATIENCE);
    engine::add_endpoints(&*socket, &endpoints.calling).await.unwrap();
    (socket, buffer, subscriptions)
}

#[tokio::test]
async fn endpoint_change_holds_off_other_markers_while_its_own_has_no_answer() {
    let (publishing, endpoint) = publisher().await;
    let mut markers = publishing.sync_markers();

    let (_socket, _buffer, subscriptions) = subscriber(&endpoint).await;
    let mut settling = pin!(subscriptions.settle());
    tokio::select! {
        settled = &mut settling => panic!("settled without an answer: {settled:?}"),
        marker = markers.next() => assert!(marker.is_some()),
    }
    // Filters and canaries lock the number before they send a marker.
    assert!(subscriptions.synced.try_lock().is_err());
}

#[tokio::test]
async fn smaller_bound_that_a_canary_reads_reaches_the_receiver_once() {
    let (publishing, endpoint) = publisher().await;
    let mut markers = publishing.sync_markers();
    let accepted = Arc::new(AtomicUsize::new(10));
    let accepts = accepted.clone();
    tokio::spawn(async move {
        while let Some((marker, connections)) = markers.next().await {
            let body = Some(SyncMarker::accepted_max(accepts.load(Ordering::Relaxed)));
            let frames = Frames { head: SyncMarker::answer(&[1; UNIQUE], connections), body };
            publishing.send(marker.frame().clone(), frames).await.unwrap();
        }
    });

    let (_socket, buffer, subscriptions) = subscriber(&endpoint).await;
    subscriptions.settle().await.unwrap();
    for filter in ["a", "b"] {
        subscriptions.add(Filter::new(filter).unwrap()).await.unwrap();
    }
    let canary = async |max| {
        accepted.store(max, Ordering::Relaxed);
        timeout(PATIENCE, subscriptions.probe()).await.expect("the publisher answers").unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match buffer.poll_take(&mut cx) {
                // A late answer to an earlier marker.
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Some(error),
                _ => return None,
            }
        }
    };
    assert!(canary(10).await.is_none());
    let error = canary(1).await.expect("two filters are more than one");
    assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
    assert_eq!((error.detail("max"), error.detail("held")), (Some("1"), Some("2")), "{error}");
    assert!(canary(1).await.is_none(), "the receiver has had the error");
    assert!(canary(10).await.is_none());
    assert!(canary(1).await.is_some(), "the publisher came again with the smaller bound");
}

#[tokio::test]
async fn bound_of_a_publisher_that_has_left_does_not_hold() {
    let (publishing, endpoint) = publisher().await;
    let mut markers = publishing.sync_markers();
    let answering = async {
        while let Some((marker, connections)) = markers.next().await {
            let body = Some(SyncMarker::accepted_max(1));
            let frames = Frames { head: SyncMarker::answer(&[1; UNIQUE], connections), body };
            publishing.send(marker.frame().clone(), frames).await.unwrap();
        }
    };

    let (socket, _buffer, subscriptions) = subscriber(&endpoint).await;
    let filter = |text: &str| Filter::new(text).unwrap();
    let adding = async {
        subscriptions.settle().await.unwrap();
        subscriptions.add(filter("a")).await.unwrap();
        let error = subscriptions.add(filter("b")).await.unwrap_err();
        assert_eq!((error.kind(), error.detail("max")), (ErrorKind::Overloaded, Some("1")));
    };
    tokio::select! {
        () = answering => panic!("the publisher is closed"),
        () = adding => {}
    }
    drop(markers);
    publishing.close().await;
    let leaves = async {
        while socket.publisher_count().await.unwrap() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, leaves).await.expect("the publisher leaves");
    subscriptions.add(filter("b")).await.expect("no publisher bounds the filters");
}
