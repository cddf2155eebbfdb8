//! The counts of test programs, and the tests that could not run.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};

/// The outcome of a test program.
pub(crate) struct Outcome {
    name: String,
    took: Duration,
    is_ok: bool,
    counts: Counts,
    /// Lines `not run: NAME: REASON`.
    not_run: Vec<String>,
    text: String,
}

/// Tests by their outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    ignored: usize,
}

impl Outcome {
    /// Reads the counts from the output of a program.
    ///
    /// A program may print several results, as `cargo test --doc` does for each crate; their counts
    /// are added up. Equal lines about tests that were not run count once.
    pub(crate) fn new(name: &str, took: Duration, is_ok: bool, text: String) -> Self {
        let counts = text.lines().filter_map(Counts::parse).fold(Counts::default(), Counts::plus);
        let mut not_run: Vec<_> =
            text.lines().filter_map(|line| not_run(line.trim())).map(str::to_owned).collect();
        not_run.sort();
        not_run.dedup();
        Self { name: name.to_owned(), took, is_ok, counts, not_run, text }
    }
}

impl Counts {
    /// Parses a line such as `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
    ///
    /// Returns `None` for any other line.
    fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
        let count = |name: &str| {
            let mut parts = counts.split("; ").filter_map(|part| part.split_once(' '));
            parts.find(|(_, it)| *it == name).and_then(|(count, _)| count.parse().ok())
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            ignored: count("ignored")?,
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
        }
    }
}

/// A test writes the line itself; a harness may write the name of the test before it.
///
/// Returns `NAME: REASON`, or `None` for a line without a name of one word and a reason.
fn not_run(line: &str) -> Option<&str> {
    line.find("not run: ").map(|at| &line[at + "not run: ".len()..]).filter(|text| {
        let name = text.split(": ").next().unwrap_or_default();
        text.contains(": ") && !name.is_empty() && !name.contains(' ')
    })
}

impl fmt::Display for Outcome {
    /// One line; the whole output of a program that failed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_ok { "ok" } else { "FAILED" };
        write!(
            f,
            "{:6.1} s  {verdict:6}  {}: {}",
            self.took.as_secs_f64(),
            self.name,
            self.counts
        )?;
        if self.is_ok { Ok(()) } else { write!(f, "\n{}", self.text) }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { passed, failed, ignored } = self;
        write!(f, "{passed} passed, {failed} failed, {ignored} ignored")
    }
}

/// The outcomes of all test programs.
pub(crate) struct Summary(Vec<Outcome>);

impl Summary {
    /// Creates the summary of a run.
    pub(crate) fn new(outcomes: Vec<Outcome>) -> Self {
        Self(outcomes)
    }

    /// Fails if a test program failed, and names those that did.
    pub(crate) fn check(&self) -> Result<()> {
        let failed: Vec<_> =
            self.0.iter().filter(|it| !it.is_ok).map(|it| it.name.as_str()).collect();
        if failed.is_empty() {
            return Ok(());
        }
        bail!(
            "tests failed in {}; their output is above, and in target/test-output",
            failed.join(", ")
        )
    }
}

/// The counts of all programs, then a line for each test that was not run.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.0.iter().map(|it| it.counts).fold(Counts::default(), Counts::plus);
        write!(f, "{} test programs: {counts}", self.0.len())?;
        for outcome in &self.0 {
            for not_run in &outcome.not_run {
                write!(f, "\nnot run: {}: {not_run}", outcome.name)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 2 tests
test a ... ok
test b ... ok
---- a stdout ----
not run: pyzmq: python3 has no module zmq
case x: not run: memory::y: no requeue
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s
test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out
";

    #[test]
    fn counts_are_added_up_and_tests_that_could_not_run_are_listed() {
        let outcome = Outcome::new("it", Duration::from_secs(1), true, OUTPUT.to_owned());
        assert_eq!(outcome.counts, Counts { passed: 5, failed: 4, ignored: 1 });
        assert_eq!(outcome.not_run, ["memory::y: no requeue", "pyzmq: python3 has no module zmq"]);
        let summary = Summary::new(vec![outcome]);
        summary.check().unwrap();
        assert!(summary.to_string().contains("\nnot run: it: pyzmq: python3"), "{summary}");
    }

    #[test]
    fn failed_program_is_named() {
        let failed = Outcome::new("core/it", Duration::ZERO, false, "boom".into());
        assert!(failed.to_string().ends_with("\nboom"), "{failed}");
        let error = Summary::new(vec![failed]).check().unwrap_err();
        assert!(error.to_string().contains("failed in core/it"), "{error}");
    }
}
