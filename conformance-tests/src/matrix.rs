//! Backends side by side.

mod html;
mod markdown;

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Entry, Report, cases};

/// The reports of several backends: cases down, backends across.
///
/// ```
/// # #[tokio::main]
/// # async fn main() {
/// use polywire_conformance::{Matrix, MemoryBackend, Suite};
///
/// let report = Suite::of(MemoryBackend).run(|case| case.id == "deadlines.deadline_travels").await;
/// let matrix = Matrix::new(vec![report]);
/// assert!(matrix.to_markdown().contains("| `deadlines.deadline_travels` ● | ✓ |"));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix {
    reports: Vec<Report>,
}

impl Matrix {
    /// The matrix of these reports, in their order.
    #[must_use]
    pub fn new(reports: Vec<Report>) -> Self {
        Self { reports }
    }

    /// The matrix of the reports that test binaries wrote into a folder, by name; see [`main`](crate::main).
    ///
    /// # Errors
    ///
    /// If the folder or a report in it cannot be read.
    pub fn read(folder: impl AsRef<Path>) -> io::Result<Self> {
        let files = std::fs::read_dir(folder)?.map(|file| Ok(file?.path()));
        let mut files = files.collect::<io::Result<Vec<_>>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        files.iter().map(Report::read).collect::<io::Result<_>>().map(Self::new)
    }

    /// The reports.
    #[must_use]
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// As JSON: everything, with times and notes.
    ///
    /// # Errors
    ///
    /// None that is known: reports hold nothing that JSON does not.
    pub fn to_json(&self) -> io::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// As a table in Markdown. It holds nothing that differs from run to run, so that it can be kept and compared.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        markdown::table(self)
    }

    /// As a page of its own, with what failed and what was noted.
    #[must_use]
    pub fn to_html(&self) -> String {
        html::page(self)
    }

    /// The cases that are in some report, in the order of the suite.
    fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        cases::ALL.iter().filter_map(|case| {
            let cells: Vec<_> = self.reports.iter().map(|report| report.entry(case.id)).collect();
            let first = *cells.iter().flatten().next()?;
            Some(Row { first, cells })
        })
    }
}

/// One case on all backends.
struct Row<'a> {
    /// What is the same in all of them.
    first: &'a Entry,
    /// By backend; none where the case was not asked for.
    cells: Vec<Option<&'a Entry>>,
}
