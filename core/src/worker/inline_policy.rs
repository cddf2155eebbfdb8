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
    /// The moving average of the time of a first poll.
    mean: Duration,
    /// The number of deliveries that still go to tasks of their own.
    spawn_next: u32,
    /// The number of deliveries that the next slow spell sends to tasks.
    penalty: u32,
    /// The number of first polls since the last slow spell.
    polled: u32,
}

/// A mean above this delays other deliveries. A program that valgrind counts the instructions of is
/// slow in itself: there, no delivery counts as slow.
const SLOW: Duration = match option_env!("POLYWIRE_COUNTED") {
    None => Duration::from_micros(100),
    Some(_) => Duration::MAX,
};

/// The longest time of a single poll that counts.
const LONGEST: Duration = Duration::from_millis(100);

/// The weight of the latest poll in the mean: one in this many.
const WEIGHT: u32 = 64;

/// The lower and the upper bound of the penalty.
const PENALTIES: (u32, u32) = (1 << 10, 1 << 20);

impl InlinePolicy {
    /// Creates a policy that polls inline.
    pub(super) fn new() -> Self {
        Self { mean: Duration::ZERO, spawn_next: 0, penalty: PENALTIES.0, polled: 0 }
    }

    /// Returns `true` if the next delivery is polled in the receiving task.
    pub(super) fn polls_inline(&mut self) -> bool {
        let inline = self.spawn_next == 0;
        self.spawn_next = self.spawn_next.saturating_sub(1);
        inline
    }

    /// Runs a first poll, and measures its time.
    pub(super) fn time<T>(&mut self, poll: impl FnOnce() -> T) -> T {
        // The system clock and not tokio's, which tests may pause: real time delays the others.
        let start = Instant::now();
        let polled = poll();
        self.record(start.elapsed());
        polled
    }

    fn record(&mut self, took: Duration) {
        self.mean = (self.mean * (WEIGHT - 1) + took.min(LONGEST)) / WEIGHT;
        self.polled = self.polled.saturating_add(1);
        if self.mean > SLOW {
            let soon = self.polled < self.penalty;
            self.penalty =
                if soon { self.penalty.saturating_mul(2).min(PENALTIES.1) } else { PENALTIES.0 };
            (self.mean, self.spawn_next, self.polled) = (Duration::ZERO, self.penalty, 0);
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
