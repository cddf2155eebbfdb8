//! Outcomes of deliveries as plain data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::FaultEnvelope;
use super::cut_text::cut_text;
use crate::message::DeadLetterReason;
use crate::transport::{DeadLetterInfo, Outcome, RetryAfter};

/// Outcome of a delivery as plain data, for any format of serde.
///
/// Error texts are cut at [`History::ERROR_MAX`](crate::message::History::ERROR_MAX) bytes. The
/// fault of a decline is as long as its handler made it: a backend that claims
/// [`declining`](crate::Capabilities::declining) bounds the frame.
///
/// ```
/// use polywire_core::transport::Outcome;
/// use polywire_core::transport::kit::OutcomeEnvelope;
///
/// assert_eq!(OutcomeEnvelope::of(&Outcome::Ack).into_outcome(), Outcome::Ack);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum OutcomeEnvelope {
    /// The work is done.
    Ack,
    /// The message is deleted, although the work is not done.
    Discard,
    /// The message is delivered again at once.
    Requeue,
    /// The request goes to another responder. The fault answers it if there is none.
    Decline(FaultEnvelope),
    /// The message is delivered again after a delay.
    Retry {
        /// Delay in milliseconds, rounded up.
        after_ms: u64,
        /// Error of the attempt.
        error: String,
    },
    /// The message goes to the dead-letter queue.
    DeadLetter {
        /// Name of the reason; see [`DeadLetterReason::as_str`].
        reason: String,
        /// Error of the last attempt.
        error: String,
    },
}

impl OutcomeEnvelope {
    /// Copies an outcome.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Ack => Self::Ack,
            Outcome::Discard => Self::Discard,
            Outcome::Requeue => Self::Requeue,
            Outcome::Decline(fault) => Self::Decline(FaultEnvelope::of(fault)),
            Outcome::Retry(retry) => {
                let ms = retry.after.as_nanos().div_ceil(1_000_000);
                let after_ms = u64::try_from(ms).unwrap_or(u64::MAX);
                Self::Retry { after_ms, error: cut_text(&retry.error) }
            }
            Outcome::DeadLetter(info) => Self::DeadLetter {
                reason: info.reason.as_str().to_owned(),
                error: cut_text(&info.error),
            },
        }
    }

    /// Returns the outcome. A delay is at most [`RetryAfter::MAX`]; an unknown reason is
    /// [`DeadLetterReason::Other`].
    #[must_use]
    pub fn into_outcome(self) -> Outcome {
        match self {
            Self::Ack => Outcome::Ack,
            Self::Discard => Outcome::Discard,
            Self::Requeue => Outcome::Requeue,
            Self::Decline(fault) => Outcome::Decline(Box::new(fault.into_fault())),
            Self::Retry { after_ms, error } => {
                let after = Duration::from_millis(after_ms);
                Outcome::Retry(Box::new(RetryAfter::new(after, cut_text(&error))))
            }
            Self::DeadLetter { reason, error } => {
                let reason = DeadLetterReason::from_name(&reason);
                Outcome::DeadLetter(Box::new(DeadLetterInfo::new(reason, cut_text(&error))))
            }
        }
    }
}
