//! Latencies of calls, and their quantiles.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

/// Latencies of calls, in nanoseconds, with three digits.
///
/// The histogram grows with the largest latency, and not with the number of calls.
pub(crate) struct Latencies(Histogram<u64>);

/// Digits of a latency that are kept.
///
/// A quantile is off by 0.1 % at most.
const DIGITS: u8 = 3;

/// Quantiles of the latencies of a measurement, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
}

impl Latencies {
    /// Creates an empty set of latencies.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new(DIGITS)?))
    }

    /// Adds the latency of a call.
    pub(crate) fn add(&mut self, latency: Duration) {
        // A histogram that saturates does not grow. An error is a latency beyond all bounds.
        let _ = self.0.record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds the latencies of another task.
    pub(crate) fn merge(&mut self, other: &Self) {
        // An error means that the other one has larger values than this one can hold, and this one
        // grows by itself.
        let _ = self.0.add(&other.0);
    }

    /// Returns the quantiles, or `None` without a call.
    ///
    /// A quantile is a latency that this share of the calls did not exceed.
    pub(crate) fn quantiles(&self) -> Option<Latency> {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        (!self.0.is_empty()).then(|| Latency { p50: at(0.5), p99: at(0.99), p999: at(0.999) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_of_all_tasks_count() -> Result<()> {
        let [mut all, mut slow] = [Latencies::new()?, Latencies::new()?];
        all.add(Duration::from_micros(100));
        slow.add(Duration::from_millis(5));
        all.merge(&slow);
        let Latency { p50, p999, .. } =
            all.quantiles().unwrap_or(Latency { p50: 0.0, p99: 0.0, p999: 0.0 });
        assert!(
            (99.0..=101.0).contains(&p50) && (4_950.0..=5_050.0).contains(&p999),
            "{p50} {p999}"
        );
        Ok(())
    }
}
