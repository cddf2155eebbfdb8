//! The life of a connection: connected, lost, closed.

use std::future::pending;
use std::pin::pin;
use std::sync::atomic::Ordering;

use futures_core::future::BoxFuture;
use futures_util::future::select;
use tokio::task::yield_now;

use super::{PeerConnection, PeerKind};
use crate::wire;

impl PeerConnection {
    /// Logs an inbound peer at level info, throttled. The line has the number of connections since
    /// the last line of this balancer.
    pub(in crate::balancer) fn log_inbound(&self) {
        if let Some(count) = self.state.connects.note() {
            tracing::info!(endpoint = &*self.name, count, "connected");
        }
    }

    /// Marks the peer as connected, and wakes all senders that wait for a peer.
    ///
    /// Forgets first what belongs to the connection before, except for the stated bound on
    /// messages. If the balancer gets replies, the question for the bounds is sent before the peer
    /// can get a request.
    pub(in crate::balancer) fn set_connected(&self) {
        self.refusing.store(false, Ordering::Relaxed);
        self.leave.record(None);
        self.questions.clear();
        // What was collected for the connection before, in the moment of its loss.
        self.outgoing.clear();
        self.outgoing.set_batch_max(0);
        if self.state.resends.gets_replies() {
            self.bound.ask();
            self.questions.ask();
            let question = wire::bound_question(self.state.own_bounds);
            if self.dealer.try_send(question).is_err() {
                self.questions.answer();
            }
        }
        self.live.store(true, Ordering::Release);
        self.presence.set_has_peer(true);
        self.state.notify_changed();
    }

    /// Marks the peer as disconnected, fails its calls, and logs that, throttled. Returns whether
    /// there was a log line.
    ///
    /// A connection that connects has its own throttle. All other connections of the balancer share
    /// one.
    pub(in crate::balancer) fn set_lost(&self) -> bool {
        let calls = self.fail_calls();
        let reason = self.dealer.reason().unwrap_or_default();
        let endpoint = &*self.name;
        let losses = match self.kind {
            PeerKind::Connecting => &self.losses,
            _ => &self.state.disconnects,
        };
        let count = losses.note();
        match count {
            Some(count) if self.state.resends.is_of_requester() => {
                tracing::warn!(endpoint, calls, reason, count, "connection lost");
            }
            Some(count) => {
                tracing::warn!(
                    endpoint,
                    reason,
                    count,
                    "connection lost: jobs that the puller had not read are lost"
                );
            }
            None => {}
        }
        count.is_some()
    }

    /// Fails the calls in flight and closes the connection, because the program disconnects it. The
    /// future resolves when the socket has lingered, and sends queued jobs until then.
    pub(in crate::balancer) fn disconnect(&self) -> BoxFuture<'static, ()> {
        // One-way calls and cancellations that were sent leave while the socket lingers.
        self.outgoing.flush_now();
        let calls = self.fail_calls();
        tracing::info!(endpoint = &*self.name, calls, "disconnected");
        self.close()
    }

    /// Returns whether the peer may have one-way calls that it has not read.
    pub(in crate::balancer) fn may_have_unread(&self) -> bool {
        self.is_live() && self.questions.has_sent_one_way()
    }

    /// Asks the peer once more, after all messages. Resolves when the peer has answered, or is
    /// disconnected: its one-way calls are read or lost then. A peer that answers no questions is
    /// waited for without an end.
    pub(in crate::balancer) async fn ask_last(&self) {
        // Counted before the liveness is read: a loss after that ends the wait.
        self.questions.ask();
        if !self.is_live() {
            return;
        }
        let asking = async {
            let mut question = wire::bound_question(self.state.own_bounds);
            while let Err(unsent) = self.outgoing.try_send_now(question) {
                question = unsent;
                self.dealer.room().await;
                yield_now().await;
            }
            pending::<()>().await;
        };
        select(pin!(asking), pin!(self.questions.answered())).await;
    }

    /// Stops the supervisor, which holds the socket. An inbound connection has none. Messages that
    /// wait in a batch are handed over, as far as there is room.
    pub(in crate::balancer) fn stop(&self) {
        self.outgoing.flush_now();
        self.outgoing.clear();
        if let Some(supervisor) = self.supervisor.get() {
            supervisor.abort();
        }
    }

    /// Stops the supervisor and closes the socket. No message can be sent from now on. The future
    /// resolves when the socket has lingered.
    ///
    /// Calls in flight stay in their table: core fails all calls of a closed requester.
    pub(in crate::balancer) fn close(&self) -> BoxFuture<'static, ()> {
        self.stop();
        self.live.store(false, Ordering::Release);
        self.presence.close();
        self.dealer.close()
    }

    /// Fails all calls in flight, which can get no reply any more. Returns their number.
    ///
    /// The liveness ends first: a sender that adds a call after this takes it off again, see
    /// [`try_send`](Self::try_send). Messages that wait in a batch are dropped, one-way calls among
    /// them.
    fn fail_calls(&self) -> usize {
        self.live.store(false, Ordering::Release);
        self.presence.set_has_peer(false);
        self.questions.clear();
        self.outgoing.clear();
        let lost = self.state.resends.take_lost(|| self.calls.remove_all());
        let calls = lost.len();
        self.state.resends.report_lost(lost, &self.name);
        self.state.notify_changed();
        calls
    }
}
