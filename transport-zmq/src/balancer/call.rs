//! In-flight calls. No I/O.

use polywire_core::message::CallId;
use polywire_core::{Body, Deadline};

use crate::wire::Frames;

/// A request that is being sent to a peer, or waits for its reply.
#[derive(Clone, Debug)]
pub(crate) struct InFlightCall {
    /// The call id. `None` for a message that gets no reply.
    pub(super) id: Option<CallId>,
    pub(super) deadline: Option<Deadline>,
    /// Whether the request may be sent again if its outcome is unknown.
    pub(super) idempotent: bool,
    /// Bit set of the peers that the request was sent to. A peer with a number above 63 has no
    /// bit, and counts as tried.
    tried: u64,
    /// Whether only peers that were not tried may get the request.
    pub(super) excludes_tried: bool,
    /// Whether a peer got the request and disconnected before it replied.
    pub(super) was_lost: bool,
    /// The request itself, kept if it may have to be sent again.
    pub(super) frames: Option<Frames>,
    /// Size of the request in bytes.
    pub(super) size: usize,
}

impl InFlightCall {
    /// Creates a call that was sent to no peer yet.
    pub(crate) fn new(id: Option<CallId>, deadline: Option<Deadline>, idempotent: bool) -> Self {
        Self {
            id,
            deadline,
            idempotent,
            tried: 0,
            excludes_tried: false,
            was_lost: false,
            frames: None,
            size: 0,
        }
    }

    /// Marks the call as sent to a peer. Keeps the request if it may have to be sent again: to
    /// another peer, if `has_others`, or after a lost connection, if it is idempotent.
    pub(super) fn sent_to(self, peer: usize, frames: &Frames, has_others: bool) -> Self {
        let is_kept = self.id.is_some() && (has_others || self.idempotent);
        let Frames { head, body } = frames;
        let size = head.len() + body.as_ref().map_or(0, Body::len);
        Self {
            tried: self.tried | bit(peer),
            frames: is_kept.then(|| frames.clone()),
            size,
            ..self
        }
    }

    /// Restricts the call to peers that were not tried, after one of them refused or declined it.
    pub(super) fn excluding_tried(self) -> Self {
        Self { excludes_tried: true, ..self }
    }

    /// Returns whether the call is to be sent again if its outcome is unknown.
    pub(super) fn may_retry(&self) -> bool {
        self.idempotent && self.frames.is_some() && !self.is_expired()
    }

    /// Returns whether the request is kept.
    pub(super) fn is_kept(&self) -> bool {
        self.frames.is_some()
    }

    /// Returns the number of bytes that are kept.
    pub(super) fn kept_bytes(&self) -> usize {
        if self.is_kept() { self.size } else { 0 }
    }

    pub(super) fn is_expired(&self) -> bool {
        self.deadline.is_some_and(Deadline::is_expired)
    }

    /// Returns whether the request was sent to a peer.
    pub(super) fn was_tried(&self, peer: usize) -> bool {
        let bit = bit(peer);
        bit == 0 || self.tried & bit != 0
    }
}

fn bit(peer: usize) -> u64 {
    u32::try_from(peer).ok().and_then(|peer| 1_u64.checked_shl(peer)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_request_is_kept_only_if_it_may_be_sent_again() {
        let frames = Frames { head: bytes::Bytes::new(), body: None };
        for (id, idempotent, has_others, is_kept) in [
            (Some(CallId(1)), false, false, false),
            (Some(CallId(1)), false, true, true),
            (Some(CallId(1)), true, false, true),
            (None, true, true, false),
        ] {
            let call = InFlightCall::new(id, None, idempotent).sent_to(0, &frames, has_others);
            assert_eq!(call.frames.is_some(), is_kept, "{id:?} {idempotent} {has_others}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tried_peers_are_recorded_up_to_the_64th() {
        let frames = Frames { head: bytes::Bytes::new(), body: None };
        let deadline = Some(Deadline::after(Duration::from_millis(10)));
        let call = InFlightCall::new(Some(CallId(1)), deadline, false);
        let call =
            [0, 63, 64].into_iter().fold(call, |call, peer| call.sent_to(peer, &frames, true));
        assert!(call.was_tried(0) && call.was_tried(63) && call.was_tried(64));
        assert!(!call.was_tried(1));
    }
}
