//! Subscriptions to sync markers, each with the connections that it came on. No I/O.
//!
//! The events of the socket report them one by one. To look through all subscriptions for each
//! marker would take the longer the more of them there are.

use bytes::Bytes;
use omq_tokio::{MonitorEvent, PeerSubscriptions};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::wire::SyncMarker;

/// The markers in effect, each with its connections. Bounded, since each marker is a subscription.
///
/// A marker leaves the table with its last connection. Owned by the stream of markers, so there is
/// no lock.
#[derive(Debug, Default)]
pub(super) struct MarkerSubscriptions(FxHashMap<Bytes, FxHashSet<u64>>);

impl MarkerSubscriptions {
    /// Counts the markers among the subscriptions of all peers.
    pub(super) fn count(peers: &[PeerSubscriptions]) -> Self {
        let mut all = Self::default();
        for peer in peers {
            for prefix in &peer.prefixes {
                all.add(prefix, peer.peer.connection_id);
            }
        }
        all
    }

    /// Returns the markers, each with the number of its connections.
    pub(super) fn markers(&self) -> impl Iterator<Item = (SyncMarker, u32)> {
        let read =
            |(frame, of): (&Bytes, &FxHashSet<u64>)| Some((SyncMarker::read(frame)?, of.len()));
        self.0
            .iter()
            .filter_map(read)
            .map(|(marker, of)| (marker, u32::try_from(of).unwrap_or(u32::MAX)))
    }

    /// Records an event. Returns the marker that it adds, with the number of its connections.
    ///
    /// `None` for an event that adds no marker: the end of a subscription, the end of a connection,
    /// or a subscription of another kind.
    pub(super) fn record(&mut self, event: &MonitorEvent) -> Option<(SyncMarker, u32)> {
        match event {
            MonitorEvent::SubscribeReceived { connection_id, prefix } => {
                self.add(prefix, *connection_id)
            }
            MonitorEvent::UnsubscribeReceived { connection_id, prefix } => {
                let connections = self.0.get_mut(prefix)?;
                connections.remove(connection_id);
                if connections.is_empty() {
                    self.0.remove(prefix);
                }
                None
            }
            MonitorEvent::Disconnected { peer, .. } => {
                self.0.retain(|_, connections| {
                    connections.remove(&peer.connection_id);
                    !connections.is_empty()
                });
                None
            }
            _ => None,
        }
    }

    /// Adds a marker of a connection. Returns the marker with the number of connections that have
    /// it, or `None` for a prefix that is no marker.
    fn add(&mut self, prefix: &Bytes, connection: u64) -> Option<(SyncMarker, u32)> {
        let marker = SyncMarker::read(prefix)?;
        let connections = self.0.entry(prefix.clone()).or_default();
        connections.insert(connection);
        Some((marker, u32::try_from(connections.len()).unwrap_or(u32::MAX)))
    }
}
