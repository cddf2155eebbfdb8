//! The suite as a test binary, with the names and filters of any other.

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::Runtime;

use crate::{Case, Outcome, Suite, cases};

/// Runs the suites as a test binary: `cargo test --test conformance -- memory::calls` and the like.
///
/// A case that was not run is listed as ignored, with what is missing. Cases run one after the other, unless
/// `--test-threads` says otherwise. Ends the process.
pub fn main(suites: impl FnOnce() -> Vec<Suite>) {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let trials =
        suites().into_iter().flat_map(|suite| cases::ALL.iter().map(move |case| trial(&suite, *case)));
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn trial(suite: &Suite, case: Case) -> Trial {
    let name = format!("{}::{}", suite.name(), case.id);
    let suite = suite.clone();
    Trial::ignorable_test(name, move || {
        let entry = Runtime::new()?.block_on(suite.run_case(&case));
        match entry.outcome {
            Outcome::Passed => Ok(Completion::Completed),
            Outcome::NotRun(missing) => Ok(Completion::ignored_with(missing)),
            Outcome::Failed(sentence) => Err(Failed::from(format!("{}\n{sentence}", case.about))),
        }
    })
}
