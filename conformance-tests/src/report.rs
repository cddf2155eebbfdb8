//! The report of a run: one entry for each case.

use std::path::Path;
use std::time::Duration;
use std::{fmt, io};

use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::cases;
use crate::verdict::{Failure, Verdict};

/// The outcomes of a suite on one backend. It can be [written](Self::write) to a file and
/// [read](Self::read) again.
///
/// ```
/// use polywire_conformance::{MemoryBackend, Report, Suite};
///
/// # #[tokio::main]
/// # async fn main() -> std::io::Result<()> {
/// let report = Suite::of(MemoryBackend).run(|case| case.id.starts_with("calls.nested")).await;
/// assert!(
///     report
///         .entry("calls.nested_methods_are_found")
///         .is_some_and(|entry| entry.outcome.is_passed())
/// );
/// assert!(!report.is_conformant(), "most cases of the minimum set were not asked for");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The name of the backend.
    pub backend: String,
    /// One entry for each case that was asked for, in the order of the suite.
    pub entries: Vec<Entry>,
}

/// The outcome of one case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The id of the case.
    pub case: String,
    /// The requirement, in a sentence.
    pub about: String,
    /// Membership of the case in the minimum set.
    pub minimum: bool,
    /// The outcome.
    pub outcome: CaseOutcome,
    /// Lines that the case added: figures, with any outcome.
    pub notes: Vec<String>,
    /// The duration of the case, in milliseconds.
    pub took_ms: u64,
}

/// The outcome of a case, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums)]
pub enum CaseOutcome {
    /// The backend meets the requirement.
    Passed,
    /// The backend breaks the requirement: a sentence that says what was seen.
    Failed(String),
    /// The backend lacks a capability or a hook: its name.
    NotRun(String),
}

impl Report {
    /// A report of these entries, sorted into the order of the suite.
    pub(crate) fn new(backend: &str, mut entries: Vec<Entry>) -> Self {
        entries.sort_by_key(|entry| cases::ALL.iter().position(|case| case.id == entry.case));
        Self { backend: backend.to_owned(), entries }
    }

    /// Returns true if no case failed, and every case of the minimum set was run and passed.
    ///
    /// Other cases may be missing, or not run.
    #[must_use]
    pub fn is_conformant(&self) -> bool {
        let passed =
            |id| self.entries.iter().any(|entry| entry.case == id && entry.outcome.is_passed());
        let minimum = cases::ALL.iter().filter(|case| case.minimum);
        self.failures().next().is_none() && minimum.map(|case| case.id).all(passed)
    }

    /// Iterates over the cases that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| matches!(entry.outcome, CaseOutcome::Failed(_)))
    }

    /// Iterates over the cases that were not run: the id, and the missing capability or hook.
    pub fn not_run(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().filter_map(|entry| match &entry.outcome {
            CaseOutcome::NotRun(missing) => Some((&*entry.case, &**missing)),
            _ => None,
        })
    }

    /// Returns the entry of the case with this id, if it is in the report.
    #[must_use]
    pub fn entry(&self, case: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.case == case)
    }

    /// Writes the report as JSON into a folder, which is made if it is missing. The file has the
    /// name of the backend; an older one is replaced.
    ///
    /// # Errors
    ///
    /// An error of the file system, if the file cannot be written.
    pub fn write(&self, folder: impl AsRef<Path>) -> io::Result<()> {
        std::fs::create_dir_all(&folder)?;
        let path = folder.as_ref().join(format!("{}.json", self.backend));
        std::fs::write(path, serde_json::to_string_pretty(self)?)
    }

    /// Reads a report that was [written](Self::write).
    ///
    /// # Errors
    ///
    /// An error of the file system, or [`InvalidData`](io::ErrorKind::InvalidData) if the file is
    /// no report.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(serde_json::from_str(&std::fs::read_to_string(path)?)?)
    }
}

impl Entry {
    /// The entry of a case that ended with this verdict.
    pub(crate) fn new(case: &Case, verdict: Verdict, notes: Vec<String>, took: Duration) -> Self {
        Self {
            case: case.id.to_owned(),
            about: case.about.to_owned(),
            minimum: case.minimum,
            outcome: CaseOutcome::of(verdict),
            notes,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl CaseOutcome {
    /// The outcome for a verdict.
    fn of(verdict: Verdict) -> Self {
        match verdict {
            Ok(()) => Self::Passed,
            Err(Failure::Failed(sentence)) => Self::Failed(sentence),
            Err(Failure::NotRun(missing)) => Self::NotRun(missing.to_string()),
        }
    }

    /// Returns true if the backend meets the requirement.
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
            CaseOutcome::Passed => ("passed ", String::new()),
            CaseOutcome::NotRun(missing) => ("not run", format!(": {missing}")),
            CaseOutcome::Failed(sentence) => ("FAILED ", format!(": {sentence}")),
        };
        writeln!(f, "  {mark} {:>6} ms  {}{because}", self.took_ms, self.case)?;
        self.notes.iter().try_for_each(|note| writeln!(f, "{:>20} {note}", ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: impl Fn(&Case) -> CaseOutcome) -> Report {
        let entry = |case| Entry {
            outcome: outcome(case),
            ..Entry::new(case, Ok(()), Vec::new(), Duration::ZERO)
        };
        Report { backend: "any".to_owned(), entries: cases::ALL.iter().map(entry).collect() }
    }

    #[test]
    fn conformance_needs_the_minimum_set_and_no_failure() {
        let missing = || CaseOutcome::NotRun("no hook sever".to_owned());
        assert!(
            report(|case| if case.minimum { CaseOutcome::Passed } else { missing() })
                .is_conformant()
        );
        assert!(
            !report(|case| if case.id.starts_with("bodies") {
                missing()
            } else {
                CaseOutcome::Passed
            })
            .is_conformant()
        );
        let failed = || CaseOutcome::Failed("it does not".to_owned());
        assert!(
            !report(|case| if case.minimum { CaseOutcome::Passed } else { failed() })
                .is_conformant()
        );
        let mut partial = report(|_| CaseOutcome::Passed);
        partial.entries.remove(0);
        assert!(!partial.is_conformant(), "a case of the minimum set is not in it");
    }

    #[test]
    fn reports_can_be_read_back() {
        let written = report(|case| match case.minimum {
            true => CaseOutcome::Passed,
            false => CaseOutcome::Failed("it said \"no\"".to_owned()),
        });
        let folder = tempfile::tempdir().unwrap();
        written.write(&folder).unwrap();
        let read = Report::read(folder.path().join("any.json")).unwrap();
        assert_eq!(read, written);
    }
}
