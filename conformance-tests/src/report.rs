//! What became of a run.

use std::fmt;
use std::time::Duration;

use crate::{Case, Failure, Verdict};

/// The outcomes of a suite on one backend.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The name of the backend.
    pub backend: String,
    /// One entry a case, in the order of the suite.
    pub entries: Vec<Entry>,
}

/// The outcome of one case.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Entry {
    /// Which case.
    pub case: Case,
    /// How it ended.
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Whether no case failed. Cases that were not run are in the report, with what is missing.
    #[must_use]
    pub fn is_conformant(&self) -> bool {
        !self.entries.iter().any(|entry| matches!(entry.verdict, Err(Failure::Failed(_))))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.backend)?;
        for Entry { case, verdict, took } in &self.entries {
            let (mark, more) = match verdict {
                Ok(()) => ("passed ", String::new()),
                Err(Failure::NotRun(missing)) => ("not run", format!(": {missing}")),
                Err(failure) => ("FAILED ", format!(": {failure}")),
            };
            writeln!(f, "  {mark} {:>6} ms  {}{more}", took.as_millis(), case.id)?;
        }
        Ok(())
    }
}
