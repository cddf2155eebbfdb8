//! Whether requests may be answered where they are taken in.

use std::time::{Duration, Instant};

/// Decides whether the next request is begun in the intake itself, or at once in a task of its own.
///
/// Most handlers are done at once, or wait for something: begun in the intake, they cost no task and no wake-up. One
/// that computes would hold up every other request meanwhile. So the first that does sends those after it to tasks
/// of their own, and each further one sends more of them.
pub(super) struct Pace {
    /// How many requests still go to tasks of their own.
    apart: u32,
    /// How many the next slow one will send there.
    penalty: u32,
}

/// What takes longer holds up others.
const SLOW: Duration = Duration::from_micros(200);

/// The penalty grows from the one to the other.
const PENALTIES: (u32, u32) = (1 << 10, 1 << 20);

impl Pace {
    pub(super) fn new() -> Self {
        Self { apart: 0, penalty: PENALTIES.0 }
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
        if start.elapsed() > SLOW {
            self.apart = self.penalty;
            self.penalty = self.penalty.saturating_mul(2).min(PENALTIES.1);
        }
        begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_beginnings_send_ever_more_to_tasks_of_their_own() {
        let mut pace = Pace::new();
        for penalty in [1 << 10, 1 << 11] {
            assert!(pace.begin_here());
            pace.time(|| {
                let start = Instant::now();
                while start.elapsed() <= SLOW {}
            });
            assert_eq!((0..penalty).filter(|_| pace.begin_here()).count(), 0);
        }
        assert!(pace.begin_here());
    }
}
