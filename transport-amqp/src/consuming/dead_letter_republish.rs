//! Publishing of dead letters, each in the largest form that the broker accepts.
//!
//! Core decides which message is dead-lettered, after the last attempt in
//! `core/src/worker/job_processor.rs`.
//!
//! A copy can be too large for the broker: its header for a frame, or its body for the size limit
//! of the broker, which may have been lowered since the message was published. No further attempt
//! helps. So such a dead letter loses its errors first, and is discarded in the end. The broker
//! itself dead-letters a discarded message of a queue that says so.

use std::time::Duration;

use polywire_core::message::DeadLetterReason;
use polywire_core::transport::{Outcome, Settle, Settled};
use polywire_core::{Code, Error, Fault};

use crate::consuming::republisher::{RepublishTarget, Republisher, is_final};
use crate::wire::Republish;

impl Republisher {
    /// Publishes a dead letter and acknowledges the original. Discards the original if the broker
    /// never takes the dead letter.
    ///
    /// While the dead letter cannot be kept, the original is held, and the dead letter is tried
    /// again after each pause: a requeue would run the handler again, or at last, although the
    /// message has expired. A lost channel has requeued the original.
    ///
    /// The call returns once the original is settled, or its channel is lost.
    pub(super) async fn keep_dead_letter(&self, mut copy: Republish, tag: u64) -> Settled {
        loop {
            let mut kept = self.republish(RepublishTarget::DeadLetters, copy.clone()).await;
            if kept.as_ref().is_err_and(|error| is_final(error) && !is_of_body(error, &copy)) {
                if let Some(history) = &mut copy.history {
                    (history.first_error, history.last_error) = (None, None);
                }
                kept = self.republish(RepublishTarget::DeadLetters, copy.clone()).await;
            }
            let error = match kept {
                Ok(()) => {
                    self.acker.acknowledge_now(tag);
                    return Settled::DeadLettered;
                }
                Err(error) if is_final(&error) => return self.discard(&copy, tag, &error),
                Err(error) => error,
            };
            self.pause_before_retry(&copy, copy.attempts_made(), &error).await;
            if !self.acker.can_settle(tag) || self.shared.tasks.is_closed() {
                self.acker.release(tag);
                return Settled::Requeued;
            }
        }
    }

    /// Dead-letters a delivery of which no other copy can be kept. `attempts` have been made. The
    /// caller of a call gets a fault.
    ///
    /// The fault is sent first. A failure to send it does not keep the delivery from the
    /// dead-letter queue.
    pub(super) async fn dead_letter_unkeepable(
        &self,
        mut copy: Republish,
        tag: u64,
        attempts: u32,
        because: &Error,
    ) -> Settled {
        if copy.properties.reply_to().is_some() {
            let cause = format!("cannot pass the request on: {because}");
            if let Err(error) = self.answer(&copy, Fault::new(Code::Internal, cause)).await {
                tracing::debug!(
                    ?error,
                    "cannot answer the caller of a request that is dead-lettered"
                );
            }
        }
        let error = because.to_string().into();
        let history = copy.history.get_or_insert_default();
        history.dead_lettered(DeadLetterReason::Refused, attempts, &error);
        // The number of attempts includes the crashes.
        (copy.attempt, copy.crashes) = (attempts, None);
        (copy.delay, copy.declines) = (Duration::ZERO, None);
        self.keep_dead_letter(copy, tag).await
    }

    /// Discards a delivery that no queue keeps.
    ///
    /// Returns `DeadLettered` if the broker keeps what is rejected, by the options of the queue.
    fn discard(&self, copy: &Republish, tag: u64, error: &Error) -> Settled {
        let is_kept = self.queue.options.is_dead_lettering();
        self.acker.settle(tag, Outcome::Discard);
        self.log.discarded(copy, error, is_kept);
        if is_kept { Settled::DeadLettered } else { Settled::Discarded }
    }
}

/// Returns whether the body of a copy is too large, and not its header.
fn is_of_body(error: &Error, copy: &Republish) -> bool {
    error.detail("size") == Some(copy.body.len().to_string().as_str())
}
