//! In-flight calls: what a balancer has to know of a request until its reply arrives, and whether
//! the request may be sent again. No I/O.

use std::time::Duration;

use polywire_core::message::CallId;
use polywire_core::{Body, Deadline};
use tokio::time::Instant;

use crate::wire::Frames;

/// A request that is being sent to a peer, or waits for its reply.
///
/// The value travels with the request: from the sender through the [in-flight
/// table](super::in_flight_calls::InFlightCalls) of a peer and, if the request is sent again,
/// through [`Resends`](super::resends::Resends) to another peer. A message without a call id is
/// balanced in the same way, but enters no table.
#[derive(Clone, Debug)]
pub(crate) struct InFlightCall {
    /// The call id. `None` for a message that gets no reply.
    pub(super) id: Option<CallId>,
    /// The moment at which the caller stops waiting. `None` means that the caller waits without a
    /// bound; core sets a deadline on each call, so only one-way messages have none.
    pub(super) deadline: Option<Deadline>,
    /// Set if the request may be sent again although its outcome is unknown. Never set together
    /// with `at_most_once`.
    pub(super) idempotent: bool,
    /// Set if no server may begin the request after another one has. One that a server declines has
    /// begun there.
    pub(super) at_most_once: bool,
    /// Bit set of the peers that the request was sent to. A peer with a number above 63 has no
    /// bit, and counts as tried.
    tried: u64,
    /// Set if only peers that were not tried may get the request, because the others have refused
    /// or declined it.
    pub(super) excludes_tried: bool,
    /// The number of peers that got the request and disconnected before they replied. After the
    /// first, an error is not marked as unsent, since that peer may have done the work.
    pub(super) losses: u8,
    /// The request itself, kept if it may have to be sent again. The frames share the memory of
    /// those that the engine sends. Boxed, since most calls keep none, and a call is moved several
    /// times on its way into the table and out of it.
    pub(super) frames: Option<Box<Frames>>,
    /// Size of the request in bytes, 0 before the first attempt. Counts towards the bound of the
    /// peer, whether the frames are kept or not.
    pub(super) size: usize,
}

impl InFlightCall {
    /// Creates a call that was sent to no peer yet. `id` is `None` for a message that gets no
    /// reply: a job or a one-way call.
    pub(crate) fn new(id: Option<CallId>, deadline: Option<Deadline>, idempotent: bool) -> Self {
        Self {
            id,
            deadline,
            idempotent,
            at_most_once: false,
            tried: 0,
            excludes_tried: false,
            losses: 0,
            frames: None,
            size: 0,
        }
    }

    /// Sets whether no server may begin the request after another one has. If so, the call does not
    /// count as idempotent: a client of another kind may set both flags.
    pub(crate) fn at_most_once(self, at_most_once: bool) -> Self {
        Self { at_most_once, idempotent: self.idempotent && !at_most_once, ..self }
    }

    /// Marks the call as sent to a peer, just before the attempt.
    ///
    /// Keeps the request if it may have to be sent again: to another peer, if `has_others`, or
    /// after a lost connection, if the call is idempotent. Otherwise the frames are not cloned, and
    /// a single server costs no memory beyond the table entry.
    pub(super) fn sent_to(self, peer: usize, frames: &Frames, has_others: bool) -> Self {
        let is_kept = self.id.is_some() && (has_others || self.idempotent);
        let Frames { head, body } = frames;
        let size = head.len() + body.as_ref().map_or(0, Body::len);
        Self {
            tried: self.tried | bit(peer),
            frames: is_kept.then(|| Box::new(frames.clone())),
            size,
            ..self
        }
    }

    /// Restricts the call to peers that were not tried, after one of them refused or declined it.
    pub(super) fn excluding_tried(self) -> Self {
        Self { excludes_tried: true, ..self }
    }

    /// Counts the loss of the connection to the peer that had the call.
    ///
    /// Keeps the request only if the call is to be sent again: it is idempotent, has lost few
    /// connections, and its caller still waits.
    pub(super) fn lost(self) -> Self {
        let losses = self.losses.saturating_add(1);
        let is_resent = self.idempotent && losses < LOSSES_MAX && !self.is_expired();
        Self { losses, frames: self.frames.filter(|_| is_resent), ..self }
    }

    /// Returns whether the request is kept, so that another peer could get it.
    pub(super) fn is_kept(&self) -> bool {
        self.frames.is_some()
    }

    /// Returns the number of bytes that the entry keeps in memory besides itself.
    pub(super) fn kept_bytes(&self) -> usize {
        if self.is_kept() { self.size } else { 0 }
    }

    /// Returns whether the caller has stopped waiting, because the deadline has passed.
    pub(super) fn is_expired(&self) -> bool {
        self.deadline.is_some_and(Deadline::is_expired)
    }

    /// Returns whether the deadline passed so long ago that no cancel of the call is on its way.
    pub(super) fn has_outcome(&self) -> bool {
        let has_outcome = |deadline: Deadline| Instant::now() >= deadline.instant() + CANCEL_GRACE;
        self.deadline.is_some_and(has_outcome)
    }

    /// Drops the request of an expired call, which is not sent again. The entry stays, so that the
    /// cancel that follows the deadline finds its peer.
    pub(super) fn forget_request(&mut self) {
        (self.frames, self.size) = (None, 0);
    }

    /// Returns whether the request was sent to a peer. True for every peer with a number above 63,
    /// so a call is never sent to such a peer twice, and at worst skips one.
    pub(super) fn was_tried(&self, peer: usize) -> bool {
        let bit = bit(peer);
        bit == 0 || self.tried & bit != 0
    }
}

/// The number of lost connections at which a call fails: 5. Each loss before the fifth leads to a
/// resend of an idempotent call. A request that ends its servers, or that is larger than they
/// accept, would otherwise end one after the other until its deadline.
pub(super) const LOSSES_MAX: u8 = 5;

/// The time after a deadline for which the cancel of the call may still arrive: 1 second. The
/// caller may have to wait for the processor, or may be behind a proxy.
pub(crate) const CANCEL_GRACE: Duration = Duration::from_secs(1);

/// Returns the bit of a peer, or 0 for a number above 63.
fn bit(peer: usize) -> u64 {
    u32::try_from(peer).ok().and_then(|peer| 1_u64.checked_shl(peer)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn call_that_runs_at_most_once_is_not_sent_again_although_it_is_idempotent() {
        let frames = Frames { head: bytes::Bytes::new(), body: None };
        for at_most_once in [false, true] {
            let call = InFlightCall::new(Some(CallId(1)), None, true).at_most_once(at_most_once);
            let call = call.sent_to(0, &frames, true);
            assert!(call.is_kept(), "another server may get it if the first one refuses");
            assert_eq!(call.lost().is_kept(), !at_most_once);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lost_call_is_sent_again_until_its_deadline_and_a_few_times() {
        let frames = Frames { head: bytes::Bytes::new(), body: None };
        let deadline = Some(Deadline::after(Duration::from_millis(10)));
        let again = |losses| {
            let call =
                InFlightCall { losses, ..InFlightCall::new(Some(CallId(1)), deadline, true) };
            call.sent_to(0, &frames, false).lost().is_kept()
        };
        assert!(again(0) && again(LOSSES_MAX - 2));
        assert!(!again(LOSSES_MAX - 1), "the fifth loss");
        tokio::time::advance(Duration::from_millis(11)).await;
        assert!(!again(0), "its caller has stopped waiting");
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
