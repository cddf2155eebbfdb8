//! The outcomes of published messages.

use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::{Error, ErrorKind, Result};

use crate::common_errors::unroutable;

/// The outcome of a published message.
#[derive(Clone, Debug)]
pub(super) enum PublishOutcome {
    /// The broker routed the message to its queues, or to none if that is allowed.
    Accepted,
    /// No queue took the mandatory message.
    Returned,
    /// A queue rejected the message.
    Rejected,
    /// The channel was lost before the outcome was certain.
    Unknown(Error),
}

impl PublishOutcome {
    /// Converts the outcome to the result of the sender.
    pub(super) fn result(self, routing_key: &ShortString) -> Result<()> {
        match self {
            Self::Accepted => Ok(()),
            Self::Returned => Err(unroutable(routing_key.as_str())),
            Self::Rejected => {
                let error = Error::new(
                    ErrorKind::Rejected,
                    "cannot publish the message: the broker rejected it",
                );
                Err(error.with("routing key", routing_key))
            }
            Self::Unknown(error) => Err(error),
        }
    }
}

/// Returns the error for a message without a confirm, whose outcome is unknown.
pub(super) fn unconfirmed(timeout: Duration) -> Error {
    let error = Error::new(
        ErrorKind::DeadlineExceeded,
        "cannot confirm the message: the broker did not answer in time",
    );
    error.with("seconds", timeout.as_secs())
}

/// Age from which on a channel is replaced when it rejects messages.
pub(super) const NACK_GRACE: Duration = Duration::from_secs(1);
