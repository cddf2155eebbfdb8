//! The whole suite many times at once, on one runtime.

use std::time::Instant;

use libtest_mimic::{Arguments, Trial};
use tokio::runtime::Runtime;

use crate::case::Case;
use crate::report::{CaseOutcome, Report};
use crate::suite::Suite;

/// Returns the number of rounds that the environment asks for, if any; 0 if it is not a number.
pub(super) fn rounds() -> Option<usize> {
    Some(std::env::var("POLYWIRE_CONFORMANCE_STRESS").ok()?.parse().unwrap_or_default())
}

/// Runs the suites, each in all rounds at once, and prints the counts. Returns true if no case
/// failed.
///
/// The suites run one after the other on one runtime, and the rounds of each run at once. A case
/// that was not run does not count as failed.
pub(super) fn passes(suites: &[Suite], rounds: usize, arguments: &Arguments) -> bool {
    if rounds == 0 {
        // Otherwise no case would run, and the run would pass.
        eprintln!("cannot run the suite: POLYWIRE_CONFORMANCE_STRESS is not a number of rounds");
        return false;
    }
    let runtime = Runtime::new().inspect_err(|error| eprintln!("cannot start a runtime: {error}"));
    let Ok(runtime) = runtime else { return false };
    let mut passed = true;
    for suite in suites {
        let start = Instant::now();
        let wanted = CaseFilter::new(suite.name(), arguments);
        let reports = runtime.block_on(suite.stress(rounds, move |case| wanted.picks(case)));
        println!("{} in {:.1} s", summarize(suite.name(), &reports), start.elapsed().as_secs_f64());
        passed &= reports.iter().all(|report| report.failures().next().is_none());
    }
    passed
}

/// The filters of the command line, for one backend.
#[derive(Clone)]
struct CaseFilter {
    /// The first part of the names of its tests.
    backend: String,
    arguments: Arguments,
}

impl CaseFilter {
    /// The filters for a backend.
    fn new(backend: &str, arguments: &Arguments) -> Self {
        Self { backend: backend.to_owned(), arguments: arguments.clone() }
    }

    /// Returns true if the filters pick the case, by its full name, as in a run of single tests.
    fn picks(&self, case: &Case) -> bool {
        let name = format!("{}::{}", self.backend, case.id);
        !self.arguments.is_filtered_out(&Trial::test(name, || Ok(())))
    }
}

/// Prints a line for each failure, and returns the counts.
fn summarize(backend: &str, reports: &[Report]) -> String {
    let (mut passed, mut not_run, mut failed) = (0, 0, 0);
    for entry in reports.iter().flat_map(|report| &report.entries) {
        match &entry.outcome {
            CaseOutcome::Passed => passed += 1,
            CaseOutcome::NotRun(_) => not_run += 1,
            CaseOutcome::Failed(sentence) => {
                failed += 1;
                println!("{backend}::{} failed: {sentence}", entry.case);
            }
        }
    }
    let rounds = reports.len();
    format!(
        "{backend}: {rounds} rounds at once: {passed} passed, {failed} failed, {not_run} not run"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;

    #[test]
    fn exact_filter_picks_the_case_of_that_name_alone() {
        let (first, last) = (cases::ALL[0].id, cases::ALL[cases::ALL.len() - 1].id);
        let picked = |exact, filter: &str, skip: &[&str]| {
            let (filter, skip) =
                (Some(filter.to_owned()), skip.iter().map(|&skip| skip.to_owned()));
            let arguments =
                Arguments { exact, filter, skip: skip.collect(), ..Arguments::default() };
            let filter = CaseFilter::new("any", &arguments);
            cases::ALL.iter().filter(|case| filter.picks(case)).count()
        };
        let (all, name) = (cases::ALL.len(), format!("any::{first}"));
        assert_eq!(picked(true, &name, &[]), 1);
        assert_eq!(picked(true, "any::", &[]), 0);
        assert_eq!(picked(true, &name, &[&name]), 0);
        assert_eq!(picked(false, "any::", &[last]), all - 1);
    }
}
