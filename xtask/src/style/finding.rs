//! The outcome of a check, with the places that it found.

use std::fmt;

/// The outcome of a check.
///
/// Printed with all findings, also if they are few enough to pass.
pub(crate) struct Check {
    name: &'static str,
    /// The count of findings with its unit, on the line of the verdict.
    summary: String,
    /// A line for each place, printed below the summary.
    findings: Vec<String>,
    has_failed: bool,
}

impl Check {
    /// Creates a check that fails as soon as there is a finding.
    pub(crate) fn strict(name: &'static str, unit: &str, findings: Vec<String>) -> Self {
        let (summary, has_failed) = (format!("{} {unit}", findings.len()), !findings.is_empty());
        Self { name, summary, findings, has_failed }
    }

    /// Creates a check that allows a share of findings, in thousandths of `total`.
    ///
    /// A share that is equal to the bound passes. With a `total` of 0, any finding fails.
    pub(crate) fn share(
        name: &'static str,
        unit: &str,
        findings: Vec<String>,
        total: usize,
        per_mille_max: usize,
    ) -> Self {
        let found = findings.len();
        let has_failed = found * 1000 > total * per_mille_max;
        let percent = |part: usize, whole: usize| 100.0 * part as f64 / whole.max(1) as f64;
        let summary = format!(
            "{found} of {total} {unit}: {:.2} %, {:.1} % allowed",
            percent(found, total),
            percent(per_mille_max, 1000),
        );
        Self { name, summary, findings, has_failed }
    }

    /// Returns the name of the check.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Returns true if there are more findings than allowed.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.has_failed { "FAILED" } else { "ok" };
        write!(f, "{verdict}  {}: {}", self.name, self.summary)?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n    {finding}"))
    }
}
