//! Messages to one queue that leave together.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_core::transport::Sending;
use polywire_core::{Deadline, Error, ErrorKind, Message, Result};
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::common_errors::lost_unconfirmed;
use crate::lock::lock;
use crate::shared::AmqpShared;
use crate::wire::OutgoingMessage;
use crate::wire::native::{BATCH_MAX, BatchWriter};

/// The way of messages to one destination, alone or in a batch.
pub(super) trait BatchRoute: Send + Sync + 'static {
    /// Returns the most messages of a batch at present.
    fn entries_max(&self) -> usize;

    /// Returns the correlation id of a message in a batch. `None` if it has to leave alone.
    fn correlation_id(&self, message: &Message) -> Option<String>;

    /// Encodes a batch.
    fn join(&self, batch: BatchWriter) -> OutgoingMessage;

    /// Encodes a message that leaves alone.
    ///
    /// # Errors
    ///
    /// Those of encoding.
    fn encode(&self, message: Message) -> Result<OutgoingMessage>;

    /// Learns that no queue takes batches. Returns whether its messages leave alone instead.
    fn is_unroutable(&self) -> bool;

    /// Learns that a message of a batch was not sent, or that its outcome is unknown.
    fn failed(&self, message: &Message);
}

/// Messages that wait to leave together, and the task that publishes them.
///
/// Each message is published with the next batch, or alone if no other waits or the channel is not
/// ready. While four batches have no confirm, messages wait for one, but no longer than two
/// milliseconds.
pub(super) struct MessageJoiner<R> {
    shared: Arc<AmqpShared>,
    route: R,
    waiting: Mutex<Waiting>,
    /// The number of batches without a confirm.
    unconfirmed: AtomicUsize,
    /// Signal that a batch was confirmed, or that the messages that wait fill a batch.
    progress: Notify,
    /// Runtime for the tasks, since a message may be sent outside of any runtime.
    runtime: Handle,
}

/// The messages that wait, in the order in which they were sent.
#[derive(Default)]
struct Waiting {
    messages: Vec<WaitingMessage>,
    /// Bytes of their entries.
    bytes: usize,
    /// Set while the task runs that publishes them.
    is_flushing: bool,
}

/// A message, and the sender that waits for its outcome.
struct WaitingMessage {
    message: Box<Message>,
    entry_len: usize,
    /// Closed once the sender waits no longer: the message is withdrawn then.
    outcome: oneshot::Sender<Result<()>>,
}

impl<R: BatchRoute> MessageJoiner<R> {
    /// Creates a joiner. Panics outside of a runtime.
    pub(super) fn new(shared: Arc<AmqpShared>, route: R) -> Arc<Self> {
        Arc::new(Self {
            shared,
            route,
            waiting: Mutex::default(),
            unconfirmed: AtomicUsize::new(0),
            progress: Notify::new(),
            runtime: Handle::current(),
        })
    }

    /// Returns the way of the messages.
    pub(super) fn route(&self) -> &R {
        &self.route
    }

    /// Sends a message whose entry has `entry_len` bytes. The future resolves as that of a message
    /// that is published alone. If the future is dropped before the message is published, the
    /// message is not sent.
    pub(super) fn send(
        self: &Arc<Self>,
        message: Box<Message>,
        entry_len: usize,
    ) -> Sending<'static> {
        let (outcome, sent) = oneshot::channel();
        let mut waiting = lock(&self.waiting);
        waiting.messages.push(WaitingMessage { message, entry_len, outcome });
        waiting.bytes += entry_len;
        let is_full = self.is_full(&waiting);
        if !std::mem::replace(&mut waiting.is_flushing, true) {
            drop(self.runtime.spawn(self.clone().flush()));
        }
        drop(waiting);
        if is_full {
            self.progress.notify_one();
        }
        Sending::later(async move { sent.await.unwrap_or_else(|_| Err(lost_unconfirmed())) })
    }

    /// Publishes what waits, until nothing does.
    async fn flush(self: Arc<Self>) {
        loop {
            yield_now().await;
            while self.unconfirmed.load(Ordering::Acquire) >= UNCONFIRMED_MAX
                && !self.is_full(&lock(&self.waiting))
            {
                if timeout(PAUSE_MAX, self.progress.notified()).await.is_err() {
                    break;
                }
            }
            match self.take() {
                Some(messages) => self.publish(messages),
                None => return,
            }
        }
    }

    fn is_full(&self, waiting: &Waiting) -> bool {
        waiting.bytes >= BATCH_MAX || waiting.messages.len() >= self.route.entries_max()
    }

    /// Takes the messages of the next batch; `None` if there are none, which ends the task.
    fn take(&self) -> Option<Vec<WaitingMessage>> {
        let mut waiting = lock(&self.waiting);
        if waiting.messages.is_empty() {
            waiting.is_flushing = false;
            return None;
        }
        let (entries_max, mut bytes) = (self.route.entries_max().max(1), 0);
        let fitting = waiting.messages.iter().take(entries_max).take_while(|message| {
            bytes += message.entry_len;
            bytes <= BATCH_MAX
        });
        // The first message always fits.
        let count = fitting.count().max(1);
        let rest = waiting.messages.split_off(count);
        let taken = std::mem::replace(&mut waiting.messages, rest);
        waiting.bytes = waiting.messages.iter().map(|message| message.entry_len).sum();
        Some(taken)
    }

    /// Publishes messages whose senders still wait.
    fn publish(self: &Arc<Self>, mut messages: Vec<WaitingMessage>) {
        messages.retain(|message| !message.outcome.is_closed());
        let bytes = messages.iter().map(|message| message.entry_len).sum();
        // A message that waits for the channel can be withdrawn only if it is alone.
        if messages.len() < 2 || !self.shared.publisher.is_ready(bytes) {
            return messages.into_iter().for_each(|message| self.publish_alone(message));
        }
        let deadline = messages.iter().filter_map(|message| message.message.deadline).max();
        let mut batch = BatchWriter::new(deadline, bytes);
        let mut joined = Vec::with_capacity(messages.len());
        for message in messages {
            match self.route.correlation_id(&message.message) {
                Some(id) => {
                    batch.push(&id, &message.message);
                    joined.push(message);
                }
                None => self.publish_alone(message),
            }
        }
        if !joined.is_empty() {
            self.unconfirmed.fetch_add(1, Ordering::AcqRel);
            let (joiner, batch) = (self.clone(), self.route.join(batch));
            drop(self.runtime.spawn(async move { joiner.publish_joined(batch, joined).await }));
        }
    }

    /// Publishes a batch, and resolves its messages with its outcome.
    async fn publish_joined(self: Arc<Self>, batch: OutgoingMessage, joined: Vec<WaitingMessage>) {
        let sent = self.shared.publisher.publish(batch).await;
        self.unconfirmed.fetch_sub(1, Ordering::AcqRel);
        self.progress.notify_one();
        match sent {
            Err(error) if self.leaves_alone(&error) => {
                joined.into_iter().for_each(|message| self.publish_alone(message));
            }
            sent => {
                for WaitingMessage { message, outcome, .. } in joined {
                    if sent.is_err() {
                        self.route.failed(&message);
                    }
                    // A sender that waits no longer does not receive it.
                    let _ = outcome.send(sent.clone());
                }
            }
        }
    }

    /// Returns whether the messages of a batch that was not sent can still be sent alone.
    fn leaves_alone(&self, error: &Error) -> bool {
        error.is_unsent()
            && match error.kind() {
                ErrorKind::TooLarge => true,
                ErrorKind::Unroutable => self.route.is_unroutable(),
                _ => false,
            }
    }

    /// Publishes a message by itself, in a task. If its sender stops waiting, the message is
    /// withdrawn, unless it was published.
    fn publish_alone(self: &Arc<Self>, message: WaitingMessage) {
        let WaitingMessage { message, mut outcome, .. } = message;
        if message.deadline.is_some_and(Deadline::is_expired) {
            // The sender is about to time out.
            let error = Error::new(ErrorKind::DeadlineExceeded, "cannot send the message in time");
            let _ = outcome.send(Err(error.unsent()));
            return;
        }
        let message = match self.route.encode(*message) {
            Ok(message) => message,
            Err(error) => return drop(outcome.send(Err(error))),
        };
        let joiner = self.clone();
        drop(self.runtime.spawn(async move {
            let sending = joiner.shared.publisher.publish(message);
            let sent = tokio::select! {
                biased;
                sent = sending => sent,
                () = outcome.closed() => return,
            };
            let _ = outcome.send(sent);
        }));
    }
}

/// Batches without a confirm from which on messages wait for one.
const UNCONFIRMED_MAX: usize = 4;
/// The longest wait for a confirm.
const PAUSE_MAX: Duration = Duration::from_millis(2);
