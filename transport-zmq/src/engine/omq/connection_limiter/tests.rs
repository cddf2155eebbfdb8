//! Tests of the counts after missed events, and without events.

use std::time::Duration;

use futures_util::FutureExt;
use omq_tokio::Options;
use tokio::time::timeout;

use super::*;

/// The time after which a wait has failed.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn peer_that_is_counted_before_its_event_is_read_stays() {
    let admission = Admission { connections_max: 1, ..Admission::default() };
    let limiter = ConnectionLimiter::new(admission);
    let [socket, peer] = [SocketType::Router, SocketType::Dealer]
        .map(|kind| Socket::try_new(kind, Options::default()).unwrap());
    // As in a count that restarts its events, before the peer finishes its handshake.
    let mut events = socket.monitor();
    let endpoint = socket.bind("tcp://127.0.0.1:*").await.unwrap();
    peer.connect(endpoint.to_string()).await.unwrap();
    let connecting = async {
        loop {
            let event = events.recv().await.unwrap();
            if matches!(event, MonitorEvent::HandshakeSucceeded { .. }) {
                return event;
            }
        }
    };
    let event = timeout(PATIENCE, connecting).await.expect("the peer connects");
    assert!(limiter.recount(&socket, &mut events).await.is_empty());
    assert_eq!(limiter.record(&event), None, "the only peer is within the bound");
    assert_eq!(lock(&limiter.connected).exceeded(None, &admission), Some("connections_max"));
}

#[tokio::test]
async fn peer_that_sends_ignored_subscriptions_is_found_without_their_events() {
    let admission = Admission { subscriptions_max: 1, ..Admission::default() };
    let limiter = ConnectionLimiter::new(admission);
    let facts = Arc::<PeerAuthentication>::default();
    lock(&limiter.subscriptions).add(1, &facts);
    let too_long = vec![b'x'; FIRST_MAX + 1];
    for _ in 0..admission.subscriptions_sent_max() {
        assert!(!limiter.admits(&too_long, &facts));
    }
    assert!(limiter.has_excess.notified().now_or_never().is_none());
    assert!(!limiter.admits(&too_long, &facts));
    assert!(limiter.has_excess.notified().now_or_never().is_some(), "the task is woken");
    assert_eq!(limiter.with_too_many(), [1]);
}
