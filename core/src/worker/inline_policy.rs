//! The decision where to poll a new delivery first: in the receiving task, or in its own task.

use std::time::{Duration, Instant};

/// A policy that polls new deliveries in the receiving task as long as their first polls are quick.
///
/// Most handlers end or wait on their first poll. Polled in the receiving task, they need no task
/// and no wake-up. A handler that computes would delay every other delivery. So when first polls
/// become slow, deliveries go to tasks of their own for a while, and for twice as long if that
/// happens again soon.
///
/// The mean of the times decides: on a busy machine any single poll may be slow because the
/// operating system paused the thread.
pub(super) struct InlinePolicy {
    /// The moving average of the time of a first poll, in nanoseconds.
    mean: u64,
    /// The number of deliveries that still go to tasks of their own.
    spawn_next: u32,
    /// The number of deliveries that the next slow spell sends to tasks.
    penalty: u32,
    /// The number of first polls since the last slow spell.
    polled: u32,
    /// The end of the last first poll, if the receiving task has not waited since.
    last_end: Option<Instant>,
    /// The number of first polls after a wait that are not measured.
    unmeasured: u32,
}

/// A mean above this many nanoseconds delays other deliveries. A program that valgrind counts the
/// instructions of is slow in itself: there, no delivery counts as slow.
const SLOW: u64 = match option_env!("POLYWIRE_COUNTED") {
    None => 100_000,
    Some(_) => u64::MAX,
};

/// The longest time of a single poll that counts, in nanoseconds.
const LONGEST: u64 = 100_000_000;

/// The weight of the latest poll in the mean: one in this many.
const WEIGHT: u64 = 64;

/// The lower and the upper bound of the penalty.
const PENALTIES: (u32, u32) = (1 << 10, 1 << 20);

impl InlinePolicy {
    /// Creates a policy that polls inline.
    pub(super) fn new() -> Self {
        Self {
            mean: 0,
            spawn_next: 0,
            penalty: PENALTIES.0,
            polled: 0,
            last_end: None,
            unmeasured: 0,
        }
    }

    /// Returns `true` if the next delivery is polled in the receiving task.
    pub(super) fn polls_inline(&mut self) -> bool {
        let inline = self.spawn_next == 0;
        self.spawn_next = self.spawn_next.saturating_sub(1);
        if !inline {
            // The next first poll does not begin at the end of the last one.
            self.last_end = None;
        }
        inline
    }

    /// Notes that the receiving task waits: other tasks may run before the next first poll.
    pub(super) fn wait(&mut self) {
        self.last_end = None;
    }

    /// Runs a first poll, and measures its time.
    ///
    /// Under load, the end of one poll is the start of the next, so that one reading of the clock
    /// is enough. While the receiving task waits between two polls, and polls are far from slow,
    /// one poll of four is measured: then few deliveries wait for it.
    pub(super) fn time<T>(&mut self, poll: impl FnOnce() -> T) -> T {
        // The system clock and not tokio's, which tests may pause: real time delays the others.
        let start = match self.last_end.take() {
            Some(last_end) => last_end,
            None if self.unmeasured > 0 => {
                self.unmeasured -= 1;
                return poll();
            }
            None => {
                self.unmeasured = if self.mean < SLOW / 8 { 3 } else { 0 };
                Instant::now()
            }
        };
        let polled = poll();
        let end = Instant::now();
        self.last_end = Some(end);
        self.record(end.duration_since(start));
        polled
    }

    fn record(&mut self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(LONGEST).min(LONGEST);
        self.mean = (self.mean * (WEIGHT - 1) + took) / WEIGHT;
        self.polled = self.polled.saturating_add(1);
        if self.mean > SLOW {
            let soon = self.polled < self.penalty;
            self.penalty =
                if soon { self.penalty.saturating_mul(2).min(PENALTIES.1) } else { PENALTIES.0 };
            (self.mean, self.spawn_next, self.polled) = (0, self.penalty, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(3);

    /// Polls deliveries that take this long until the policy sends them to tasks. Returns the
    /// number of polls, and the number of deliveries that go to tasks.
    fn slow_spell(policy: &mut InlinePolicy, took: Duration) -> (u32, u32) {
        let mut polled = 0;
        while policy.polls_inline() {
            policy.record(took);
            polled += 1;
            assert!(polled < 10_000);
        }
        let mut spawned = 1;
        while !policy.polls_inline() {
            spawned += 1;
        }
        (polled, spawned)
    }

    #[test]
    fn handlers_that_compute_go_to_tasks_for_longer_each_time() {
        let mut policy = InlinePolicy::new();
        let took = Duration::from_millis(1);
        let spells = [(); 3].map(|()| slow_spell(&mut policy, took));
        assert!(spells.iter().all(|(polled, _)| *polled < 10), "{spells:?}");
        assert_eq!(spells.map(|(_, spawned)| spawned), [1 << 11, 1 << 12, 1 << 13]);
    }

    #[test]
    fn long_computations_after_waits_are_found() {
        let mut policy = InlinePolicy::new();
        let slow = || {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(10) {}
        };
        let polled = (0..10).take_while(|_| {
            policy.wait();
            let is_inline = policy.polls_inline();
            if is_inline {
                policy.time(slow);
            }
            is_inline
        });
        assert!(polled.count() <= 4);
    }

    #[test]
    fn one_long_computation_is_enough() {
        let (polled, _) = slow_spell(&mut InlinePolicy::new(), Duration::from_millis(20));
        assert_eq!(polled, 1);
    }

    #[test]
    fn quick_handlers_on_a_busy_machine_stay_inline() {
        let mut policy = InlinePolicy::new();
        for n in 0..100_000 {
            assert!(policy.polls_inline());
            // Now and then the system pauses the thread for a slice of time.
            policy.record(if n % 500 == 0 { Duration::from_millis(4) } else { QUICK });
        }
    }
}
