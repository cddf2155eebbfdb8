//! Log lines about the states of one connection.

use std::time::Duration;

use polywire_core::Error;
use polywire_core::transport::LogThrottle;
use tokio::time::Instant;

use crate::connection_events::ConnectionRole;

/// Log of one connection: lost and restored, blocked and unblocked.
///
/// The begin of a state is throttled, since a connection may flap. Its end is logged if its begin
/// was. A state that lasts is logged every 30 seconds.
pub(super) struct ConnectionLog {
    role: ConnectionRole,
    losses: LogThrottle,
    alarms: LogThrottle,
    outage: Option<LoggedState>,
    alarm: Option<LoggedState>,
}

/// A state that goes on: an outage, or an alarm of the broker.
struct LoggedState {
    since: Instant,
    /// The time of the last line, or of the begin.
    warned: Instant,
    /// Failed attempts to reconnect so far.
    attempts: u64,
    /// Set once a line about the state is written.
    is_logged: bool,
}

/// Interval of the warnings during an outage or an alarm.
const WARN_INTERVAL: Duration = Duration::from_secs(30);

impl ConnectionLog {
    /// Creates the log of an established connection.
    pub(super) fn new(role: ConnectionRole) -> Self {
        let (losses, alarms) = (LogThrottle::new(), LogThrottle::new());
        Self { role, losses, alarms, outage: None, alarm: None }
    }

    /// Logs a lost connection.
    pub(super) fn lost(&mut self, error: &Error) {
        let (role, count) = (self.role, self.losses.note());
        match count {
            Some(count) => tracing::warn!(%role, ?error, count, "the connection was lost"),
            None => tracing::debug!(%role, ?error, "the connection was lost"),
        }
        self.outage = Some(LoggedState::begin(count.is_some()));
    }

    /// Logs a failed attempt to reconnect: a warning every 30 seconds, debug otherwise.
    pub(super) fn attempt_failed(&mut self, error: &Error) {
        let role = self.role;
        let Some(outage) = &mut self.outage else { return };
        outage.attempts += 1;
        if !outage.is_line_due() {
            return tracing::debug!(%role, ?error, "cannot reconnect yet");
        }
        let (outage_s, attempts) = (outage.seconds(), outage.attempts);
        tracing::warn!(%role, outage_s, attempts, ?error, "still not connected");
    }

    /// Logs the first refusal of the broker, which is tried again for this time.
    pub(super) fn refused(&mut self, error: &Error, give_up_after: Duration) {
        let (role, give_up_after_s) = (self.role, give_up_after.as_secs());
        if let Some(outage) = &mut self.outage {
            outage.attempts += 1;
            outage.is_logged = true;
        }
        tracing::error!(%role, ?error, give_up_after_s, "the broker refused the connection; retrying");
    }

    /// Logs that the connection is established again.
    pub(super) fn restored(&mut self, host: &str, port: u16) {
        let Some(outage) = self.outage.take() else { return };
        let (role, outage_s) = (self.role, outage.seconds());
        match outage.is_logged {
            true => tracing::info!(%role, host, port, outage_s, "reconnected"),
            false => tracing::debug!(%role, host, port, outage_s, "reconnected"),
        }
    }

    /// Logs that the broker accepts no messages, for this reason.
    pub(super) fn blocked(&mut self, reason: &str) {
        if self.alarm.is_some() {
            return;
        }
        let (role, count) = (self.role, self.alarms.note());
        if let Some(count) = count {
            tracing::warn!(%role, reason, count, "the broker has stopped accepting messages");
        }
        self.alarm = Some(LoggedState::begin(count.is_some()));
    }

    /// Logs a warning every 30 seconds while the broker accepts no messages.
    pub(super) fn check_alarm(&mut self) {
        let role = self.role;
        let Some(alarm) = &mut self.alarm else { return };
        if alarm.is_line_due() {
            let blocked_s = alarm.seconds();
            tracing::warn!(%role, blocked_s, "the broker still accepts no messages");
        }
    }

    /// Logs that the broker accepts messages again.
    pub(super) fn unblocked(&mut self) {
        let role = self.role;
        if self.alarm.take().is_some_and(|alarm| alarm.is_logged) {
            tracing::info!(%role, "the broker accepts messages again");
        }
    }
}

impl LoggedState {
    fn begin(is_logged: bool) -> Self {
        let now = Instant::now();
        Self { since: now, warned: now, attempts: 0, is_logged }
    }

    /// Returns the length of the state so far.
    fn seconds(&self) -> u64 {
        self.since.elapsed().as_secs()
    }

    /// Returns whether the state has lasted for another interval, and notes the line about it.
    fn is_line_due(&mut self) -> bool {
        if self.warned.elapsed() < WARN_INTERVAL {
            return false;
        }
        (self.warned, self.is_logged) = (Instant::now(), true);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{self, Write};
    use std::sync::{Arc, Mutex};

    use polywire_core::ErrorKind;
    use tracing::field::{Field, Visit};
    use tracing::{Event, Level, Subscriber};
    use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

    use super::*;

    /// The lines at `info` or above: their message, and their count if they have one.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            if *event.metadata().level() <= Level::INFO {
                let mut line = Line::default();
                event.record(&mut line);
                self.0.lock().unwrap().push(line.0);
            }
        }
    }

    #[derive(Default)]
    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            match field.name() {
                "message" => self.0.insert_str(0, &format!("{value:?}")),
                "count" => drop(write!(self.0, " {value:?}")),
                _ => {}
            }
        }
    }

    impl Lines {
        fn take(&self) -> Vec<String> {
            std::mem::take(&mut *self.0.lock().unwrap())
        }
    }

    fn log() -> (ConnectionLog, Lines, tracing::subscriber::DefaultGuard) {
        let lines = Lines::default();
        let subscriber = tracing_subscriber::registry().with(lines.clone());
        let guard = tracing::subscriber::set_default(subscriber);
        (ConnectionLog::new(ConnectionRole::Publishing), lines, guard)
    }

    #[tokio::test(start_paused = true)]
    async fn flapping_connection_is_a_line_with_a_count() {
        let (mut log, lines, _guard) = log();
        let error = Error::new(ErrorKind::Disconnected, "gone");
        for _ in 0..20 {
            log.lost(&error);
            log.restored("rabbit", 5672);
        }
        assert_eq!(lines.take(), ["the connection was lost 1", "reconnected"]);
        tokio::time::advance(LogThrottle::PAUSE).await;
        log.lost(&error);
        assert_eq!(lines.take(), ["the connection was lost 20"]);
        log.restored("rabbit", 5672);
        // This loss has no line, and its outage has one after 30 seconds.
        log.lost(&error);
        tokio::time::advance(WARN_INTERVAL).await;
        log.attempt_failed(&error);
        log.restored("rabbit", 5672);
        assert_eq!(lines.take(), ["reconnected", "still not connected", "reconnected"]);
    }

    #[tokio::test(start_paused = true)]
    async fn alarm_that_comes_and_goes_is_a_line_with_a_count() {
        let (mut log, lines, _guard) = log();
        for _ in 0..20 {
            log.blocked("memory");
            log.check_alarm();
            log.unblocked();
        }
        let (blocked, unblocked) =
            ("the broker has stopped accepting messages", "the broker accepts messages again");
        assert_eq!(lines.take(), [format!("{blocked} 1"), unblocked.to_owned()]);
        log.blocked("memory");
        tokio::time::advance(WARN_INTERVAL).await;
        log.check_alarm();
        log.unblocked();
        assert_eq!(lines.take(), ["the broker still accepts no messages", unblocked]);
        log.blocked("memory");
        assert_eq!(lines.take(), [format!("{blocked} 21")]);
    }
}
