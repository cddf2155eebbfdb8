//! The current channel and the messages that wait for it, behind one lock.

use std::sync::{Arc, Mutex};

use polywire_core::transport::GetOnSent;
use polywire_core::{Error, ErrorKind};
use tokio::sync::Notify;

use super::confirm_channel::{ConfirmChannel, Readiness};
use super::outcome_slot::{OutcomeReceiver, OutcomeSender, outcome_slot};
use super::publish_buffer::{BufferSlot, PublishBuffer};
use super::publish_request::PublishRequest;
use crate::buffer_bounds::BufferBounds;
use crate::lock::lock;
use crate::wire::OutgoingMessage;

/// The channel to publish on, and the buffer for the times without one.
///
/// Both are behind one lock, so that no message overtakes a buffered one. The lock is never held
/// across an await, and covers the first poll of a write at the longest.
///
/// A closed queue stays closed, and the first error of [`close`](Self::close) is that of all later
/// messages.
pub(super) struct PublishQueue {
    state: Mutex<State>,
    /// Signal that the channel may accept more.
    room: Arc<Notify>,
}

/// Channel and buffer. While the buffer holds a message, no later message is written.
struct State {
    /// `None` until the supervisor has replaced a lost channel.
    channel: Option<Arc<ConfirmChannel>>,
    /// Messages for the next channel, or for room on this one.
    buffer: PublishBuffer,
    /// The reason, once nothing more will be published.
    closed: Option<Error>,
}

impl PublishQueue {
    /// Creates a queue without a channel.
    pub(super) fn new(bounds: BufferBounds) -> Self {
        let state = State { channel: None, buffer: PublishBuffer::new(bounds), closed: None };
        Self { state: Mutex::new(state), room: Arc::default() }
    }

    /// Returns the signal that the channel may accept more. [`flush`](Self::flush) then publishes.
    pub(super) fn room(&self) -> &Arc<Notify> {
        &self.room
    }

    /// Publishes a message, or buffers it.
    ///
    /// A message is published at once only if no other message is buffered and the channel accepts
    /// it. Fails with the error of [`close`](Self::close) after that was called.
    ///
    /// A message that is published at once, on a channel that limits the wait for the confirm, has
    /// its outcome reported to the function of `then`. Otherwise `then` is not called.
    pub(super) fn submit<'a>(
        &'a self,
        message: OutgoingMessage,
        is_quiet: bool,
        then: Option<GetOnSent<'_>>,
    ) -> Submitted<'a> {
        let size = PublishRequest::size_of(&message);
        let mut state = lock(&self.state);
        if let Some(error) = &state.closed {
            return Submitted::Refused(error.clone());
        }
        if state.buffer.is_empty()
            && let Some(channel) = state.ready_channel(size)
        {
            let is_limited = channel.limits_confirms();
            if let Some(then) = then.filter(|_| is_limited) {
                let outcome = OutcomeSender::function(then());
                channel.publish(PublishRequest::new(message, size, outcome));
                return Submitted::Taken;
            }
            let (sender, outcome) = outcome_slot(is_quiet);
            channel.publish(PublishRequest::new(message, size, sender));
            return Submitted::Written { outcome, is_limited };
        }
        let (sender, outcome) = outcome_slot(is_quiet);
        let slot = state.buffer.push(PublishRequest::new(message, size, sender));
        Submitted::Buffered { guard: BufferGuard { queue: self, slot }, outcome }
    }

    /// Returns whether a message of `bytes` would be published at once.
    ///
    /// The answer may be outdated in the next moment.
    pub(super) fn is_ready(&self, bytes: usize) -> bool {
        let state = lock(&self.state);
        state.closed.is_none() && state.buffer.is_empty() && state.ready_channel(bytes).is_some()
    }

    /// Publishes buffered messages, as far as the channel accepts them.
    ///
    /// Expired messages fail instead: their senders have timed out, or are about to.
    ///
    /// The first message that the channel does not accept ends the call, so that no smaller one
    /// overtakes.
    pub(super) fn flush(&self) {
        let mut state = lock(&self.state);
        while let Some(size) = state.buffer.next_size() {
            let Some(channel) = state.ready_channel(size).cloned() else { return };
            match state.buffer.pop() {
                Some(request) if request.is_expired() => request.fail(state.not_published()),
                Some(request) => channel.publish(request),
                None => return,
            }
        }
    }

    /// Publishes on this channel from now on, beginning with the buffered messages.
    pub(super) fn set_channel(&self, channel: &Arc<ConfirmChannel>) {
        lock(&self.state).channel = Some(channel.clone());
        self.flush();
    }

    /// Buffers all messages until there is another channel.
    pub(super) fn remove_channel(&self) {
        lock(&self.state).channel = None;
    }

    /// Fails all buffered and later messages with `error`.
    pub(super) fn close(&self, error: &Error) {
        let mut state = lock(&self.state);
        let error = state.closed.get_or_insert_with(|| error.clone()).clone();
        for request in state.buffer.drain() {
            request.fail(error.clone());
        }
    }
}

impl State {
    /// Returns the channel, if it accepts a message of `size` bytes now. Marks a channel that turns
    /// out to be lost.
    fn ready_channel(&self, size: usize) -> Option<&Arc<ConfirmChannel>> {
        let channel = self.channel.as_ref()?;
        match channel.readiness(size) {
            Readiness::Ready => Some(channel),
            Readiness::Stopped(_) => None,
            Readiness::Lost => {
                // The supervisor would notice later.
                channel.mark_lost();
                None
            }
        }
    }

    /// Returns the error for a message that was not published in time: unsent, with the present
    /// reason why the channel does not accept it.
    fn not_published(&self) -> Error {
        let because = match self.channel.as_ref().map(|channel| channel.readiness(0)) {
            None | Some(Readiness::Lost) => {
                let error = Error::new(
                    ErrorKind::Disconnected,
                    "cannot publish the message: no connection to the broker",
                );
                return error.unsent();
            }
            Some(Readiness::Stopped(because)) => because,
            Some(Readiness::Ready) => "earlier messages are still waiting",
        };
        let error = Error::new(
            ErrorKind::DeadlineExceeded,
            "cannot publish the message: the broker accepted no message in time",
        );
        error.with("because", because).unsent()
    }
}

/// The state of a message after [`PublishQueue::submit`].
pub(super) enum Submitted<'a> {
    /// The message was written, and its outcome goes to the function of the sender.
    Taken,
    /// The message was written. If the wait `is_limited`, the outcome arrives in time.
    Written { outcome: OutcomeReceiver, is_limited: bool },
    /// The message waits to be written.
    Buffered { guard: BufferGuard<'a>, outcome: OutcomeReceiver },
    /// Nothing more is published.
    Refused(Error),
}

/// A sender's guard for a buffered message.
///
/// Dropping the guard withdraws the message, unless it was published.
pub(super) struct BufferGuard<'a> {
    queue: &'a PublishQueue,
    slot: BufferSlot,
}

/// The state of a message that was buffered.
pub(super) enum BufferState {
    /// The message waits for the channel, or for room in the buffer.
    Buffered,
    /// The message was written, or failed. Its outcome follows.
    Published,
    /// The message was removed now, and will not be written.
    Withdrawn(Error),
}

impl BufferGuard<'_> {
    /// Returns the state of the message. Withdraws it if its time `is_over`, or if there is no
    /// channel.
    pub(super) fn check(&self, is_over: bool) -> BufferState {
        let mut state = lock(&self.queue.state);
        if !state.buffer.contains(self.slot.number) {
            return BufferState::Published;
        }
        if !is_over && state.channel.is_some() {
            return BufferState::Buffered;
        }
        drop(state.buffer.withdraw(self.slot.number));
        self.queue.room.notify_one();
        BufferState::Withdrawn(state.not_published())
    }
}

impl Drop for BufferGuard<'_> {
    fn drop(&mut self) {
        if lock(&self.queue.state).buffer.withdraw(self.slot.number).is_some() {
            // The next message may be small enough to be published now.
            self.queue.room.notify_one();
        }
    }
}
