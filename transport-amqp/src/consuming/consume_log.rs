//! Log lines of a consumer that the broker refuses or ends: one for each state.

use lapin::types::ShortString;
use polywire_core::Error;
use polywire_core::transport::LogThrottle;

/// Remembers whether the refusal of a consumer was logged.
pub(super) struct ConsumeLog {
    is_refused: bool,
    /// Throttle for the ends: a queue may be deleted again and again.
    ends: LogThrottle,
}

impl ConsumeLog {
    /// Creates the log of a consumer that was neither refused nor ended.
    pub(super) fn new() -> Self {
        Self { is_refused: false, ends: LogThrottle::new() }
    }

    /// Logs the first failure since the consumer was registered as an error, further ones as debug.
    pub(super) fn refused(&mut self, queue: &ShortString, error: &Error) {
        match std::mem::replace(&mut self.is_refused, true) {
            true => tracing::debug!(%queue, ?error, "still cannot consume"),
            false => tracing::error!(%queue, ?error, "cannot consume; retrying"),
        }
    }

    /// Logs that the broker ended a consumer whose connection it kept.
    pub(super) fn ended(&self, queue: &ShortString, is_cancelled: bool) {
        if let Some(count) = self.ends.note() {
            let cause = match is_cancelled {
                true => {
                    "the broker cancelled the consumer: the queue was deleted, or its node is down"
                }
                false => {
                    "the broker closed the channel: a delivery was held for too long, or it was refused"
                }
            };
            tracing::warn!(%queue, cause, count, "lost a consumer; consuming again");
        }
    }

    /// Logs the end of a refusal.
    pub(super) fn registered(&mut self, queue: &ShortString) {
        if std::mem::take(&mut self.is_refused) {
            tracing::info!(%queue, "consuming again");
        }
    }
}
