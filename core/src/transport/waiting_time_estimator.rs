//! Estimates of the time that requests wait between their client and their server.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::message::{Deadline, Message, SentAt, system_time};

/// Estimator of the time that requests have waited on their way, for instance in a broker's queue.
///
/// A wire carries the time that is left until a deadline, since the clocks of two machines differ.
/// That time would start anew when a request arrives, however long the request has waited. So a
/// request also carries a [`SentAt`] stamp, and the backend of the server calls
/// [`shorten`](Self::shorten) when the request arrives. One estimator may serve several receivers.
/// A clock that one of them knows is not new to the others.
///
/// # Algorithm
///
/// For each clock, the estimator keeps the smallest difference between the time of this process and
/// the stamps. It stands for the difference of the two clocks, and includes the shortest transit
/// time. A request has waited for as much as its own difference exceeds the smallest one.
/// (The minimum filter of NTP, RFC 5905, section 10, works in the same way.)
///
/// - The smallest difference grows by 0.5 milliseconds a second, so that clocks may drift, and a
///   clock that was silent for long is measured anew. So while every request of another machine
///   waits, the estimate is too small by 0.5 milliseconds for each second that this lasts.
/// - The first request of a clock is taken for one that has not waited, and so is each that has
///   waited for less than all before it: a whole backlog, oldest first, that was there before the
///   estimator. If the sender runs on this machine, both have the same system time, which shows how
///   long each request has waited, also while no server was running. The system times of two
///   machines are never compared: a clock that is wrong looks like a request that has waited.
/// - A stamp from before the system time of this machine was set is not compared with it.
/// - A request never gets more time than it was sent with.
///
/// Otherwise the estimate is wrong by the shortest transit time, usually a few milliseconds,
/// independent of the system times of the machines and of changes to them: the clock of a stamp
/// begins anew when its system time jumps.
pub struct WaitingTimes {
    clocks: Mutex<Clocks>,
}

struct Clocks {
    /// The latest arrival, or the creation of the estimator.
    latest: Arrival,
    /// The system time at which its last jump was noticed. Older stamps cannot be compared with it.
    jumped_at: i128,
    /// Numbers come from the network, so the keyed hasher of the standard library is used.
    by_number: HashMap<u64, SenderClock>,
    /// The time at which a clock was last removed to make room, in milliseconds.
    removed_at: i128,
}

/// The difference between our clock and that of a sender.
struct SenderClock {
    /// The smallest difference in milliseconds, at the time of the latest request.
    smallest: i128,
    /// The time of the latest request in milliseconds.
    latest: i128,
    /// Set if the sender was taken for one of this machine, and its system time differs.
    differs: bool,
}

/// The moment at which a request arrives, in milliseconds on both clocks of this process.
#[derive(Clone, Copy)]
struct Arrival {
    /// On a clock that runs evenly since the first request.
    even: i128,
    /// By the system time.
    system: i128,
}

impl WaitingTimes {
    /// Creates an estimator that knows no clock.
    #[must_use]
    pub fn new() -> Self {
        Self::since(Arrival::now())
    }

    fn since(latest: Arrival) -> Self {
        let by_number = HashMap::new();
        Self {
            clocks: Mutex::new(Clocks { latest, jumped_at: i128::MIN, by_number, removed_at: 0 }),
        }
    }

    /// Takes the time that a request has waited off its deadline, which may then have passed.
    ///
    /// The backend calls this method when it decodes the request, with the stamp of the wire. A
    /// request without a stamp or a deadline keeps the time that it was sent with.
    pub fn shorten(&self, message: &mut Message, sent: Option<SentAt>) {
        if let (Some(deadline), Some(sent)) = (message.deadline, sent) {
            let timeout = || (!message.keep_expired).then(|| deadline.remaining());
            let waited = self.waited(sent, Arrival::now(), timeout);
            message.deadline = Some(deadline.earlier_by(waited));
        }
    }

    /// Returns a deadline without the time that its request has waited; see
    /// [`shorten`](Self::shorten).
    #[must_use]
    pub fn shortened(&self, deadline: Deadline, sent: Option<SentAt>) -> Deadline {
        let Some(sent) = sent else { return deadline };
        deadline.earlier_by(self.waited(sent, Arrival::now(), || Some(deadline.remaining())))
    }

    /// Returns the time that a request has waited. A request without a timeout may be of any age.
    /// `timeout` looks at the clock, and is asked only about a request that seems to have waited.
    fn waited(
        &self,
        sent: SentAt,
        now: Arrival,
        timeout: impl FnOnce() -> Option<Duration>,
    ) -> Duration {
        let (difference, by_system_time) =
            (now.even - i128::from(sent.ms), now.system - i128::from(sent.ms));
        let is_plausible = by_system_time > -SLACK_MS
            && (by_system_time <= 0
                || timeout().is_none_or(|timeout| milliseconds(by_system_time) < timeout));
        let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        clocks.note_jumps(now);
        let counts_as_equal = sent.is_of_this_machine() && i128::from(sent.ms) >= clocks.jumped_at;
        let Some(clock) = clocks.get(sent.clock, difference, now.even) else {
            return Duration::ZERO;
        };
        // The machine may be a copy of the other one.
        clock.differs |= counts_as_equal && !is_plausible;
        let measured = clock.measure(difference, now.even);
        let counts_as_equal = counts_as_equal && !clock.differs;
        milliseconds(if counts_as_equal { measured.max(by_system_time) } else { measured })
    }
}

impl Clocks {
    /// Notes whether the system time was set since the latest arrival.
    fn note_jumps(&mut self, now: Arrival) {
        let difference = |arrival: Arrival| arrival.system - arrival.even;
        if (difference(now) - difference(self.latest)).abs() > SLACK_MS {
            self.jumped_at = now.system;
        }
        self.latest = now;
    }

    /// Returns the clock of this number, and adds it if there is room.
    fn get(&mut self, number: u64, difference: i128, now: i128) -> Option<&mut SenderClock> {
        if self.by_number.len() >= CLOCKS_MAX && !self.by_number.contains_key(&number) {
            self.make_room(now);
            if self.by_number.len() >= CLOCKS_MAX {
                return None;
            }
        }
        let new = SenderClock { smallest: difference, latest: now, differs: false };
        Some(self.by_number.entry(number).or_insert(new))
    }

    /// Removes clocks that were silent for an hour, or else the one that was silent for longest. At
    /// most once a second, because it looks at all of them.
    fn make_room(&mut self, now: i128) {
        if now - self.removed_at < 1_000 {
            return;
        }
        self.removed_at = now;
        self.by_number.retain(|_, clock| now - clock.latest < SILENT_MS);
        if self.by_number.len() >= CLOCKS_MAX {
            let oldest = self.by_number.iter().min_by_key(|(_, clock)| clock.latest);
            if let Some(number) = oldest.map(|(number, _)| *number) {
                self.by_number.remove(&number);
            }
        }
    }
}

impl SenderClock {
    /// Notes a difference. Returns the milliseconds that its request has waited.
    fn measure(&mut self, difference: i128, now: i128) -> i128 {
        let drift = (now - self.latest).max(0) / DRIFT_PER;
        // Short pauses add up: the time of the latest request moves on by what was counted.
        self.smallest = difference.min(self.smallest + drift);
        self.latest += drift * DRIFT_PER;
        difference - self.smallest
    }
}

impl Arrival {
    fn now() -> Self {
        static START: OnceLock<Instant> = OnceLock::new();
        let even = START.get_or_init(Instant::now).elapsed();
        let ms = |time: Duration| i128::try_from(time.as_millis()).unwrap_or(i128::MAX);
        // Not zero, which stands for the time before all requests.
        Self { even: ms(even) + 1, system: ms(system_time()) }
    }
}

impl Default for WaitingTimes {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for WaitingTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingTimes").finish_non_exhaustive()
    }
}

fn milliseconds(ms: i128) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// The most clocks that are kept. Requests of further ones keep their whole time.
const CLOCKS_MAX: usize = 4096;
/// The time after which a silent clock makes room for others.
const SILENT_MS: i128 = 60 * 60 * 1_000;
/// The time in which the smallest difference grows by one millisecond: 500 parts in a million.
const DRIFT_PER: i128 = 2_000;
/// The difference of system times that count as equal.
const SLACK_MS: i128 = 100;
