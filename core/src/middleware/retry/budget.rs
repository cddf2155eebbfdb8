//! How many repeats there may be, of everybody together.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// Bounds repeats to a share of the requests of the last ten seconds, as finagle does: with 20
/// percent, a hundred requests pay for twenty repeats, whoever they belong to. A reserve lets those
/// repeat who call seldom.
///
/// Clones are the same budget.
///
/// ```
/// use polywire_core::middleware::Budget;
///
/// let budget = Budget::new(20, 0);
/// assert!(!budget.withdraw());
/// for _ in 0..5 {
///     budget.deposit();
/// }
/// assert!(budget.withdraw());
/// assert!(!budget.withdraw());
/// ```
#[derive(Clone, Debug)]
pub struct Budget(Arc<Mutex<Account>>);

/// What was paid in and out in each of the last seconds, in hundredths of a repeat.
#[derive(Debug)]
struct Account {
    percent: i64,
    reserve: i64,
    start: Instant,
    /// The last second that was written to, counted from the start.
    second: u64,
    slots: [i64; SLOTS],
}

const SLOTS: usize = 10;

/// What a repeat costs.
const PRICE: i64 = 100;

impl Budget {
    /// Repeats for `percent` of the requests, and `reserve` repeats a second beside.
    #[must_use]
    pub fn new(percent: u32, reserve: u32) -> Self {
        Self(Arc::new(Mutex::new(Account {
            percent: percent.into(),
            reserve: i64::from(reserve) * PRICE * SLOTS as i64,
            start: Instant::now(),
            second: 0,
            slots: [0; SLOTS],
        })))
    }

    /// Notes a request.
    pub fn deposit(&self) {
        self.with(|account, slot| {
            account.slots[slot] = account.slots[slot].saturating_add(account.percent)
        });
    }

    /// Takes out a repeat. `false` if there is none left.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        self.with(|account, slot| {
            let balance =
                account.slots.iter().fold(account.reserve, |sum, slot| sum.saturating_add(*slot));
            let covered = balance >= PRICE;
            if covered {
                account.slots[slot] -= PRICE;
            }
            covered
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Account, usize) -> T) -> T {
        // Nothing panics while it holds the lock.
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = account.turn_to(Instant::now());
        act(&mut account, slot)
    }
}

impl Account {
    /// Forgets what is too old, and says which slot is today's.
    fn turn_to(&mut self, now: Instant) -> usize {
        let second = now.saturating_duration_since(self.start).as_secs();
        let passed = second.saturating_sub(self.second).min(SLOTS as u64);
        for back in 0..passed {
            self.slots[slot_of(second - back)] = 0;
        }
        self.second = second;
        slot_of(second)
    }
}

fn slot_of(second: u64) -> usize {
    (second % SLOTS as u64) as usize
}

/// A repeat for each five requests, and ten a second beside.
impl Default for Budget {
    fn default() -> Self {
        Self::new(20, 10)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn repeats(budget: &Budget) -> usize {
        (0..10_000).take_while(|_| budget.withdraw()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_pay_for_repeats_and_the_reserve_is_there_anyway() {
        let budget = Budget::new(20, 2);
        assert_eq!(repeats(&budget), 20, "two a second, for ten seconds");
        (0..100).for_each(|_| budget.deposit());
        assert_eq!(repeats(&budget), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_older_than_ten_seconds_is_forgotten() {
        let budget = Budget::new(100, 0);
        (0..7).for_each(|_| budget.deposit());
        tokio::time::advance(Duration::from_secs(9)).await;
        (0..2).for_each(|_| budget.deposit());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(repeats(&budget), 2);
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert_eq!(repeats(&budget), 0);
    }
}
