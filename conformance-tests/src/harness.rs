//! The suite as a test binary, with the names and filters of any other.

mod collection;
mod stress;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::Runtime;

use self::collection::Collection;
use crate::{Case, Outcome, Suite, cases};

/// Runs the suites as a test binary: `cargo test --test conformance -- memory::calls` and the like.
///
/// A case that was not run is listed as ignored, with what is missing. Cases run one after the
/// other, unless `--test-threads` says otherwise. Ends the process if a case failed.
///
/// Two variables of the environment ask for more. `POLYWIRE_CONFORMANCE_REPORTS` names a folder,
/// into which a [`Report`](crate::Report) of each backend is written. `POLYWIRE_CONFORMANCE_STRESS`
/// is a number: the whole suite runs that many times at once, on one runtime.
pub fn main(suites: impl FnOnce() -> Vec<Suite>) {
    if !passes(&suites()) {
        std::process::exit(FAILED.into());
    }
}

/// As [`main`], but returns, for a caller that has to clean up.
pub fn run(suites: impl FnOnce() -> Vec<Suite>) -> ExitCode {
    if passes(&suites()) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// What other test binaries end with.
const FAILED: u8 = 101;

fn passes(suites: &[Suite]) -> bool {
    let mut arguments = Arguments::from_args();
    if let Some(rounds) = stress::rounds() {
        return stress::passes(suites, rounds, &arguments);
    }
    arguments.test_threads.get_or_insert(1);
    let collection = Arc::new(Collection::default());
    let trials = suites.iter().flat_map(|suite| {
        cases::ALL.iter().map(|case| trial(suite.clone(), *case, collection.clone()))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let told = suites.iter().all(|suite| collection.tell(suite.name()));
    told && !conclusion.has_failed()
}

fn trial(suite: Suite, case: Case, collection: Arc<Collection>) -> Trial {
    let name = format!("{}::{}", suite.name(), case.id);
    Trial::ignorable_test(name, move || {
        let entry = Runtime::new()?.block_on(suite.run_case(&case));
        let outcome = entry.outcome.clone();
        collection.add(suite.name(), entry);
        match outcome {
            Outcome::Passed => Ok(Completion::Completed),
            Outcome::NotRun(missing) => Ok(Completion::ignored_with(missing)),
            Outcome::Failed(sentence) => Err(Failed::from(format!("{}\n{sentence}", case.about))),
        }
    })
}
