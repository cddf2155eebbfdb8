//! Log lines of failed attempts to start.

use std::time::Duration;

use polywire_core::Error;
use tokio::time::Instant;

/// Interval of the warnings while the start waits.
const WARN_INTERVAL: Duration = Duration::from_secs(30);

/// Log lines of failed attempts.
#[derive(Default)]
pub(crate) struct AttemptLog {
    attempts: u64,
    /// The time of the last warning.
    warned: Option<Instant>,
}

impl AttemptLog {
    /// Logs a failed attempt: a warning for the first one and every 30 seconds, debug otherwise.
    pub(crate) fn failed(&mut self, service: &str, error: &Error, pause: Duration) {
        self.attempts += 1;
        let (attempts, pause_ms) = (self.attempts, pause.as_millis());
        if self.warned.is_some_and(|warned| warned.elapsed() < WARN_INTERVAL) {
            return tracing::debug!(service, ?error, attempts, pause_ms, "cannot start yet");
        }
        self.warned = Some(Instant::now());
        tracing::warn!(service, ?error, attempts, pause_ms, "cannot start yet");
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::ErrorKind;
    use tokio::time::advance;

    use super::*;
    use crate::recorded_log::RecordedLog;

    #[tokio::test(start_paused = true)]
    async fn one_warning_in_thirty_seconds() {
        let (log, _guard) = RecordedLog::begin();
        let mut attempts = AttemptLog::default();
        let error = Error::new(ErrorKind::Disconnected, "no broker listens");
        let mut lines_of = |failures: usize| {
            (0..failures).for_each(|_| attempts.failed("shop", &error, Duration::from_secs(5)));
            log.take()
        };
        let (warning, detail) = ("WARN cannot start yet", "DEBUG cannot start yet");
        assert_eq!(lines_of(3), [warning, detail, detail]);
        advance(WARN_INTERVAL - Duration::from_millis(1)).await;
        assert_eq!(lines_of(2), [detail, detail]);
        advance(Duration::from_millis(1)).await;
        assert_eq!(lines_of(2), [warning, detail]);
    }
}
