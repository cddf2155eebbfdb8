//! Log lines of a consumer that the broker refuses or ends: one for each state.

use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::Error;
use polywire_core::transport::LogThrottle;
use tokio::time::Instant;

/// Remembers when the refusal of a consumer was logged.
///
/// Each consumer task owns one. The line of a refusal is repeated every 30 seconds. Lines about
/// ends follow every 10 seconds at most. Suspects that are not isolated have one line until they
/// are.
pub(super) struct ConsumeLog {
    /// The time of the last line, while the consumer is refused.
    refused: Option<Instant>,
    /// Set once a line has said that suspects are not isolated, until they are.
    is_isolation_lost: bool,
    /// Throttle for the ends: a queue may be deleted again and again.
    ends: LogThrottle,
}

/// Interval of the warnings while a consumer is refused.
const WARN_INTERVAL: Duration = Duration::from_secs(30);

impl ConsumeLog {
    /// Creates the log of a consumer that was neither refused nor ended.
    pub(super) fn new() -> Self {
        Self { refused: None, is_isolation_lost: false, ends: LogThrottle::new() }
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

    /// Logs that the queue of suspects cannot be used: a warning once until it can. Each
    /// registration asks for that queue again.
    pub(super) fn not_isolated(&mut self, queue: &ShortString, error: &Error) {
        if std::mem::replace(&mut self.is_isolation_lost, true) {
            return tracing::debug!(%queue, ?error, "suspects are still not isolated");
        }
        tracing::warn!(%queue, ?error, "messages that end their processes are not isolated");
    }

    /// Logs the end of a refusal. `is_isolating` says whether the queue of suspects is consumed,
    /// too.
    pub(super) fn registered(&mut self, queue: &ShortString, is_isolating: bool) {
        self.is_isolation_lost &= !is_isolating;
        if self.refused.take().is_some() {
            tracing::info!(%queue, "consuming again");
        }
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::ErrorKind;

    use super::*;
    use crate::test_warning_counter::WarningCounter;

    #[test]
    fn missing_isolation_is_one_warning_until_suspects_are_isolated() {
        let (warnings, _guard) = WarningCounter::begin();
        let (mut log, queue) = (ConsumeLog::new(), ShortString::from("jobs"));
        let error = Error::new(ErrorKind::Denied, "a test");
        for _ in 0..3 {
            log.not_isolated(&queue, &error);
            log.registered(&queue, false);
        }
        assert_eq!(warnings.take(), 1);
        log.registered(&queue, true);
        log.not_isolated(&queue, &error);
        assert_eq!(warnings.take(), 1);
    }
}
