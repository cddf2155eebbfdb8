//! Who tells of what happens to the connections.

use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use tokio::sync::broadcast;

use crate::error::lock;
use crate::events::{ConnectionChange, ConnectionEvent, ConnectionEvents, ConnectionRole};

/// Tells all who watch.
#[derive(Clone)]
pub(crate) struct ConnectionMonitor {
    news: broadcast::Sender<ConnectionEvent>,
    /// One for each role.
    now: Arc<Mutex<[ConnectionHealth; 2]>>,
}

/// How a connection is.
#[derive(Default)]
struct ConnectionHealth {
    /// Connected, lost or refused.
    link: Option<ConnectionChange>,
    blocked: Option<ConnectionChange>,
}

impl ConnectionHealth {
    fn become_so(&mut self, change: &ConnectionChange) {
        match change.clone() {
            ConnectionChange::Restored { host, port } => {
                *self = Self::linked(ConnectionChange::Connected { host, port })
            }
            ConnectionChange::Blocked(reason) => {
                self.blocked = Some(ConnectionChange::Blocked(reason))
            }
            ConnectionChange::Unblocked => self.blocked = None,
            link => *self = Self::linked(link),
        }
    }

    fn linked(link: ConnectionChange) -> Self {
        Self { link: Some(link), blocked: None }
    }

    fn told(&self) -> impl Iterator<Item = ConnectionChange> {
        self.link.iter().chain(&self.blocked).cloned()
    }
}

impl ConnectionMonitor {
    pub(crate) fn new() -> Self {
        Self { news: broadcast::Sender::new(KEPT), now: Arc::default() }
    }

    pub(crate) fn publish(&self, role: ConnectionRole, change: ConnectionChange) {
        match &change {
            // Whoever connects says it itself, and how long it took.
            ConnectionChange::Connected { .. } => {}
            ConnectionChange::Restored { .. } => count_reconnect(role),
            ConnectionChange::Lost(error) => {
                tracing::warn!(%role, ?error, "the connection is lost")
            }
            ConnectionChange::Blocked(reason) => {
                tracing::warn!(%role, reason, "the broker takes no messages")
            }
            ConnectionChange::Unblocked => tracing::info!(%role, "the broker takes messages again"),
            ConnectionChange::Refused(error) => {
                tracing::error!(%role, ?error, "the broker refuses us for good")
            }
        }
        let mut now = lock(&self.now);
        now[role as usize].become_so(&change);
        // Nobody has to watch. Told under the lock, since one who begins to watch hears of a change
        // once.
        let _ = self.news.send(ConnectionEvent { role, change });
    }

    pub(crate) fn subscribe(&self) -> ConnectionEvents {
        let now = lock(&self.now);
        let news = self.news.subscribe();
        let mut first = Vec::new();
        for role in [ConnectionRole::Publishing, ConnectionRole::Consuming] {
            let told = now[role as usize].told();
            first.extend(told.map(|change| ConnectionEvent { role, change }));
        }
        let later = stream::unfold(news, |mut news| async {
            loop {
                match news.recv().await {
                    Ok(event) => return Some((event, news)),
                    // What a slow reader missed is gone; what comes next is not.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        ConnectionEvents(stream::iter(first).chain(later).boxed())
    }
}

#[cfg(feature = "metrics")]
fn count_reconnect(role: ConnectionRole) {
    metrics::counter!("polywire_reconnects_total", "connection" => role.to_string()).increment(1);
}

#[cfg(not(feature = "metrics"))]
fn count_reconnect(_: ConnectionRole) {}

const KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use polywire_core::{Error, ErrorKind};

    use super::*;

    async fn heard(events: &mut ConnectionEvents) -> String {
        let event = events.next().await.unwrap();
        let what = match event.change {
            ConnectionChange::Connected { port, .. } => format!("connected to {port}"),
            ConnectionChange::Lost(_) => "lost".into(),
            ConnectionChange::Blocked(reason) => format!("blocked: {reason}"),
            other => format!("{other:?}"),
        };
        format!("{} {what}", event.role)
    }

    #[tokio::test]
    async fn who_begins_to_watch_hears_how_things_are_and_then_what_changes() {
        let monitor = ConnectionMonitor::new();
        let host = String::from("rabbit");
        monitor.publish(
            ConnectionRole::Consuming,
            ConnectionChange::Connected { host: host.clone(), port: 1 },
        );
        monitor.publish(
            ConnectionRole::Publishing,
            ConnectionChange::Connected { host: host.clone(), port: 1 },
        );
        monitor.publish(
            ConnectionRole::Publishing,
            ConnectionChange::Lost(Error::new(ErrorKind::Disconnected, "gone")),
        );
        let mut events = monitor.subscribe();
        assert_eq!(heard(&mut events).await, "publisher lost");
        assert_eq!(heard(&mut events).await, "consumer connected to 1");
        monitor.publish(ConnectionRole::Publishing, ConnectionChange::Restored { host, port: 2 });
        monitor.publish(ConnectionRole::Publishing, ConnectionChange::Blocked("no memory".into()));
        let mut later = monitor.subscribe();
        assert_eq!(heard(&mut later).await, "publisher connected to 2");
        assert_eq!(heard(&mut later).await, "publisher blocked: no memory");
        assert!(heard(&mut events).await.contains("Restored"));
        monitor.publish(ConnectionRole::Publishing, ConnectionChange::Unblocked);
        assert_eq!(heard(&mut monitor.subscribe()).await, "publisher connected to 2");
        assert_eq!(heard(&mut monitor.subscribe()).await, "publisher connected to 2");
        drop(monitor);
        assert_eq!(heard(&mut later).await, "consumer connected to 1");
        assert_eq!(heard(&mut later).await, "publisher Unblocked");
        assert!(later.next().await.is_none());
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn reconnects_are_counted_by_connection() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let monitor = ConnectionMonitor::new();
        metrics::with_local_recorder(&recorder, || {
            let (host, port) = (String::from("rabbit"), 1);
            let restored = || ConnectionChange::Restored { host: host.clone(), port };
            monitor.publish(
                ConnectionRole::Consuming,
                ConnectionChange::Connected { host: host.clone(), port },
            );
            monitor.publish(ConnectionRole::Consuming, restored());
            monitor.publish(ConnectionRole::Publishing, restored());
            monitor.publish(ConnectionRole::Publishing, restored());
        });
        let told = recorder.handle().render();
        for line in [r#"{connection="consumer"} 1"#, r#"{connection="publisher"} 2"#] {
            assert!(told.contains(&format!("polywire_reconnects_total{line}")), "{told}");
        }
    }
}
