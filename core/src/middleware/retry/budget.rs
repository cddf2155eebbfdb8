//! Retry budget.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// Limit on retries: a percentage of the requests of the last 10 seconds, as in finagle, plus a
/// reserve.
///
/// With 20 percent, 100 requests allow 20 retries of any request. The reserve is a number of
/// retries per second for clients that send few requests. The default is 20 percent and 10 retries
/// per second. Clones share the budget.
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

/// Deposits minus withdrawals of each of the last 10 seconds, in hundredths of a retry.
#[derive(Debug)]
struct Account {
    percent: i64,
    reserve: i64,
    start: Instant,
    /// Second of the last change, counted from the start.
    second: u64,
    slots: [i64; SLOTS],
}

const SLOTS: usize = 10;

/// Cost of a retry, in hundredths.
const COST: i64 = 100;

impl Budget {
    /// Creates a budget for `percent` of the requests and `reserve` further retries per second.
    #[must_use]
    pub fn new(percent: u32, reserve: u32) -> Self {
        Self(Arc::new(Mutex::new(Account {
            percent: percent.into(),
            reserve: i64::from(reserve) * COST * SLOTS as i64,
            start: Instant::now(),
            second: 0,
            slots: [0; SLOTS],
        })))
    }

    /// Counts a request.
    pub fn deposit(&self) {
        self.with(|account, slot| {
            account.slots[slot] = account.slots[slot].saturating_add(account.percent);
        });
    }

    /// Takes a retry from the budget. Returns `false` if none is left.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        self.with(|account, slot| {
            let balance =
                account.slots.iter().fold(account.reserve, |sum, slot| sum.saturating_add(*slot));
            let covered = balance >= COST;
            if covered {
                account.slots[slot] -= COST;
            }
            covered
        })
    }

    fn with<T>(&self, act: impl FnOnce(&mut Account, usize) -> T) -> T {
        // No code panics while it holds the lock.
        let mut account = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = account.advance_to(Instant::now());
        act(&mut account, slot)
    }
}

impl Account {
    /// Clears the slots older than 10 seconds and returns the current slot.
    fn advance_to(&mut self, now: Instant) -> usize {
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

/// 20 percent of the requests, and 10 retries per second.
impl Default for Budget {
    fn default() -> Self {
        Self::new(20, 10)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn retries(budget: &Budget) -> usize {
        (0..10_000).take_while(|_| budget.withdraw()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn requests_and_the_reserve_allow_retries() {
        let budget = Budget::new(20, 2);
        assert_eq!(retries(&budget), 20, "2 per second for 10 seconds");
        (0..100).for_each(|_| budget.deposit());
        assert_eq!(retries(&budget), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_older_than_ten_seconds_do_not_count() {
        let budget = Budget::new(100, 0);
        (0..7).for_each(|_| budget.deposit());
        tokio::time::advance(Duration::from_secs(9)).await;
        (0..2).for_each(|_| budget.deposit());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(retries(&budget), 2);
        tokio::time::advance(Duration::from_secs(1000)).await;
        assert_eq!(retries(&budget), 0);
    }
}
