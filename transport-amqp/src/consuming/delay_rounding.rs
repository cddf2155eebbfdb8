//! Rounding of retry delays.

use std::time::Duration;

/// Rounds a delay up, by a quarter at most. Each distinct delay needs a queue of its own; four
/// delays between a value and its double keep their number small. Returns `None` for a delay below
/// 10 ms, which is not worth a queue.
///
/// For instance, 100 ms become 112 ms, and 1,000 ms become 1,024 ms.
pub(super) fn rounded_delay(delay: Duration) -> Option<Duration> {
    let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    if ms < DELAY_MIN_MS {
        return None;
    }
    let step = (1 << ms.ilog2()) / 4;
    Some(Duration::from_millis(ms.div_ceil(step).saturating_mul(step)))
}

/// Shortest delay with a retry queue.
const DELAY_MIN_MS: u64 = 10;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn delays_are_rounded_up_by_a_quarter_at_most() {
        assert_eq!(rounded_delay(Duration::from_millis(9)), None);
        for ms in [10, 11, 100, 128, 1000, 1024, 1025, 16_000, 604_800_000] {
            let rounded = rounded_delay(Duration::from_millis(ms)).unwrap().as_millis();
            let ms = u128::from(ms);
            assert!(rounded >= ms && rounded * 4 <= ms * 5 + 4, "{ms}: {rounded}");
        }
        let distinct: BTreeSet<_> =
            (1_000..=2_000).map(|ms| rounded_delay(Duration::from_millis(ms))).collect();
        assert!(distinct.len() <= 6, "{distinct:?}");
    }
}
