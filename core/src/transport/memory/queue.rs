//! Queue with competing consumers: a lock around state and wakers, without I/O or tasks.

mod consumer_state;
mod entry;
mod state;
mod unsettled;

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tokio::sync::{Notify, oneshot};

pub(super) use self::consumer_state::ConsumerSignals;
use self::entry::QueueEntry;
use self::state::QueueState;
pub(super) use self::state::{Fetch, Fetched};
use super::dead_letter_store::DeadLetterStore;
use super::lock::lock;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Deadline, Message};
use crate::transport::{Abandoned, Answer, Outcome};

/// Queue of the requests of a service, the jobs of a queue, or the events of a subscription.
///
/// Methods that may leave messages without a consumer return these orphans.
pub(super) struct Queue {
    policy: NoConsumerPolicy,
    state: Mutex<QueueState>,
    dead_letters: Arc<DeadLetterStore>,
    /// Wakes senders when the queue has room again, or no consumer.
    changed: Notify,
}

/// Policy for messages in a queue without consumers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NoConsumerPolicy {
    /// Fail the send with an error.
    Reject,
    /// Hold the messages for a later consumer.
    Hold,
    /// Drop the messages.
    Drop,
}

impl Queue {
    pub(super) fn new(policy: NoConsumerPolicy, dead_letters: Arc<DeadLetterStore>) -> Self {
        Self { policy, state: Mutex::default(), dead_letters, changed: Notify::new() }
    }

    /// Appends a message, and waits for room. If the future is dropped, the message is not
    /// appended.
    ///
    /// # Errors
    ///
    /// `Unroutable` if the queue has no consumer and rejects the message.
    pub(super) async fn push(&self, mut message: Box<Message>) -> Result<()> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the check, so that no notification is missed in between.
            changed.as_mut().enable();
            match self.try_push(message) {
                Ok(result) => return result,
                Err(returned) => message = returned,
            }
            changed.await;
        }
    }

    /// Appends a message, or returns it if the queue is full.
    pub(super) fn try_push(&self, message: Box<Message>) -> Result<Result<()>, Box<Message>> {
        let mut state = lock(&self.state);
        if !state.has_consumers() {
            match self.policy {
                NoConsumerPolicy::Reject => return Ok(Err(no_consumer())),
                NoConsumerPolicy::Drop => return Ok(Ok(())),
                NoConsumerPolicy::Hold => {}
            }
        }
        if state.is_full() {
            return Err(message);
        }
        state.append(QueueEntry::new(message));
        state.wake_consumers();
        Ok(Ok(()))
    }

    /// Appends a canary for a consumer, which the consumer sends `back`.
    ///
    /// # Errors
    ///
    /// `Closed` if the consumer fetches no more.
    pub(super) fn push_canary(&self, id: u64, back: oneshot::Sender<()>) -> Result<()> {
        let is_added = lock(&self.state).add_canary(id, back);
        let text = "cannot send the canary: the endpoint handle has stopped";
        is_added.then_some(()).ok_or_else(|| Error::new(ErrorKind::Closed, text))
    }

    /// Adds a consumer that holds at most `window` messages unsettled.
    pub(super) fn add_consumer(&self, id: u64, window: usize) {
        lock(&self.state).add_consumer(id, window);
    }

    /// Returns the signals of a consumer, for its stream.
    pub(super) fn signals(&self, id: u64) -> Arc<ConsumerSignals> {
        lock(&self.state).signals(id)
    }

    /// Fetches the next message for a consumer, or registers its waker.
    pub(super) fn fetch(&self, id: u64, cx: &Context<'_>) -> Fetch {
        let fetch = lock(&self.state).fetch(id, cx);
        if matches!(fetch, Fetch::Fetched(_)) {
            self.changed.notify_one();
        }
        fetch
    }

    /// Abandons a call: removes its request, or notifies the consumer that has fetched it. A queued
    /// request whose deadline has passed stays, for its server to count.
    pub(super) fn abandon(&self, call: &Abandoned) {
        let mut state = lock(&self.state);
        if !call.is_expired && state.remove_request(call) {
            return self.changed.notify_one();
        }
        state.notify_abandoned(call);
    }

    /// Polls for an abandoned call among the requests that a consumer has fetched.
    pub(super) fn poll_abandoned(&self, id: u64, cx: &Context<'_>) -> Poll<Abandoned> {
        lock(&self.state).poll_abandoned(id, cx)
    }

    /// Passes the answer of a caller to a consumer that has asked.
    pub(super) fn answer(&self, id: u64, answer: Answer) {
        lock(&self.state).answer(id, answer);
    }

    /// Polls for an answer to a question of a consumer.
    pub(super) fn poll_answer(&self, id: u64, cx: &Context<'_>) -> Poll<Answer> {
        lock(&self.state).poll_answer(id, cx)
    }

    /// Returns whether the stream of a consumer is open.
    pub(super) fn is_open(&self, id: u64) -> bool {
        lock(&self.state).is_open(id)
    }

    /// Notes that the stream of a consumer is dropped.
    pub(super) fn close_stream(&self, id: u64) {
        lock(&self.state).close_stream(id);
    }

    /// Settles the delivery `tag` of a consumer. Returns the orphans.
    pub(super) fn settle(&self, id: u64, tag: u64, outcome: Outcome) -> Vec<Message> {
        let mut state = lock(&self.state);
        if matches!(outcome, Outcome::Ack | Outcome::Discard) {
            let is_settled = state.drop_unsettled(id, tag);
            return if is_settled { self.take_orphans(&mut state) } else { Vec::new() };
        }
        let Some(entry) = state.take_unsettled(id, tag) else { return Vec::new() };
        let mut entry = entry.into_entry();
        match outcome {
            Outcome::Ack | Outcome::Discard => {}
            Outcome::Requeue => state.insert(entry.next_attempt()),
            Outcome::Decline(fault) => {
                entry.decline(id, fault);
                state.insert(entry);
            }
            Outcome::Retry(retry) => {
                entry.message.history.get_or_insert_default().failed(&retry.error);
                state.delay(entry.next_attempt(), Deadline::after(retry.after).instant());
            }
            Outcome::DeadLetter(info) => {
                let QueueEntry { mut message, attempt, .. } = entry;
                message.history.get_or_insert_default().dead_lettered(
                    info.reason,
                    attempt,
                    &info.error,
                );
                self.dead_letters.add(*message);
            }
        }
        state.wake_consumers();
        self.take_orphans(&mut state)
    }

    /// Ends the fetching of a consumer, which can still settle its deliveries. Returns the orphans.
    pub(super) fn stop_consumer(&self, id: u64) -> Vec<Message> {
        let mut state = lock(&self.state);
        if state.stop_consumer(id) { self.take_orphans(&mut state) } else { Vec::new() }
    }

    /// Removes a consumer and requeues its unsettled messages. Returns the orphans.
    pub(super) fn remove_consumer(&self, id: u64) -> Vec<Message> {
        let mut state = lock(&self.state);
        if !state.remove_consumer(id) {
            return Vec::new();
        }
        state.wake_consumers();
        self.take_orphans(&mut state)
    }

    pub(super) fn policy(&self) -> NoConsumerPolicy {
        self.policy
    }

    /// Returns whether a consumer is left that fetches.
    pub(super) fn has_consumers(&self) -> bool {
        lock(&self.state).has_consumers()
    }

    /// Returns the number of messages that wait for their retries.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.state).waiting()
    }

    /// Takes out the messages that no consumer is left to fetch.
    fn take_orphans(&self, state: &mut QueueState) -> Vec<Message> {
        if self.policy == NoConsumerPolicy::Hold {
            return Vec::new();
        }
        if !state.has_consumers() {
            self.changed.notify_waiters();
            return state.drain();
        }
        let declined = state.take_declined();
        if !declined.is_empty() {
            self.changed.notify_waiters();
        }
        declined
    }
}

fn no_consumer() -> Error {
    let text = "cannot send the request: no server takes calls to this service";
    Error::new(ErrorKind::Unroutable, text).unsent()
}
