//! What became of a run.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Case, Failure, Verdict, cases};

/// The outcomes of a suite on one backend. It can be written down and read back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The name of the backend.
    pub backend: String,
    /// One entry a case, in the order of the suite.
    pub entries: Vec<Entry>,
}

/// The outcome of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The name of the case.
    pub case: String,
    /// What must be so, in a sentence.
    pub about: String,
    /// Whether the case belongs to the minimum set.
    pub minimum: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// What the case tells about itself: figures, passed or not.
    pub notes: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// How a case ended, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums)]
pub enum Outcome {
    /// The backend does what it must.
    Passed,
    /// It does not: a sentence about what was seen.
    Failed(String),
    /// The backend lacks what the case is about: what is missing.
    NotRun(String),
}

impl Report {
    /// Whether no case failed, and every case of the minimum set was run and passed.
    ///
    /// Other cases that were not run are in the report, with what is missing.
    #[must_use]
    pub fn is_conformant(&self) -> bool {
        let passed = |id| self.entries.iter().any(|entry| entry.case == id && entry.outcome.is_passed());
        let minimum = cases::ALL.iter().filter(|case| case.minimum);
        self.failures().next().is_none() && minimum.map(|case| case.id).all(passed)
    }

    /// The cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| matches!(entry.outcome, Outcome::Failed(_)))
    }
}

impl Entry {
    pub(crate) fn new(case: &Case, verdict: Verdict, notes: Vec<String>, took: Duration) -> Self {
        Self {
            case: case.id.to_owned(),
            about: case.about.to_owned(),
            minimum: case.minimum,
            outcome: Outcome::of(verdict),
            notes,
            took,
        }
    }
}

impl Outcome {
    fn of(verdict: Verdict) -> Self {
        match verdict {
            Ok(()) => Self::Passed,
            Err(Failure::Failed(sentence)) => Self::Failed(sentence),
            Err(Failure::NotRun(missing)) => Self::NotRun(missing.to_string()),
        }
    }

    /// Whether the backend does what it must.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        *self == Self::Passed
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.backend)?;
        self.entries.iter().try_for_each(|entry| write!(f, "{entry}"))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mark, because) = match &self.outcome {
            Outcome::Passed => ("passed ", String::new()),
            Outcome::NotRun(missing) => ("not run", format!(": {missing}")),
            Outcome::Failed(sentence) => ("FAILED ", format!(": {sentence}")),
        };
        writeln!(f, "  {mark} {:>6} ms  {}{because}", self.took.as_millis(), self.case)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{:>20} {note}", ""))
    }
}
