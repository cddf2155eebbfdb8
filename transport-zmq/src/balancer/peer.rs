//! Connection to one peer: its socket, its in-flight calls, and the task that reconnects it.
//!
//! States: a connection begins as not live. Its supervisor, or the task of the inbound peers, marks
//! the connection as live when the engine reports a peer. When the peer is gone, the connection
//! stops being live before its calls are removed. A sender checks the liveness again after adding a
//! call. So each call is either sent to a live peer or among the lost ones.

mod lifecycle;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use polywire_core::Result;
use polywire_core::message::CallId;
use polywire_core::transport::LogThrottle;
use tokio::task::AbortHandle;

use super::batching_sender::BatchingSender;
use super::bounds_questions::BoundsQuestions;
pub(super) use super::connection_direction::PeerKind;
use super::in_flight_call::InFlightCall;
use super::in_flight_calls::{InFlightCalls, Replied};
use super::leave_notice::LeaveNotice;
use super::peer_message_max::PeerMessageMax;
use super::shared_state::SharedState;
use crate::endpoint::SocketPresence;
use crate::engine::{ByteBudget, Dealer, SocketControl};
use crate::wire::{Frames, StatedBounds, Unbatched};

/// Calls in flight up to which each message leaves alone: 4. Batches of fewer would save nothing.
const LONE_MAX: usize = 4;

/// A socket, the state of its connection, and the calls that wait for replies from its peer.
///
/// A connection with kind [`Connecting`](PeerKind::Connecting) or
/// [`Listening`](PeerKind::Listening) has a supervisor task, which holds the connection and its
/// socket until [`stop`](Self::stop) or [`close`](Self::close). An inbound connection lives in the
/// peer set until its peer disconnects.
pub(super) struct PeerConnection {
    /// The endpoint, or the remote address of an inbound peer.
    name: Arc<str>,
    /// The lowest number that was free. Small, because calls record tried peers as bits.
    number: usize,
    kind: PeerKind,
    /// The socket. It outlives its connections.
    dealer: Arc<dyn Dealer>,
    /// Set while a peer is connected.
    live: AtomicBool,
    /// Set after the peer refused a call, because the peer does not serve the service. The peer
    /// may do so later. So it is tried last, and the next reply or reconnect clears the flag.
    refusing: AtomicBool,
    /// The largest message that the server accepts.
    pub(super) bound: PeerMessageMax,
    /// The questions that the server has not answered.
    questions: BoundsQuestions,
    /// The notice that the server leaves, and the senders that must not overtake its answer.
    leave: LeaveNotice,
    /// The calls that wait for replies from the peer.
    calls: InFlightCalls,
    /// The way to the socket.
    outgoing: Arc<BatchingSender>,
    /// Unsent bytes of large messages for the peer, with a bound. A listening connection, which has
    /// several peers, has no bound.
    budget: Arc<ByteBudget>,
    /// The peer within the health of the transport.
    pub(super) presence: Arc<SocketPresence>,
    /// The state that all connections of the balancer share.
    state: Arc<SharedState>,
    /// Throttle for the log lines of lost connections: a peer may close each one at once.
    losses: LogThrottle,
    /// The task of [`supervise`](super::peer_reconnect::supervise).
    supervisor: OnceLock<AbortHandle>,
}

/// The outcome of [`PeerConnection::record_reply`].
pub(super) enum RecordedReply {
    /// The call has ended with the reply.
    Ended,
    /// The peer declines the call, which is registered to be sent to another one.
    Declined(InFlightCall),
    /// The call is not in flight here: it was lost with its connection, given up, or pruned.
    Late,
}

impl PeerConnection {
    /// Creates a connection that is not live. [`supervise`](super::peer_reconnect::supervise) or
    /// [`set_connected`](Self::set_connected) follows.
    pub(super) fn new(
        name: String,
        number: usize,
        kind: PeerKind,
        dealer: Arc<dyn Dealer>,
        state: Arc<SharedState>,
    ) -> Arc<Self> {
        let budget = ByteBudget::new(match kind {
            PeerKind::Connecting | PeerKind::Inbound(_) => state.peer_bytes_max,
            // One slow peer would use up the budget of all. Their queues are shorter instead.
            PeerKind::Listening => usize::MAX,
        });
        let presence = Arc::new(state.health.add_socket_in(state.health_group));
        dealer.refusals().report_to(&presence);
        Arc::new(Self {
            name: name.into(),
            number,
            kind,
            outgoing: BatchingSender::new(dealer.clone()),
            dealer,
            live: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            bound: PeerMessageMax::default(),
            questions: BoundsQuestions::new(),
            leave: LeaveNotice::default(),
            calls: InFlightCalls::new(state.peer_bytes_max),
            presence,
            budget,
            state,
            losses: LogThrottle::new(),
            supervisor: OnceLock::new(),
        })
    }

    /// The endpoint or the remote address, for logs and errors.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The number of the peer within its balancer, see [`InFlightCall::was_tried`].
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The side that connects.
    pub(super) fn kind(&self) -> PeerKind {
        self.kind
    }

    /// The socket, for its supervisor.
    pub(super) fn dealer(&self) -> &dyn Dealer {
        &*self.dealer
    }

    /// The socket, for endpoint changes.
    pub(super) fn socket(&self) -> &dyn SocketControl {
        &*self.dealer
    }

    /// Returns whether a peer is connected.
    pub(super) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Returns whether the peer is connected and may get a request: it has not announced to leave,
    /// and was not tried unless the call may go to tried peers. Room is not part of the answer.
    pub(super) fn may_get(&self, call: &InFlightCall) -> bool {
        self.is_live()
            && !self.leave.is_received()
            && !(call.excludes_tried && call.was_tried(self.number))
    }

    /// Returns whether the peer refused the last call, because it does not serve the service.
    pub(super) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Relaxed)
    }

    /// Returns the number of calls in flight, which the balance compares. Jobs and one-way calls
    /// count for nothing, so peers of a pusher take turns.
    pub(super) fn load(&self) -> usize {
        self.calls.count()
    }

    /// Returns the messages that arrive, those of a batch one by one. Called once.
    pub(super) fn replies(&self) -> BoxStream<'static, Frames> {
        let messages = self.dealer.replies().map(|frames| ((), frames));
        Unbatched::new(messages, |(), _: &Frames, _| {}).map(|((), frames)| frames).boxed()
    }

    /// Sends a request, or returns the frames if no peer is connected or there is no room.
    ///
    /// `Ok` means that the request was handed to the engine, or that the connection was lost in
    /// between and the call was reported as lost. In both cases an event of the reply stream
    /// follows for a call with an id.
    pub(super) fn try_send(&self, call: InFlightCall, frames: Frames) -> Result<(), Frames> {
        self.leave.enter();
        let sent = match self.leave.is_received() {
            true => Err(frames),
            false => self.try_send_entered(call, frames),
        };
        if self.leave.exit() {
            self.answer_leave_now();
        }
        sent
    }

    /// Sends a request of a sender that has entered.
    fn try_send_entered(&self, call: InFlightCall, frames: Frames) -> Result<(), Frames> {
        let id = call.id;
        if !self.is_live() || self.budget.is_exhausted() || (id.is_some() && self.calls.is_full()) {
            return Err(frames);
        }
        // Added before the send: the reply may arrive before `try_send` returns.
        self.calls.add(call);
        if !self.is_live() {
            // The connection was lost in between. If the call was added before, it is among the
            // lost calls already, and reported.
            let is_reported = id.is_some_and(|id| self.calls.remove(id).is_none());
            return if is_reported { Ok(()) } else { Err(frames) };
        }
        let is_busy = self.calls.count() > LONE_MAX;
        let send = |frames| self.outgoing.try_send(frames, is_busy);
        let sent = self.budget.send_counted(frames, send);
        match id {
            Some(id) if sent.is_err() => drop(self.calls.remove(id)),
            None if sent.is_ok() => self.questions.note_one_way(),
            _ => {}
        }
        sent
    }

    /// Waits until there may be room for a message: for the bytes of requests without replies, for
    /// unsent bytes, and in the engine. Another sender may take it. The future may be dropped.
    pub(super) async fn room(&self) {
        self.calls.room().await;
        self.budget.available().await;
        self.dealer.room().await;
    }

    /// Records a reply, and that the peer serves the service.
    ///
    /// If the request is kept, may be begun again, and `is_declined` returns true, registers the
    /// call to be sent to another peer. `is_declined` is not asked for any other request: its
    /// caller gets the reply as it is.
    pub(super) fn record_reply(
        &self,
        id: CallId,
        is_declined: impl FnOnce() -> bool,
    ) -> RecordedReply {
        // Read first: a write per reply would take the cache line from other cores.
        if self.is_refusing() {
            self.refusing.store(false, Ordering::Relaxed);
        }
        let is_resent = |call: &InFlightCall| call.is_kept() && !call.at_most_once && is_declined();
        match self.calls.remove_unless(id, is_resent) {
            Replied::Removed => RecordedReply::Ended,
            // Another task may have failed the calls of the peer in between.
            Replied::Stays => match self.state.resends.take_refused(|| self.calls.remove(id)) {
                Some(call) => RecordedReply::Declined(call),
                None => RecordedReply::Late,
            },
            Replied::Absent => RecordedReply::Late,
        }
    }

    /// Records a refusal, which puts the peer last for a while. Returns the call, unless it has
    /// expired, was cancelled, or was lost with its connection. Registers it if it can be sent to
    /// another peer.
    pub(super) fn record_refusal(&self, id: CallId) -> Option<InFlightCall> {
        self.refusing.store(true, Ordering::Relaxed);
        self.state.resends.take_refused(|| self.calls.remove(id))
    }

    /// Returns whether a call is in flight here.
    pub(super) fn has(&self, id: CallId) -> bool {
        self.calls.contains(id)
    }

    /// Removes a call whose server has disconnected from the proxy behind this connection.
    /// Registers the call in the same step if it is to be sent again.
    pub(super) fn take_lost(&self, id: CallId) -> Option<InFlightCall> {
        self.state.resends.take_lost(|| self.calls.remove(id).into_iter().collect()).pop()
    }

    /// Removes a call that its caller no longer waits for, and sends the cancellation in `frames`
    /// if there is room. Returns `false` if the call is not in flight here, and does not run
    /// `frames` then.
    pub(super) fn cancel(&self, id: CallId, frames: impl FnOnce() -> Option<Frames>) -> bool {
        if self.calls.remove(id).is_none() {
            return false;
        }
        if let Some(frames) = frames() {
            // Without room, the server works until the deadline of the call.
            let _ = self.outgoing.try_send(frames, false);
        }
        true
    }

    /// Records the answer to a question, with the bounds that the peer has stated.
    ///
    /// A bound on messages that is not stated keeps its former value. Without a stated batch,
    /// messages leave one by one.
    pub(super) fn record_bounds(&self, stated: StatedBounds) {
        self.questions.answer();
        stated.message_max.into_iter().for_each(|max| self.bound.learn(max));
        let batch_max =
            stated.batch_max.map_or(0, |max| usize::try_from(max).unwrap_or(usize::MAX));
        self.outgoing.set_batch_max(batch_max.min(self.state.batch_max));
    }

    /// Records the notice of the server that it leaves, so that it gets no more requests; or,
    /// without a number, that it serves on. Returns whether the notice has to be
    /// [sent back](Self::answer_leave).
    pub(super) fn record_leave(&self, number: Option<CallId>, notice: Frames) -> bool {
        let is_new = self.leave.record(number.map(|_| notice));
        self.state.notify_changed();
        is_new
    }

    /// Sends the notice of the server back, after all requests. Resolves when it is sent, or when
    /// the server is disconnected.
    pub(super) async fn answer_leave(self: Arc<Self>) {
        while self.is_live() && !self.answer_leave_now() {
            self.dealer.room().await;
            tokio::task::yield_now().await;
        }
    }

    /// Sends the notice of the server back, unless a sender has entered or there is no room.
    /// Returns whether there is none left to send.
    fn answer_leave_now(&self) -> bool {
        self.leave.answer_now(|answer| self.outgoing.try_send_now(answer))
    }

    /// Removes expired calls, which may keep large requests, and forgets an old notice to leave.
    /// Called by the task that watches the connection, every five seconds at most.
    pub(super) fn prune(&self) {
        if self.leave.age() {
            // Senders that wait for a server may take this one again.
            self.state.notify_changed();
        }
        self.calls.prune();
    }

    /// Remembers the task that connects and reconnects. Without one, `spawn` starts it.
    pub(super) fn supervised_by(&self, spawn: impl FnOnce() -> AbortHandle) {
        self.supervisor.get_or_init(spawn);
    }

    /// Waits until the first attempt to connect has succeeded or failed.
    pub(super) async fn tried(&self) {
        self.dealer.tried().await;
    }
}
