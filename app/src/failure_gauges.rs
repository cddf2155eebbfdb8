//! The gauges of failed deliveries: dead letters, and deliveries that wait for their retries.

use std::collections::HashSet;
use std::convert::Infallible;
use std::time::Duration;

use polywire_core::pipeline::WaitingRetries;
use polywire_core::transport::DeadLetterSource;
use polywire_core::{DeadLetters, Error, ErrorKind, Result};
use tokio::time::{MissedTickBehavior, interval};

use crate::transport::AppTransport;

/// Interval between two counts. Each count asks the broker.
const INTERVAL: Duration = Duration::from_mins(1);

/// Records the number of dead letters of each queue from which workers receive jobs, and of each
/// group of listeners, and the number of deliveries that wait for their retries, at once and each
/// minute.
///
/// Never resolves. A source that cannot be counted has the value NaN. Its failure is logged once,
/// until a count succeeds. A transport without dead letters or delayed retries, or without counts,
/// is silent.
pub(crate) async fn record_failures(transport: &AppTransport) -> Infallible {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut dead_log, mut waiting_log) = (FailureLog::default(), FailureLog::default());
    loop {
        ticks.tick().await;
        for source in transport.dead_letter_sources() {
            let dead = record_dead(transport, &source).await;
            if let Some(error) = dead_log.note(&source, dead) {
                tracing::warn!(?error, "cannot count the dead letters");
            }
            let waiting = WaitingRetries::of(transport, source.clone()).record().await;
            if let Some(error) = waiting_log.note(&source, waiting) {
                tracing::warn!(?error, "cannot count the waiting retries");
            }
        }
    }
}

/// Records the number of dead letters of one source.
async fn record_dead(transport: &AppTransport, source: &DeadLetterSource) -> Result<u64> {
    DeadLetters::of(transport, source.clone())?.record().await
}

/// The sources whose failures are logged.
#[derive(Default)]
struct FailureLog(HashSet<DeadLetterSource>);

impl FailureLog {
    /// Notes the outcome of a count. Returns the error for the log, unless the failure of the
    /// source is logged already.
    ///
    /// A lost connection has log lines of its own, and does not end an earlier failure.
    fn note(&mut self, source: &DeadLetterSource, counted: Result<u64>) -> Option<Error> {
        match counted {
            Ok(_) => {
                self.0.remove(source);
                None
            }
            Err(error) if error.kind() == ErrorKind::Unsupported || error.is_transient() => None,
            Err(error) => self.0.insert(source.clone()).then(|| error.with_named("source", source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_of_a_queue_is_logged_once_until_a_count_succeeds() {
        let [jobs, mails] =
            ["jobs", "mails"].map(|name| DeadLetterSource::Queue(name.try_into().unwrap()));
        let mut log = FailureLog::default();
        let denied = || Err(Error::new(ErrorKind::Denied, "cannot count: no permission"));
        let lost = || Err(Error::new(ErrorKind::Disconnected, "cannot count: no connection"));
        let error = log.note(&jobs, denied()).unwrap();
        assert_eq!(error.detail("source"), Some("the queue jobs"));
        assert!(log.note(&mails, Ok(0)).is_none());
        assert!(log.note(&jobs, lost()).is_none());
        assert!(log.note(&jobs, denied()).is_none());
        assert!(log.note(&mails, denied()).is_some());
        assert!(log.note(&jobs, Ok(3)).is_none());
        assert!(log.note(&jobs, denied()).is_some());
        let unsupported = Error::new(ErrorKind::Unsupported, "no dead letters");
        assert!(log.note(&mails, Err(unsupported)).is_none());
    }
}
