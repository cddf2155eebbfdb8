//! Jobs: received values that have to be settled.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use serde::de::DeserializeOwned;

use super::SettleError;
use crate::context::Context;
use crate::dialect::Dialect;
use crate::error::{Error, ErrorKind, Result, report};
use crate::message::{DeadLetterReason, Message};
use crate::transport::{Capabilities, DeadLetterInfo, Delivery, Outcome, Receipt, RetryAfter};
use crate::worker::dead_letter_or_discard;

/// Decoder of messages with a hidden dialect, so that [`Puller`](super::Puller) and
/// [`Subscriber`](crate::Subscriber) have no type parameter for the dialect.
pub(crate) type DecodeFn<T> = Arc<dyn Fn(&Message) -> Result<T> + Send + Sync>;

/// Returns the decoder of `dialect`.
pub(crate) fn decode_fn<T: DeserializeOwned, D: Dialect>(dialect: D) -> DecodeFn<T> {
    Arc::new(move |message| dialect.decode_call(message))
}

/// Received job: a value that the puller has to settle.
///
/// The value is available through [`Deref`]. A dropped job is requeued.
#[must_use = "dropping a job requeues it"]
pub struct Job<T> {
    value: T,
    context: Context,
    receipt: Receipt,
    capabilities: Capabilities,
}

impl<T> Job<T> {
    /// Decodes a delivery. A delivery that cannot be decoded is dead-lettered or discarded.
    pub(crate) fn decode(
        delivery: Delivery,
        decode: &DecodeFn<T>,
        capabilities: Capabilities,
    ) -> Result<Self> {
        let (attempt, redelivered) = (delivery.attempt_with_crashes(), delivery.is_redelivered());
        let Delivery { mut message, receipt, .. } = delivery;
        let malformed = message.fault.take().map(|fault| {
            Error::new(ErrorKind::Codec, "cannot decode the message").with_source(*fault)
        });
        match malformed.map_or_else(|| decode(&message), Err) {
            Ok(value) => {
                let mut context = Context::of(&message, attempt);
                context.redelivered = redelivered;
                Ok(Self { value, context, receipt, capabilities })
            }
            Err(error) => {
                let reason = DeadLetterReason::Unreadable;
                receipt.settle(dead_letter_or_discard(&capabilities, reason, report(&error)));
                Err(error)
            }
        }
    }

    /// Returns the context of the job: headers, topic, number of the attempt.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Acknowledges the job: the work is done.
    pub fn ack(self) {
        self.receipt.ack();
    }

    /// Discards the job, although the work is not done.
    pub fn discard(self) {
        self.receipt.discard();
    }

    /// Requeues the job: it is redelivered at once, to this puller or another one.
    ///
    /// # Errors
    ///
    /// [`SettleError`], with the job, if the transport does not support settlement. The job is then
    /// lost unless the program pushes it again.
    pub fn requeue(self) -> Result<(), SettleError<Self>> {
        self.settle("Job::requeue", None, Outcome::Requeue)
    }

    /// Retries the job: it is redelivered after `pause`, which is cut at [`RetryAfter::MAX`].
    /// The error travels with the job; see [`Context::history`].
    ///
    /// # Errors
    ///
    /// [`SettleError`], with the job, if the transport does not support delayed retries.
    pub fn retry_after(
        self,
        pause: Duration,
        error: impl fmt::Display,
    ) -> Result<(), SettleError<Self>> {
        let missing =
            if self.capabilities.delayed_retries { None } else { Some("delayed_retries") };
        let retry = RetryAfter::new(pause, text(error));
        self.settle("Job::retry_after", missing, Outcome::Retry(Box::new(retry)))
    }

    /// Moves the job to the [`DeadLetters`](crate::DeadLetters) of its queue, with an error.
    ///
    /// # Errors
    ///
    /// [`SettleError`], with the job, if the transport does not support dead letters.
    pub fn dead_letter(self, error: impl fmt::Display) -> Result<(), SettleError<Self>> {
        let missing = if self.capabilities.dead_letters { None } else { Some("dead_letters") };
        let info = DeadLetterInfo::new(DeadLetterReason::Refused, text(error));
        self.settle("Job::dead_letter", missing, Outcome::DeadLetter(Box::new(info)))
    }

    fn settle(
        self,
        option: &'static str,
        missing: Option<&'static str>,
        outcome: Outcome,
    ) -> Result<(), SettleError<Self>> {
        let missing = missing.or(if self.receipt.is_some() { None } else { Some("settlement") });
        if let Some(missing) = missing {
            return Err(SettleError::new(Error::lacking(option, missing), self));
        }
        self.receipt.settle(outcome);
        Ok(())
    }

    /// Splits the job into value, context and receipt, to settle it elsewhere.
    pub fn into_parts(self) -> (T, Context, Receipt) {
        (self.value, self.context, self.receipt)
    }
}

fn text(error: impl fmt::Display) -> ByteString {
    error.to_string().into()
}

impl<T> Deref for Job<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Job<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("value", &self.value)
            .field("attempt", &self.context.attempt)
            .finish_non_exhaustive()
    }
}
