//! The matrix of cases and backends.

mod html;
mod markdown;
mod row;

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::report::Report;

/// The reports of several backends side by side: a row for each case, a column for each backend.
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

    /// Reads the reports that test binaries wrote into a folder, sorted by file name; see
    /// [`main`](crate::main).
    ///
    /// # Errors
    ///
    /// An error of the file system, or [`InvalidData`](io::ErrorKind::InvalidData) if a file with
    /// the extension `json` is no report.
    pub fn read(folder: impl AsRef<Path>) -> io::Result<Self> {
        let files = std::fs::read_dir(folder)?.map(|file| Ok(file?.path()));
        let mut files = files.collect::<io::Result<Vec<_>>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        files.iter().map(Report::read).collect::<io::Result<_>>().map(Self::new)
    }

    /// The reports, in the order of the columns.
    #[must_use]
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// Formats the matrix as JSON: everything, with durations and notes.
    ///
    /// # Errors
    ///
    /// None that is known: JSON can hold every report.
    pub fn to_json(&self) -> io::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Formats the matrix as a table in Markdown. The table holds nothing that differs from run to
    /// run, so that it can be kept and compared.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        markdown::table(&self.reports)
    }

    /// Formats the matrix as an HTML page of its own, with all failures and notes.
    #[must_use]
    pub fn to_html(&self) -> String {
        html::page(&self.reports)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cases;
    use crate::hook::Hook;
    use crate::report::Entry;
    use crate::verdict::{Failure, Missing, Verdict};

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
    fn page_shows_failures_and_has_no_script() {
        let sentence = "it said <script>alert(\"no\")</script> & more";
        let page = matrix([Ok(()), Err(Failure::new(sentence))], "5 & 6", Duration::ZERO).to_html();
        assert!(
            page.contains("it said &lt;script&gt;alert(&quot;no&quot;)&lt;/script&gt; &amp; more")
        );
        assert!(page.contains("<td class=\"passed\">✓") && page.contains("5 &amp; 6"));
        assert!(!page.contains("<script"));
    }

    #[test]
    fn page_opens_with_totals_and_a_filter() {
        let missing = Err(Failure::NotRun(Missing::Hook(Hook::Sever)));
        let page = matrix([Ok(()), missing], "", Duration::from_secs(7)).to_html();
        let (start, rest) = page.split_once("<fieldset>").unwrap();
        assert!(start.contains(&cases::edition()), "{start}");
        let one = "<td>1</td><td>0</td><td>0</td><td>1 of 1</td><td>7 s</td>";
        let other = "<td>0</td><td>0</td><td>1</td><td>0 of 1</td><td>7 s</td>";
        assert!(start.contains(one) && start.contains(other), "{start}");
        assert!(rest.contains("id=\"show-missing\""));
        assert!(rest.contains("<tr class=\"case is-missing is-minimum\">"), "{rest}");
    }

    #[test]
    fn matrix_can_be_read_back() {
        let matrix = matrix([Ok(()), Ok(())], "a note", Duration::from_millis(7));
        assert_eq!(serde_json::from_str::<Matrix>(&matrix.to_json().unwrap()).unwrap(), matrix);
    }
}
