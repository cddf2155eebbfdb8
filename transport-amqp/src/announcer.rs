//! Who tells of what happens to the connections.

use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use tokio::sync::broadcast;

use crate::error::lock;
use crate::events::{Change, ConnectionEvent, ConnectionEvents, Purpose};

/// Tells all who watch.
#[derive(Clone)]
pub(crate) struct Announcer {
    news: broadcast::Sender<ConnectionEvent>,
    /// One for each purpose.
    now: Arc<Mutex<[Condition; 2]>>,
}

/// How a connection is.
#[derive(Default)]
struct Condition {
    /// Connected, lost or refused.
    link: Option<Change>,
    blocked: Option<Change>,
}

impl Condition {
    fn become_so(&mut self, change: &Change) {
        match change.clone() {
            Change::Restored { host, port } => {
                *self = Self::linked(Change::Connected { host, port })
            }
            Change::Blocked(reason) => self.blocked = Some(Change::Blocked(reason)),
            Change::Unblocked => self.blocked = None,
            link => *self = Self::linked(link),
        }
    }

    fn linked(link: Change) -> Self {
        Self { link: Some(link), blocked: None }
    }

    fn told(&self) -> impl Iterator<Item = Change> {
        self.link.iter().chain(&self.blocked).cloned()
    }
}

impl Announcer {
    pub(crate) fn new() -> Self {
        Self { news: broadcast::Sender::new(KEPT), now: Arc::default() }
    }

    pub(crate) fn tell(&self, purpose: Purpose, change: Change) {
        match &change {
            // Whoever connects says it itself, and how long it took.
            Change::Connected { .. } => {}
            Change::Restored { .. } => count_reconnect(purpose),
            Change::Lost(error) => tracing::warn!(%purpose, ?error, "the connection is lost"),
            Change::Blocked(reason) => {
                tracing::warn!(%purpose, reason, "the broker takes no messages")
            }
            Change::Unblocked => tracing::info!(%purpose, "the broker takes messages again"),
            Change::Refused(error) => {
                tracing::error!(%purpose, ?error, "the broker refuses us for good")
            }
        }
        let mut now = lock(&self.now);
        now[purpose as usize].become_so(&change);
        // Nobody has to watch. Told under the lock, since one who begins to watch hears of a change
        // once.
        let _ = self.news.send(ConnectionEvent { purpose, change });
    }

    pub(crate) fn listen(&self) -> ConnectionEvents {
        let now = lock(&self.now);
        let news = self.news.subscribe();
        let mut first = Vec::new();
        for purpose in [Purpose::Publishing, Purpose::Consuming] {
            let told = now[purpose as usize].told();
            first.extend(told.map(|change| ConnectionEvent { purpose, change }));
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
fn count_reconnect(purpose: Purpose) {
    metrics::counter!("polywire_reconnects_total", "connection" => purpose.to_string())
        .increment(1);
}

#[cfg(not(feature = "metrics"))]
fn count_reconnect(_: Purpose) {}

const KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use polywire_core::{Error, ErrorKind};

    use super::*;

    async fn heard(events: &mut ConnectionEvents) -> String {
        let event = events.next().await.unwrap();
        let what = match event.change {
            Change::Connected { port, .. } => format!("connected to {port}"),
            Change::Lost(_) => "lost".into(),
            Change::Blocked(reason) => format!("blocked: {reason}"),
            other => format!("{other:?}"),
        };
        format!("{} {what}", event.purpose)
    }

    #[tokio::test]
    async fn who_begins_to_watch_hears_how_things_are_and_then_what_changes() {
        let announcer = Announcer::new();
        let host = String::from("rabbit");
        announcer.tell(Purpose::Consuming, Change::Connected { host: host.clone(), port: 1 });
        announcer.tell(Purpose::Publishing, Change::Connected { host: host.clone(), port: 1 });
        announcer
            .tell(Purpose::Publishing, Change::Lost(Error::new(ErrorKind::Disconnected, "gone")));
        let mut events = announcer.listen();
        assert_eq!(heard(&mut events).await, "publisher lost");
        assert_eq!(heard(&mut events).await, "consumer connected to 1");
        announcer.tell(Purpose::Publishing, Change::Restored { host, port: 2 });
        announcer.tell(Purpose::Publishing, Change::Blocked("no memory".into()));
        let mut later = announcer.listen();
        assert_eq!(heard(&mut later).await, "publisher connected to 2");
        assert_eq!(heard(&mut later).await, "publisher blocked: no memory");
        assert!(heard(&mut events).await.contains("Restored"));
        announcer.tell(Purpose::Publishing, Change::Unblocked);
        assert_eq!(heard(&mut announcer.listen()).await, "publisher connected to 2");
        assert_eq!(heard(&mut announcer.listen()).await, "publisher connected to 2");
        drop(announcer);
        assert_eq!(heard(&mut later).await, "consumer connected to 1");
        assert_eq!(heard(&mut later).await, "publisher Unblocked");
        assert!(later.next().await.is_none());
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn reconnects_are_counted_by_connection() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let announcer = Announcer::new();
        metrics::with_local_recorder(&recorder, || {
            let (host, port) = (String::from("rabbit"), 1);
            let restored = || Change::Restored { host: host.clone(), port };
            announcer.tell(Purpose::Consuming, Change::Connected { host: host.clone(), port });
            announcer.tell(Purpose::Consuming, restored());
            announcer.tell(Purpose::Publishing, restored());
            announcer.tell(Purpose::Publishing, restored());
        });
        let told = recorder.handle().render();
        for line in [r#"{connection="consumer"} 1"#, r#"{connection="publisher"} 2"#] {
            assert!(told.contains(&format!("polywire_reconnects_total{line}")), "{told}");
        }
    }
}
