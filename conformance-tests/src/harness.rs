//! The suite as a test binary, with the names and filters of any other.

mod entry_collector;
mod stress;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use tokio::runtime::Runtime;

use self::entry_collector::EntryCollector;
use crate::case::Case;
use crate::cases;
use crate::report::CaseOutcome;
use crate::suite::Suite;

/// Runs the suites as a test binary: `cargo test --test conformance -- memory::calls` and the like.
///
/// A case that was not run is listed as ignored, with the missing capability or hook. Cases run one
/// after the other, unless `--test-threads` says otherwise. Exits the process with code 101 if a
/// case failed.
///
/// Three variables of the environment add to a run:
///
/// - `POLYWIRE_CONFORMANCE_REPORTS` names a folder. A [`Report`](crate::Report) of each backend is
///   written into it.
/// - `POLYWIRE_CONFORMANCE_STRESS` is a number. The whole suite runs that many times at once, on
///   one runtime.
/// - `POLYWIRE_CONFORMANCE_LONG=1` runs cases with a long form in that form, which takes minutes.
///
/// Rounds of `POLYWIRE_CONFORMANCE_STRESS` write no reports, and failures are printed with their
/// sentences.
pub fn main(suites: impl FnOnce() -> Vec<Suite>) {
    if !passes(suites) {
        std::process::exit(FAILED.into());
    }
}

/// Runs the suites as [`main`] does, but returns the exit code, for a caller that has to clean up.
pub fn run(suites: impl FnOnce() -> Vec<Suite>) -> ExitCode {
    if passes(suites) { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// The time that the tasks of a case have to end after it.
///
/// The threads of a runtime that takes longer are left to the process.
const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// The exit code of a test binary whose tests fail.
const FAILED: u8 = 101;

/// Runs the suites with the arguments of the command line. Returns true if no case failed and all
/// reports were written.
///
/// The suites are made after the arguments were read: wrong arguments start no broker.
fn passes(suites: impl FnOnce() -> Vec<Suite>) -> bool {
    let mut arguments = Arguments::from_args();
    let suites = &*suites();
    if let Some(rounds) = stress::rounds() {
        return stress::passes(suites, rounds, &arguments);
    }
    arguments.test_threads.get_or_insert(1);
    let collector = Arc::new(EntryCollector::default());
    let trials = suites.iter().flat_map(|suite| {
        cases::ALL.iter().map(|case| trial(suite.clone(), *case, collector.clone()))
    });
    let conclusion = libtest_mimic::run(&arguments, trials.collect());
    let reported = suites.iter().all(|suite| collector.report(suite.name()));
    reported && !conclusion.has_failed()
}

/// The test of one case on one backend.
///
/// Each test has a runtime of its own, with a thread for each processor. The entry is collected
/// with any outcome.
fn trial(suite: Suite, case: Case, collector: Arc<EntryCollector>) -> Trial {
    let name = format!("{}::{}", suite.name(), case.id);
    Trial::ignorable_test(name, move || {
        let runtime = Runtime::new()?;
        let entry = runtime.block_on(suite.run_case(&case));
        // Bounded: a task of an engine that never yields must not hold up the other cases.
        runtime.shutdown_timeout(SHUTDOWN_MAX);
        let outcome = entry.outcome.clone();
        collector.add(suite.name(), entry);
        match outcome {
            CaseOutcome::Passed => Ok(Completion::Completed),
            CaseOutcome::NotRun(missing) => Ok(Completion::ignored_with(missing)),
            CaseOutcome::Failed(sentence) => {
                Err(Failed::from(format!("{}\n{sentence}", case.about)))
            }
        }
    })
}
