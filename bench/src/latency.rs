//! Latencies of calls, and their distribution.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::figures::{Figures, Metric};

/// Latencies of calls, in nanoseconds, with three digits.
///
/// The histogram grows with the largest latency, and not with the number of calls.
pub(crate) struct Latencies(Histogram<u64>);

/// Digits of a latency that are kept.
///
/// A quantile is off by 0.1 % at most.
const DIGITS: u8 = 3;

/// The shares of calls at which the distribution is kept.
///
/// The list in `bench/python/harness.py` is the same: rounds are compared share by share.
const SHARES: [f64; 15] =
    [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9999, 1.0];

impl Latencies {
    /// Creates an empty set of latencies.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(Histogram::new(DIGITS)?))
    }

    /// Adds the latency of a call.
    ///
    /// Allocates only if the latency is larger than all earlier ones.
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

    /// Returns the latency in microseconds that this share of the calls did not exceed, or `None`
    /// without a call.
    pub(crate) fn within(&self, share: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.value_at_quantile(share) as f64 / 1e3)
    }

    /// Writes the quantiles and the distribution into the figures. Without a call, writes nothing.
    pub(crate) fn write(&self, figures: &mut Figures) {
        for (metric, share) in
            [(Metric::P50Us, 0.5), (Metric::P99Us, 0.99), (Metric::P999Us, 0.999)]
        {
            figures.set(metric, self.within(share).unwrap_or(f64::NAN));
        }
        let points = SHARES.into_iter().map(|share| Some((share, self.within(share)?)));
        figures.latency = points.flatten().collect();
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
        let mut figures = Figures::default();
        all.write(&mut figures);
        let [p50, p999] =
            [Metric::P50Us, Metric::P999Us].map(|metric| figures.get(metric).unwrap_or_default());
        assert!((99.0..=101.0).contains(&p50), "{p50}");
        assert!((4_950.0..=5_050.0).contains(&p999), "{p999}");
        assert_eq!(figures.latency.len(), SHARES.len());
        Ok(())
    }

    #[test]
    fn no_call_has_no_latency() -> Result<()> {
        let mut figures = Figures::default();
        Latencies::new()?.write(&mut figures);
        assert!(figures.latency.is_empty() && figures.get(Metric::P50Us).is_none());
        Ok(())
    }
}
