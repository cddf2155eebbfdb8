//! The memory of a process over time.

use std::fmt;

use anyhow::{Context, Result, ensure};

/// The resident memory of a process, sampled.
///
/// A value in KiB is that of `VmRSS` in `/proc`, so the scenario needs Linux.
pub(super) struct Samples {
    /// The process in reports.
    pub(super) name: &'static str,
    process: u32,
    /// One sample a second for the duration of the soak.
    kib: Vec<u64>,
}

/// Growth that is no leak: the allocator keeps freed memory, and the recorder takes 8 bytes for
/// each operation.
const SLACK_KIB: u64 = 16 << 10;

impl Samples {
    /// Creates an empty series for a process.
    pub(super) fn new(name: &'static str, process: u32) -> Self {
        Self { name, process, kib: Vec::new() }
    }

    /// Adds a sample.
    ///
    /// # Errors
    ///
    /// If the process has ended.
    pub(super) fn take(&mut self) -> Result<()> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process));
        let status = status.with_context(|| format!("cannot read the status of {}", self.name))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("the status has no resident set")?;
        self.kib.push(line.trim().trim_end_matches(" kB").parse()?);
        Ok(())
    }

    /// Checks for growth.
    ///
    /// The median may grow by a fifth and 16 MiB.
    ///
    /// # Errors
    ///
    /// If the median of the last quarter is well above that of the second, or if there are fewer
    /// than four samples.
    pub(super) fn check_flat(&self) -> Result<()> {
        let samples = self.kib.len();
        ensure!(samples >= 4, "cannot compare the memory of {}: {samples} samples", self.name);
        let (before, after) = self.medians();
        ensure!(
            after <= before + before / 5 + SLACK_KIB,
            "the memory of {} grows: {self}",
            self.name
        );
        Ok(())
    }

    /// Returns the medians of the second and the last quarter: the first one contains the start-up.
    fn medians(&self) -> (u64, u64) {
        let [_, before, _, after] = self.quarters();
        (before, after)
    }

    /// Returns the medians of the four quarters.
    ///
    /// Up to three samples at the end are left out.
    fn quarters(&self) -> [u64; 4] {
        let length = self.kib.len() / 4;
        [0, 1, 2, 3].map(|quarter| median(&self.kib[quarter * length..(quarter + 1) * length]))
    }
}

/// Returns the upper median, and 0 without samples.
fn median(samples: &[u64]) -> u64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |kib| kib as f64 / 1024.0;
        let [first, second, third, last] = self.quarters().map(mib);
        let most = self.kib.iter().max().copied().map_or(0.0, mib);
        write!(
            f,
            "{first:.1}, {second:.1}, {third:.1}, {last:.1} MiB by quarters, at most {most:.1} MiB"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(kib: impl Iterator<Item = u64>) -> Samples {
        Samples { name: "it", process: 0, kib: kib.collect() }
    }

    #[test]
    fn growth_after_the_start_is_an_error() {
        assert!(samples((0..100).map(|n| 20_000 + n)).check_flat().is_ok());
        assert!(samples((0..100).map(|n| 20_000 + n * 1_000)).check_flat().is_err());
        assert!(samples((0..100).map(|n| if n < 20 { n } else { 50_000 })).check_flat().is_ok());
    }

    #[test]
    fn too_few_samples_for_a_comparison_are_an_error() {
        assert!(samples([1, 1_000_000, 2_000_000].into_iter()).check_flat().is_err());
        assert!(samples([1, 1, 1, 1].into_iter()).check_flat().is_ok());
    }
}
