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

    /// The matrix of the reports that test binaries wrote into a folder, by name; see
    /// [`main`](crate::main).
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

    /// As a table in Markdown. It holds nothing that differs from run to run, so that it can be
    /// kept and compared.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Failure, Hook, Missing, Verdict};

    fn matrix(verdicts: [Verdict; 2], note: &str, took: Duration) -> Matrix {
        let report = |(backend, verdict): (&str, Verdict)| {
            let entry = Entry::new(&cases::ALL[0], verdict, vec![note.to_owned()], took);
            Report::new(backend, vec![entry])
        };
        Matrix::new(["one", "other"].into_iter().zip(verdicts).map(report).collect())
    }

    #[test]
    fn markdown_is_the_same_from_run_to_run() {
        let missing = || Err(Failure::NotRun(Missing::Hook(Hook::Sever)));
        let slow = matrix(
            [missing(), Err(Failure::new("7 were lost"))],
            "9 tried",
            Duration::from_secs(9),
        );
        let fast = matrix([missing(), Err(Failure::new("8 were lost"))], "5 tried", Duration::ZERO);
        let table = "| case | one | other |\n| --- | --- | --- |\n\
                     | `calls.replies_reach_their_calls` ● | no hook sever | **failed** |\n";
        assert!(slow.to_markdown().starts_with(table), "{}", slow.to_markdown());
        assert_eq!(slow.to_markdown(), fast.to_markdown());
    }

    #[test]
    fn a_page_tells_what_failed_and_runs_nothing() {
        let sentence = "it said <script>alert(\"no\")</script> & more";
        let page = matrix([Ok(()), Err(Failure::new(sentence))], "5 & 6", Duration::ZERO).to_html();
        assert!(
            page.contains("it said &lt;script&gt;alert(&quot;no&quot;)&lt;/script&gt; &amp; more")
        );
        assert!(page.contains("<td class=passed>✓") && page.contains("5 &amp; 6"));
        assert!(!page.contains("<script"));
    }

    #[test]
    fn a_matrix_can_be_read_back() {
        let matrix = matrix([Ok(()), Ok(())], "a note", Duration::from_millis(7));
        assert_eq!(serde_json::from_str::<Matrix>(&matrix.to_json().unwrap()).unwrap(), matrix);
    }
}
