//! The links of a set by their state, and the bounds on inbound ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::link::Link;
use crate::engine::connected_peer_counts::{ConnectedPeers, Host};
use crate::security::Admission;

/// The links of a set.
#[derive(Default)]
pub(super) struct SetState {
    /// The open links, the oldest first.
    pub(super) open: BTreeMap<u64, Arc<Link>>,
    /// The links in their handshake. Those of inbound peers are bounded by the admission.
    pub(super) starting: FxHashMap<u64, Arc<Link>>,
    /// The inbound peers that are open.
    pub(super) connected: ConnectedPeers,
    pub(super) is_closed: bool,
}

/// Bounds on an inbound peer.
#[derive(Clone, Copy)]
pub(super) struct InboundBounds {
    pub(super) host: Option<Host>,
    /// Handshakes that may be pending for the host.
    pub(super) handshakes_max: usize,
}

impl SetState {
    /// Returns the name of the bound that one more inbound peer would exceed.
    pub(super) fn exceeded(
        &self,
        bounds: &InboundBounds,
        admission: &Admission,
    ) -> Option<&'static str> {
        let pending = self.starting.values().filter(|link| link.is_inbound);
        let of_host = pending.clone().filter(|link| link.host == bounds.host).count();
        let handshakes_max = admission.pending_handshakes_max;
        let is_pending = of_host >= bounds.handshakes_max || pending.count() >= handshakes_max;
        let connected = self.connected.exceeded_early(bounds.host, admission);
        connected.or(is_pending.then_some("pending_handshakes_max"))
    }
}
