//! Resends of calls: the only owner of the state of calls that are to be sent again. No I/O.
//!
//! A call is sent again in two cases. A peer refused or declined the call and another one has not
//! seen it, or the connection was lost and the call is idempotent. The life of such a call:
//!
//! - Its entry leaves the in-flight table of the peer, and the call is registered here in the same
//!   step: by [`Resends::take_refused`], or by [`Resends::take_lost`] together with all other calls
//!   of a lost connection.
//!
//! - [`Resends::send`] adds the call to the table of another peer, and ends the registration in the
//!   same step. [`Resends::run`] repeats that until a peer has room. The registration ends with the
//!   attempt, on success and failure alike.
//!
//! - [`Resends::abandon`] ends the registration at any time, and stops the attempt.

use std::sync::{Arc, Mutex};

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable, ready};
use polywire_core::Result;
use polywire_core::message::CallId;
use rustc_hash::FxHashMap;
use tokio::sync::mpsc::UnboundedSender;

use super::in_flight_call::InFlightCall;
use crate::lock::lock;
use crate::wire::Frames;

/// The calls that are to be sent again, and the channel of lost calls.
///
/// A call is in this table or in the [in-flight
/// table](super::in_flight_calls::InFlightCalls) of a peer. It moves under the lock of this table.
/// So a cancellation finds the call in one of the two, and a call that its caller has given up is
/// not sent again.
pub(super) struct Resends {
    /// The registered calls. The handle stops an attempt that is under way. Bounded by the calls
    /// in flight, since a registered call is one of them.
    calls: Mutex<FxHashMap<CallId, Option<AbortHandle>>>,
    /// Sender of lost calls. `None` after the balancer is closed, and for a pusher, whose jobs get
    /// no replies. The channel is unbounded: each item was an in-flight call before, and core
    /// bounds those.
    lost: Mutex<Option<UnboundedSender<LostCall>>>,
    /// Set for a requester, also after the balancer is closed.
    is_of_requester: bool,
}

/// A call whose connection was lost before the reply arrived. The reply stream sends the call again
/// if that is safe, and reports an error otherwise.
pub(super) struct LostCall {
    /// The call, with its request if that is kept.
    pub(super) call: InFlightCall,
    /// The endpoint of the peer that had the call, for the error.
    pub(super) endpoint: Arc<str>,
}

impl Resends {
    /// Creates an empty table. Lost calls are sent to `lost`; without a channel they are dropped.
    pub(super) fn new(lost: Option<UnboundedSender<LostCall>>) -> Arc<Self> {
        let is_of_requester = lost.is_some();
        Arc::new(Self { calls: Mutex::default(), lost: Mutex::new(lost), is_of_requester })
    }

    /// Returns whether the messages of the balancer are calls, open or closed.
    pub(super) fn is_of_requester(&self) -> bool {
        self.is_of_requester
    }

    /// Returns whether the messages of the balancer get replies, and it is open.
    pub(super) fn gets_replies(&self) -> bool {
        lock(&self.lost).is_some()
    }

    /// Moves a refused or declined call from the table of a peer, and registers the call if its
    /// request is kept, in one step.
    ///
    /// `take` removes the call from the table, under the lock as in [`take_lost`](Self::take_lost).
    pub(super) fn take_refused(
        &self,
        take: impl FnOnce() -> Option<InFlightCall>,
    ) -> Option<InFlightCall> {
        let mut calls = lock(&self.calls);
        let call = take()?;
        if let (Some(id), true) = (call.id, call.is_kept()) {
            calls.insert(id, None);
        }
        Some(call)
    }

    /// Sends a registered call to a peer that has room, and ends the registration, in one step.
    /// Returns the frames if `try_send` does.
    ///
    /// A call that is not registered any more is not sent, which is no failure: its caller has
    /// given it up, or has its reply. `try_send` adds the call to the table of the peer. It runs
    /// under the lock, so that a cancellation waits until the call is there.
    pub(super) fn send(
        &self,
        id: CallId,
        try_send: impl FnOnce() -> Result<(), Frames>,
    ) -> Result<(), Frames> {
        let mut calls = lock(&self.calls);
        if calls.contains_key(&id) {
            try_send()?;
            calls.remove(&id);
        }
        Ok(())
    }

    /// Ends the registration of a call that is not sent again after all, and stops its attempt.
    pub(super) fn forget(&self, id: CallId) {
        self.abandon(id, || ());
    }

    /// Returns whether a call is registered, or `is_in_flight` finds it at a peer.
    pub(super) fn holds(&self, id: CallId, is_in_flight: impl FnOnce() -> bool) -> bool {
        let calls = lock(&self.calls);
        calls.contains_key(&id) || is_in_flight()
    }

    /// Moves calls from the table of a peer, and registers those that are to be sent again, in one
    /// step.
    ///
    /// `take` removes the calls from the table. It runs under the lock, so that a cancellation
    /// waits until the calls are registered. Returns all removed calls, for
    /// [`report_lost`](Self::report_lost).
    pub(super) fn take_lost(&self, take: impl FnOnce() -> Vec<InFlightCall>) -> Vec<InFlightCall> {
        let mut calls = lock(&self.calls);
        let lost: Vec<_> = take().into_iter().map(InFlightCall::lost).collect();
        let resent = lost.iter().filter(|call| call.is_kept());
        calls.extend(resent.filter_map(|call| Some((call.id?, None))));
        lost
    }

    /// Sends lost calls to the reply stream, which sends them again or reports an error to
    /// the caller.
    /// Never blocks, and has no effect after [`close`](Self::close).
    pub(super) fn report_lost(&self, lost: Vec<InFlightCall>, endpoint: &Arc<str>) {
        let sender = lock(&self.lost);
        if let Some(sender) = &*sender {
            for call in lost {
                // An error means that the reply stream is dropped, and with it the caller.
                let _ = sender.send(LostCall { call, endpoint: endpoint.clone() });
            }
        }
    }

    /// Sends a registered call again, with the future `send`. Resolves to whether that failed.
    ///
    /// A call that was abandoned, before or meanwhile, has not failed: no caller waits for an
    /// error. If the call is not registered any more, `send` is never polled. Dropping the future
    /// leaves the call registered until it is abandoned; the reply stream drops it only when the
    /// requester is dropped.
    pub(super) fn run(
        self: &Arc<Self>,
        id: CallId,
        send: impl Future<Output = Result<()>> + Send + 'static,
    ) -> BoxFuture<'static, bool> {
        let (stop, stopped) = AbortHandle::new_pair();
        match lock(&self.calls).get_mut(&id) {
            Some(handle) => *handle = Some(stop),
            None => return ready(false).boxed(),
        }
        let resends = self.clone();
        let attempt = async move {
            let sent = send.await;
            let mut calls = lock(&resends.calls);
            // If the peer was lost meanwhile, the call is registered again and has no attempt yet.
            if calls.get(&id).is_some_and(Option::is_some) {
                calls.remove(&id);
            }
            sent.is_err()
        };
        Abortable::new(attempt, stopped).map(|failed| failed.unwrap_or(false)).boxed()
    }

    /// Removes a call that its caller no longer waits for, and stops its attempt. Also runs
    /// `in_flight`, which looks for the call in the tables of the peers.
    pub(super) fn abandon(&self, id: CallId, in_flight: impl FnOnce()) {
        let mut calls = lock(&self.calls);
        calls.remove(&id).flatten().iter().for_each(AbortHandle::abort);
        // Under the lock, so that the call does not move here in between. An attempt may have sent
        // the call and not ended yet.
        in_flight();
    }

    /// Ends the channel of lost calls, and with it the reply stream. Calls that are lost later are
    /// dropped: core fails all pending calls of a closed requester.
    pub(super) fn close(&self) {
        drop(lock(&self.lost).take());
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use polywire_core::{Error, ErrorKind};

    use super::*;

    fn frames() -> Frames {
        Frames { head: bytes::Bytes::new(), body: None }
    }

    /// Returns a call whose request is kept.
    fn call(id: CallId) -> InFlightCall {
        InFlightCall::new(Some(id), None, true).sent_to(0, &frames(), false)
    }

    fn register(resends: &Resends, id: CallId) {
        assert!(resends.take_refused(|| Some(call(id))).is_some());
    }

    #[test]
    fn call_that_is_lost_again_while_it_is_sent_stays_registered() {
        let resends = Resends::new(None);
        let id = CallId(1);
        register(&resends, id);
        let lost_again = {
            let resends = resends.clone();
            async move {
                register(&resends, id);
                Ok(())
            }
        };
        assert_eq!(resends.run(id, lost_again).now_or_never(), Some(false));
        let failed = resends.run(id, async { Err(Error::new(ErrorKind::Disconnected, "gone")) });
        assert_eq!(failed.now_or_never(), Some(true));
    }

    #[test]
    fn an_abandoned_call_is_not_sent_again() {
        let resends = Resends::new(None);
        let id = CallId(1);
        register(&resends, id);
        resends.abandon(id, || ());
        assert_eq!(resends.run(id, pending()).now_or_never(), Some(false));
        assert!(resends.send(id, || panic!("sent")).is_ok());
    }

    #[test]
    fn call_is_sent_once_and_stays_registered_without_room() {
        let resends = Resends::new(None);
        let id = CallId(1);
        register(&resends, id);
        assert_eq!(resends.send(id, || Err(frames())), Err(frames()));
        assert!(resends.holds(id, || false));
        assert!(resends.send(id, || Ok(())).is_ok());
        assert!(!resends.holds(id, || false) && resends.holds(id, || true));
        assert!(resends.send(id, || panic!("sent twice")).is_ok());
    }

    #[test]
    fn cancellation_waits_while_a_call_moves() {
        let resends = Resends::new(None);
        let id = CallId(1);
        let is_locked = || resends.calls.try_lock().is_err();
        register(&resends, id);
        assert!(resends.send(id, || if is_locked() { Ok(()) } else { Err(frames()) }).is_ok());
        assert!(resends.take_refused(|| is_locked().then(|| call(id))).is_some());
        assert!(resends.holds(id, || false));
    }

    #[test]
    fn abandoning_a_call_stops_its_attempt() {
        let resends = Resends::new(None);
        let id = CallId(1);
        register(&resends, id);
        let mut attempt = resends.run(id, pending());
        assert_eq!((&mut attempt).now_or_never(), None);
        let mut was_sent = false;
        resends.abandon(id, || was_sent = true);
        assert!(was_sent, "a call that the attempt has sent is cancelled, too");
        assert_eq!(attempt.now_or_never(), Some(false));
    }

    #[test]
    fn a_finished_attempt_is_removed_and_reports_its_failure() {
        let resends = Resends::new(None);
        let id = CallId(1);
        for (sent, failed) in [(Ok(()), false), (Err(Error::unsupported("this")), true)] {
            register(&resends, id);
            assert_eq!(resends.run(id, async { sent }).now_or_never(), Some(failed));
            let mut was_elsewhere = false;
            resends.abandon(id, || was_elsewhere = true);
            assert!(was_elsewhere);
        }
    }
}
