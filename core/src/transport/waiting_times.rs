//! Estimates of the time that requests wait between their client and their server.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxBuildHasher;
use tokio::time::Instant;

use crate::message::{Message, ProcessClock, SentAt};

/// Estimator of the time that requests have waited on their way, for instance in a broker's queue.
///
/// A wire carries the time that is left until a deadline, since the clocks of two machines differ.
/// That time would start anew when a request arrives, however long the request has waited. So a
/// request also carries a [`SentAt`] stamp, and the backend of the server calls
/// [`shorten`](Self::shorten) when the request arrives.
///
/// # Algorithm
///
/// For each sending process, the estimator keeps the smallest difference between the clock of this
/// process and the stamps. It stands for the difference of the clocks, and includes the shortest
/// transit time. A request has waited for as much as its own difference exceeds the smallest one.
/// (The minimum filter of NTP's clock filter, RFC 5905, section 10, works in the same way.)
///
/// - The smallest difference is that of the last two to four minutes, so that clocks may drift.
/// - For the first 30 seconds after the first request of a process, the clocks of the two machines
///   count as equal, so that requests which waited while no server was running are recognised.
///   A difference that would make a request older than its whole timeout proves that they are not.
/// - A request never gets more time than it was sent with.
/// - A request never expires by an estimate alone. An estimate that exceeds the timeout of a request
///   is taken for a clock that has stopped or jumped, as on a machine that was suspended: the
///   estimator forgets the process, and the request gets its whole time. The broker removes
///   requests that have really expired, and the client cancels them. A request that is
///   [kept](Message::keep_expired) after its deadline does expire by its estimate: it becomes a dead
///   letter, and nothing is lost.
///
/// On one machine, and between machines whose clocks differ by any constant time, the estimate is
/// wrong by the shortest transit time, usually a few milliseconds.
#[derive(Default)]
pub struct WaitingTimes(Mutex<HashMap<u64, SenderClock, FxBuildHasher>>);

impl WaitingTimes {
    /// Creates an estimator that knows no process.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the time that a request has waited off its deadline.
    ///
    /// The backend calls this method when it decodes the request, with the stamp of the wire. A
    /// request without a stamp or a deadline keeps the time that it was sent with.
    pub fn shorten(&self, message: &mut Message, sent: Option<SentAt>) {
        let (Some(deadline), Some(sent)) = (message.deadline, sent) else { return };
        // A message that is kept may really be older than its timeout.
        let timeout = if message.keep_expired { Duration::MAX } else { deadline.remaining() };
        let waited = self.waited(sent, ProcessClock::get().now_ms(), timeout);
        if !waited.is_zero() {
            message.deadline = Some(deadline.earlier_by(waited));
        }
    }

    /// Returns the time that a request has waited which arrives at `now_ms` and was sent with this
    /// `timeout`; less than the timeout.
    fn waited(&self, sent: SentAt, now_ms: u64, timeout: Duration) -> Duration {
        let difference = i128::from(now_ms) - i128::from(sent.ms);
        let now = Instant::now();
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clock) = senders.get_mut(&sent.sender) {
            let waited = clock.waited(difference, now);
            if waited < timeout {
                return waited;
            }
            *clock = SenderClock::new(difference, now, false);
            return Duration::ZERO;
        }
        if senders.len() >= SENDERS_MAX {
            senders.retain(|_, clock| now.duration_since(clock.period) < PERIOD);
        }
        let waited = milliseconds(difference);
        let is_plausible = difference >= 0 && waited < timeout;
        if senders.len() < SENDERS_MAX {
            senders.insert(sent.sender, SenderClock::new(difference, now, is_plausible));
        }
        if is_plausible { waited } else { Duration::ZERO }
    }
}

impl fmt::Debug for WaitingTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingTimes").finish_non_exhaustive()
    }
}

/// The differences between the clock of this process and that of one sender, in milliseconds.
struct SenderClock {
    /// The start of the current period.
    period: Instant,
    /// The smallest difference of the current period.
    smallest: i128,
    /// The smallest difference of the period before.
    smallest_before: i128,
    /// The moment until which the two clocks count as equal.
    equal_until: Option<Instant>,
}

impl SenderClock {
    fn new(difference: i128, now: Instant, is_equal: bool) -> Self {
        Self {
            period: now,
            smallest: difference,
            smallest_before: difference,
            equal_until: is_equal.then(|| now + EQUAL_FOR),
        }
    }

    /// Notes a difference. Returns the time that its request has waited.
    fn waited(&mut self, difference: i128, now: Instant) -> Duration {
        if now.duration_since(self.period) >= PERIOD {
            (self.period, self.smallest_before, self.smallest) = (now, self.smallest, difference);
        }
        self.smallest = self.smallest.min(difference);
        let mut base = self.smallest.min(self.smallest_before);
        match self.equal_until {
            Some(until) if now < until => base = base.min(0),
            Some(_) => self.equal_until = None,
            None => {}
        }
        milliseconds(difference - base)
    }
}

fn milliseconds(ms: i128) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// The most processes whose clocks are kept. Requests of further ones keep their whole time.
const SENDERS_MAX: usize = 4096;
/// The time after which the smallest difference is measured anew.
const PERIOD: Duration = Duration::from_secs(120);
/// The time for which the clock of a new sender counts as equal to ours.
const EQUAL_FOR: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Deadline;

    const HOUR: i64 = 60 * 60 * 1000;
    const TIMEOUT: Duration = Duration::from_secs(4);
    /// The time at which the tests begin, on the clock of the server.
    const START: u64 = 1_700_000_000_000;

    /// A client whose clock differs from that of the server by `ahead` milliseconds.
    struct Sender<'t> {
        times: &'t WaitingTimes,
        number: u64,
        ahead: i64,
    }

    impl Sender<'_> {
        /// Returns the estimate for a request that is sent `at` and arrives after `waiting`.
        fn request(&self, at: u64, waiting: u64) -> u64 {
            let sent =
                SentAt { sender: self.number, ms: at.checked_add_signed(self.ahead).unwrap() };
            let waited = self.times.waited(sent, at + waiting, TIMEOUT);
            u64::try_from(waited.as_millis()).unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_is_known_within_the_shortest_transit_time_whatever_the_clocks_say() {
        for ahead in [0, HOUR, -HOUR, 1_000, -1_000, 50 * 365 * 24 * HOUR, -50 * 365 * 24 * HOUR] {
            let times = WaitingTimes::new();
            let sender = Sender { times: &times, number: 1, ahead };
            // Clocks that differ by less than a timeout may count as equal at first.
            sender.request(START, 2);
            tokio::time::advance(EQUAL_FOR).await;
            for waiting in [1, 2, 40, 500, 3_000, 3_990, 2] {
                let waited = sender.request(START + 60_000, waiting);
                assert!(waited.abs_diff(waiting) <= 2, "{ahead}: {waited} instead of {waiting}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn first_requests_of_a_process_on_this_machine_have_waited() {
        let times = WaitingTimes::new();
        let sender = Sender { times: &times, number: 1, ahead: 0 };
        for waiting in [3_000, 2_900, 2_500, 1] {
            assert_eq!(sender.request(START, waiting), waiting);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clock_that_jumps_expires_no_request() {
        for jump in [HOUR, -HOUR, 5_000, -5_000] {
            let times = WaitingTimes::new();
            let before = Sender { times: &times, number: 1, ahead: 0 };
            tokio::time::advance(EQUAL_FOR).await;
            assert_eq!(before.request(START, 1), 1);
            tokio::time::advance(EQUAL_FOR).await;
            let after = Sender { ahead: jump, ..before };
            for _ in 0..3 {
                assert_eq!(after.request(START + 100, 1), 0, "{jump}");
            }
            assert!(after.request(START + 200, 3_000).abs_diff(3_000) <= 1, "{jump}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn clock_that_drifts_is_measured_anew() {
        let times = WaitingTimes::new();
        // Slower by one millisecond in ten seconds, which is 100 ppm.
        for tick in 0..2_000_u64 {
            let ahead = -i64::try_from(tick).unwrap();
            let sender = Sender { times: &times, number: 1, ahead };
            let waited = sender.request(START + tick * 10_000, 1);
            assert!(waited <= 30, "tick {tick}: {waited}");
            tokio::time::advance(Duration::from_secs(10)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn senders_are_bounded_and_idle_ones_make_room() {
        let times = WaitingTimes::new();
        let sender = |number| Sender { times: &times, number, ahead: HOUR };
        for number in 0..SENDERS_MAX as u64 + 10 {
            sender(number).request(START, 1);
        }
        assert_eq!(times.0.lock().unwrap().len(), SENDERS_MAX);
        assert_eq!(sender(SENDERS_MAX as u64 + 5).request(START, 3_000), 0, "not known");
        tokio::time::advance(PERIOD).await;
        sender(SENDERS_MAX as u64 + 5).request(START, 1);
        assert_eq!(times.0.lock().unwrap().len(), 1);
        assert_eq!(sender(SENDERS_MAX as u64 + 5).request(START, 3_000), 2_999);
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_of_a_request_becomes_earlier_and_never_later() {
        let times = WaitingTimes::new();
        let stamp = |ms: u64| SentAt { ms: SentAt::now().ms - ms, sender: 9 };
        let mut left = Vec::new();
        for waited in [0, 3_000, 0] {
            let mut message = Message::default().with_deadline(Deadline::after(TIMEOUT));
            times.shorten(&mut message, Some(stamp(waited)));
            left.push(message.deadline.unwrap().remaining_ms());
        }
        assert!(left[0] > 3_900 && left[0] <= 4_000, "{left:?}");
        assert!(left[1] > 900 && left[1] <= 1_000, "{left:?}");
        assert!(left[2] > 3_900 && left[2] <= 4_000, "{left:?}");
        let mut kept =
            Message::default().with_deadline(Deadline::after(TIMEOUT)).with_keep_expired(true);
        times.shorten(&mut kept, Some(stamp(60_000)));
        assert!(kept.deadline.unwrap().is_expired());
        let mut endless = Message::default();
        times.shorten(&mut endless, Some(stamp(5)));
        assert_eq!(endless.deadline, None);
    }
}
