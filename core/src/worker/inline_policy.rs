//! Whether requests may be answered where they are taken in.

use std::time::{Duration, Instant};

/// Decides whether the next request is begun in the intake itself, or at once in a task of its own.
///
/// Most handlers are done at once, or wait for something: begun in the intake, they cost no task
/// and no wake-up. One that computes would hold up every other request meanwhile. So when
/// beginnings take long, requests go to tasks of their own for a while, and for twice as long when
/// that happens again soon.
///
/// "Long" is a mean: on a busy machine any one beginning may take long because the thread was put
/// aside in it.
pub(super) struct InlinePolicy {
    /// The mean time of a beginning, the latest ones weighing most.
    mean: Duration,
    /// How many requests still go to tasks of their own.
    apart: u32,
    /// How many the next slow spell will send there.
    penalty: u32,
    /// How many began here since the last slow spell.
    quick: u32,
}

/// A mean above this holds up others.
const SLOW: Duration = Duration::from_micros(100);

/// A beginning that took longer counts as this.
const LONGEST: Duration = Duration::from_millis(100);

/// The weight of the latest beginning is one in so many.
const WEIGHT: u32 = 64;

/// The penalty is between the one and the other.
const PENALTIES: (u32, u32) = (1 << 10, 1 << 20);

impl InlinePolicy {
    pub(super) fn new() -> Self {
        Self { mean: Duration::ZERO, apart: 0, penalty: PENALTIES.0, quick: 0 }
    }

    /// Whether the next request is begun in the intake.
    pub(super) fn begin_here(&mut self) -> bool {
        let here = self.apart == 0;
        self.apart = self.apart.saturating_sub(1);
        here
    }

    /// Begins something here, and learns from how long that took.
    pub(super) fn time<T>(&mut self, begin: impl FnOnce() -> T) -> T {
        // The machine's clock and not tokio's: it is the machine that is held up.
        let start = Instant::now();
        let begun = begin();
        self.learn(start.elapsed());
        begun
    }

    fn learn(&mut self, took: Duration) {
        self.mean = (self.mean * (WEIGHT - 1) + took.min(LONGEST)) / WEIGHT;
        self.quick = self.quick.saturating_add(1);
        if self.mean > SLOW {
            let soon = self.quick < self.penalty;
            self.penalty =
                if soon { self.penalty.saturating_mul(2).min(PENALTIES.1) } else { PENALTIES.0 };
            (self.mean, self.apart, self.quick) = (Duration::ZERO, self.penalty, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(3);

    /// Begins requests that take this long until the pace sends them apart; how many began, and how
    /// many go apart.
    fn slow_spell(pace: &mut InlinePolicy, took: Duration) -> (u32, u32) {
        let mut begun = 0;
        while pace.begin_here() {
            pace.learn(took);
            begun += 1;
            assert!(begun < 10_000);
        }
        let mut apart = 1;
        while !pace.begin_here() {
            apart += 1;
        }
        (begun, apart)
    }

    #[test]
    fn handlers_that_compute_are_sent_apart_for_ever_longer() {
        let mut pace = InlinePolicy::new();
        let took = Duration::from_millis(1);
        let spells = [(); 3].map(|()| slow_spell(&mut pace, took));
        assert!(spells.iter().all(|(begun, _)| *begun < 10), "{spells:?}");
        assert_eq!(spells.map(|(_, apart)| apart), [1 << 11, 1 << 12, 1 << 13]);
    }

    #[test]
    fn one_long_computation_is_enough() {
        let (begun, _) = slow_spell(&mut InlinePolicy::new(), Duration::from_millis(20));
        assert_eq!(begun, 1);
    }

    #[test]
    fn quick_handlers_on_a_busy_machine_stay_here() {
        let mut pace = InlinePolicy::new();
        for n in 0..100_000 {
            assert!(pace.begin_here());
            // Now and then the thread is put aside for a slice of time.
            pace.learn(if n % 500 == 0 { Duration::from_millis(4) } else { QUICK });
        }
    }
}
