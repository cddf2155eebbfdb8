//! Log lines of a consumer that the broker refuses or ends: one for each state.

use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::Error;
use polywire_core::transport::LogThrottle;
use tokio::time::Instant;

/// Remembers when the refusal of a consumer was logged.
///
/// Each consumer task owns one. The line of a refusal is repeated every 30 seconds. Lines about
/// ends follow every 10 seconds at most.
pub(super) struct ConsumeLog {
    /// The time of the last line, while the consumer is refused.
    refused: Option<Instant>,
    /// Throttle for the ends: a queue may be deleted again and again.
    ends: LogThrottle,
}

/// Interval of the warnings while a consumer is refused.
const WARN_INTERVAL: Duration = Duration::from_secs(30);

impl ConsumeLog {
    /// Creates the log of a consumer that was neither refused nor ended.
    pub(super) fn new() -> Self {
        Self { refused: None, ends: LogThrottle::new() }
    }

    /// Logs the first failure since the consumer was registered as an error, and a warning every 30
    /// seconds after that.
    pub(super) fn refused(&mut self, queue: &ShortString, error: &Error) {
        match self.refused {
            Some(logged) if logged.elapsed() < WARN_INTERVAL => {
                return tracing::debug!(%queue, ?error, "cannot consume yet");
            }
            Some(_) => tracing::warn!(%queue, ?error, "still cannot consume"),
            None => tracing::error!(%queue, ?error, "cannot consume; retrying"),
        }
        self.refused = Some(Instant::now());
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
        if self.refused.take().is_some() {
            tracing::info!(%queue, "consuming again");
        }
    }
}
