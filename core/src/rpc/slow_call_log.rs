//! The task that warns of calls that wait long for their replies. It samples the table of in-flight
//! calls at an interval, so a call pays for its entry in the table alone.

use std::collections::VecDeque;
use std::sync::Weak;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::pending_calls::{OldCalls, PendingCalls};
use crate::health::HealthReader;
use crate::message::{Address, CallId};
use crate::transport::LogThrottle;

/// The default time after which a call is slow.
pub(super) const SLOW_AFTER: Duration = Duration::from_secs(5);

/// The table is sampled this often within the time after which a call is slow.
const SAMPLES: u32 = 5;

/// Samples that are kept. A call that is older than all of them is reported with the age of the
/// oldest sample.
const SAMPLES_MAX: usize = 64;

/// Warns while calls wait longer than `after`, until the table is dropped.
///
/// The first line comes when a call has waited that long and a fifth of it at most. While calls
/// still wait, a line follows each [`LogThrottle::PAUSE`]. When none does and replies have come
/// since, one line says so: calls that have expired are no recovery.
///
/// While the transport is not connected, the lines name the connection and not the service.
pub(super) async fn log_slow_calls(
    pending: Weak<PendingCalls>,
    service: Address,
    after: Duration,
    health: HealthReader,
) {
    let mut ticks = interval((after / SAMPLES).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut samples, throttle) = (Samples::default(), LogThrottle::new());
    // The time since when calls are slow, if a line has said so, and the replies by the last line.
    let (mut slow_since, mut completed) = (None, 0);
    loop {
        ticks.tick().await;
        let Some(pending) = pending.upgrade() else { return };
        let now = Instant::now();
        samples.add(now, pending.latest());
        let slow = samples.at(now, after).and_then(|last| pending.oldest(last));
        match slow {
            Some(OldCalls { oldest, method, count: waiting }) => {
                if throttle.note().is_some() {
                    let oldest_s = samples.age(now, oldest).as_secs();
                    let method = method.as_ref().map_or("-", Address::as_str);
                    let connection = health.current().connection;
                    if connection.is_troubled() {
                        tracing::warn!(%service, method, waiting, oldest_s, %connection, "calls wait for the connection");
                    } else {
                        tracing::warn!(%service, method, waiting, oldest_s, "calls wait for replies");
                    }
                    completed = pending.completed();
                    slow_since.get_or_insert(now);
                }
            }
            None => {
                let has_replies = pending.completed() > completed;
                if let Some(since) = slow_since.take_if(|_| has_replies) {
                    let slow_s = now.duration_since(since).as_secs();
                    tracing::info!(%service, slow_s, "no call waits long any more");
                }
            }
        }
    }
}

/// The numbers of the latest calls at several moments, the oldest first.
#[derive(Default)]
struct Samples(VecDeque<(Instant, CallId)>);

impl Samples {
    fn add(&mut self, now: Instant, latest: CallId) {
        if self.0.len() == SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((now, latest));
    }

    /// Returns the latest call that was sent at least `age` ago.
    fn at(&self, now: Instant, age: Duration) -> Option<CallId> {
        let sample = self.0.iter().rev().find(|(at, _)| now.duration_since(*at) >= age);
        sample.map(|(_, latest)| *latest)
    }

    /// Returns the age of a call, at least.
    fn age(&self, now: Instant, call: CallId) -> Duration {
        let sample = self.0.iter().find(|(_, latest)| latest.0 >= call.0);
        sample.map_or(Duration::ZERO, |(at, _)| now.duration_since(*at))
    }
}
