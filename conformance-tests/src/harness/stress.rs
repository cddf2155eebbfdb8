//! The suite many times at once.

use std::time::Instant;

use libtest_mimic::Arguments;
use tokio::runtime::Runtime;

use crate::{Case, Outcome, Report, Suite};

/// How many rounds are asked for, if any; 0 if it is not said in a number.
pub(super) fn rounds() -> Option<usize> {
    Some(std::env::var("POLYWIRE_CONFORMANCE_STRESS").ok()?.parse().unwrap_or_default())
}

/// Runs the suites, each in all rounds at once, and prints how many cases ran.
pub(super) fn passes(suites: &[Suite], rounds: usize, arguments: &Arguments) -> bool {
    if rounds == 0 {
        // Else nothing would run, and pass.
        eprintln!("POLYWIRE_CONFORMANCE_STRESS is no number of rounds");
        return false;
    }
    let runtime = Runtime::new().inspect_err(|error| eprintln!("there is no runtime: {error}"));
    let Ok(runtime) = runtime else { return false };
    let mut passed = true;
    for suite in suites {
        let start = Instant::now();
        let wanted = Wanted::new(suite.name(), arguments);
        let reports = runtime.block_on(suite.stress(rounds, move |case| wanted.picks(case)));
        println!("{} in {:.1} s", tell(suite.name(), &reports), start.elapsed().as_secs_f64());
        passed &= reports.iter().all(|report| report.failures().next().is_none());
    }
    passed
}

/// The filters of the command line.
#[derive(Clone)]
struct Wanted {
    backend: String,
    filter: Option<String>,
    skip: Vec<String>,
}

impl Wanted {
    fn new(backend: &str, arguments: &Arguments) -> Self {
        let (filter, skip) = (arguments.filter.clone(), arguments.skip.clone());
        Self { backend: backend.to_owned(), filter, skip }
    }

    fn picks(&self, case: &Case) -> bool {
        let name = format!("{}::{}", self.backend, case.id);
        self.filter.as_ref().is_none_or(|filter| name.contains(filter))
            && !self.skip.iter().any(|skip| name.contains(skip))
    }
}

/// What failed, a line each, and the sum.
fn tell(backend: &str, reports: &[Report]) -> String {
    let (mut passed, mut not_run, mut failed) = (0, 0, 0);
    for entry in reports.iter().flat_map(|report| &report.entries) {
        match &entry.outcome {
            Outcome::Passed => passed += 1,
            Outcome::NotRun(_) => not_run += 1,
            Outcome::Failed(sentence) => {
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
