//! The task that reads replies and completes the calls that wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::pending_calls::PendingCalls;
use crate::error::{Error, ErrorKind};
use crate::message::Message;
use crate::transport::Receiver;

/// The reader of a requester's replies, shared by its task and the callers.
pub(super) struct ReplyReader {
    pending: Arc<PendingCalls>,
    late_replies: AtomicU64,
    bad_replies: AtomicU64,
}

impl ReplyReader {
    /// Creates a reader for at most `pending_max` in-flight calls.
    pub(super) fn new(pending_max: usize) -> Self {
        Self {
            pending: Arc::new(PendingCalls::new(pending_max)),
            late_replies: AtomicU64::new(0),
            bad_replies: AtomicU64::new(0),
        }
    }

    /// Returns the table of in-flight calls.
    pub(super) fn pending(&self) -> &Arc<PendingCalls> {
        &self.pending
    }

    /// Returns the counters.
    pub(super) fn stats(&self) -> ClientStats {
        ClientStats {
            in_flight: self.pending.len(),
            late_replies: self.late_replies.load(Ordering::Relaxed),
            bad_replies: self.bad_replies.load(Ordering::Relaxed),
        }
    }

    /// Reads replies until the receiver ends, then fails every later call. So does dropping the
    /// future, for instance because its runtime shuts down.
    pub(super) async fn run(self: Arc<Self>, mut receiver: Receiver) {
        let _closing = CloseOnDrop(&self.pending);
        while let Some(next) = receiver.next().await {
            match next {
                Ok(delivery) => {
                    self.complete(delivery.message);
                    delivery.receipt.ack();
                }
                Err(error) => self.fail(error),
            }
        }
        self.pending.close(&Error::new(ErrorKind::Closed, "the transport is closed"));
    }

    /// Completes the call that waits for this reply.
    fn complete(&self, mut message: Message) {
        let completed = message.id.take().is_some_and(|id| self.pending.complete(id, Ok(message)));
        if !completed {
            self.late_replies.fetch_add(1, Ordering::Relaxed);
            tracing::debug!("dropped a late reply: its call has ended");
        }
    }

    /// Fails the calls that an error of the receiver concerns.
    fn fail(&self, error: Error) {
        match error.call() {
            Some(call) => {
                self.pending.complete(call, Err(error));
            }
            // The replies to all in-flight calls are lost with their connection.
            None if matches!(error.kind(), ErrorKind::Disconnected | ErrorKind::RepliesLost) => {
                self.pending.fail_all(&error);
            }
            None => {
                self.bad_replies.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(?error, "dropped a reply that cannot be decoded");
            }
        }
    }
}

/// A guard that closes the table when the reader is gone, unless it is closed already.
struct CloseOnDrop<'p>(&'p PendingCalls);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        let cause = "the requester is closed: its task was dropped with its runtime, or panicked";
        self.0.close(&Error::new(ErrorKind::Closed, cause));
    }
}

/// The counters of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStats {
    /// Calls in flight at present.
    pub in_flight: usize,
    /// Replies that arrived after their call had ended.
    pub late_replies: u64,
    /// Replies that could not be decoded and named no call.
    pub bad_replies: u64,
}
