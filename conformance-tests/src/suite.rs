//! The suite for one backend: runs cases, each in a space of its own.

use std::fmt;
use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use crate::backend::Backend;
use crate::case::Case;
use crate::cases;
use crate::context::TestContext;
use crate::context::any_space::AnySpace;
use crate::progress::CaseProgress;
use crate::report::{Entry, Report};
use crate::verdict::{Failure, Verdict};

/// The suite for one backend. Clones share the backend.
///
/// Holds no space and no connection: each case opens its own and drops them at its end.
#[derive(Clone)]
pub struct Suite {
    name: String,
    make_space: MakeSpace,
}

/// Makes a space, with its type erased.
///
/// A suite is one type for all backends, so that a test binary can hold several.
type MakeSpace =
    Arc<dyn Fn() -> BoxFuture<'static, polywire_core::Result<Arc<dyn AnySpace>>> + Send + Sync>;

/// The longest time that a case may take: a hang is a failure with a name.
///
/// Making the space has the same bound of its own, and so has healing the space.
const CASE_MAX: Duration = Duration::from_mins(5);

impl Suite {
    /// The suite for this backend.
    ///
    /// The backend makes a space for each case that runs.
    pub fn of<B: Backend>(backend: B) -> Self {
        let name = backend.name();
        let backend = Arc::new(backend);
        let make_space: MakeSpace = Arc::new(move || {
            let backend = backend.clone();
            Box::pin(async move { Ok(Arc::new(backend.space().await?) as Arc<dyn AnySpace>) })
        });
        Self { name, make_space }
    }

    /// The name of the backend.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs the cases that `wanted` picks, one after the other.
    ///
    /// Dropping the future abandons the case that runs. Its disturbances may last then.
    ///
    /// The report has the cases in the order of the suite. A case that fails ends no other case.
    pub async fn run(&self, wanted: impl Fn(&Case) -> bool) -> Report {
        self.run_from(0, wanted).await
    }

    /// Runs the cases that `wanted` picks in `rounds` concurrent rounds, as tasks of the runtime.
    /// Returns a report for each round.
    ///
    /// Dropping the future aborts all rounds.
    ///
    /// Each round runs its cases one after the other, from another case on. Notes are kept, and
    /// nothing is printed.
    pub async fn stress(
        &self,
        rounds: usize,
        wanted: impl Fn(&Case) -> bool + Clone + Send + Sync + 'static,
    ) -> Vec<Report> {
        let mut running = JoinSet::new();
        for round in 0..rounds {
            let (suite, wanted) = (self.clone(), wanted.clone());
            // Each round starts at a different case, so that different cases run concurrently.
            let first = round * cases::ALL.len() / rounds;
            running.spawn(async move { suite.run_from(first, wanted).await });
        }
        running.join_all().await
    }

    /// Runs the cases from the one at this index on, then those before it.
    ///
    /// Panics if `first` is beyond the number of cases.
    async fn run_from(&self, first: usize, wanted: impl Fn(&Case) -> bool) -> Report {
        let (before, after) = cases::ALL.split_at(first);
        let mut entries = Vec::new();
        for case in after.iter().chain(before).filter(|case| wanted(case)) {
            entries.push(self.run_case(case).await);
        }
        Report::new(&self.name, entries)
    }

    /// Runs one case in a space of its own, and heals the space afterwards.
    ///
    /// A case that panics or takes longer than five minutes has failed, and so has one whose space
    /// cannot be made or healed within five minutes each.
    ///
    /// The duration of the entry includes making and healing the space.
    pub async fn run_case(&self, case: &Case) -> Entry {
        let start = Instant::now();
        let making =
            async { (self.make_space)().await.map_err(|error| Failure::new(format!("{error:?}"))) };
        let (verdict, notes) = match within_case_max(&CaseProgress::default(), making).await {
            Ok(space) => perform(case, TestContext::within(space)).await,
            Err(failure) => {
                (Err(Failure::new(format!("cannot make a space: {failure}"))), Vec::new())
            }
        };
        Entry::new(case, verdict, notes, start.elapsed())
    }

    /// Runs the case with this id as a plain test does. A case that was not run is reported on the
    /// standard output.
    ///
    /// # Panics
    ///
    /// If the case fails, or no case has this id.
    pub async fn assert(&self, id: &str) {
        let report = self.run(|case| case.id == id).await;
        assert!(!report.entries.is_empty(), "there is no case {id}");
        assert!(report.failures().next().is_none(), "{report}");
        for (case, missing) in report.not_run() {
            // Written past the capture of tests, which hides the output of those that pass.
            let _ = writeln!(io::stdout(), "not run: {}::{case}: {missing}", self.name);
        }
    }
}

/// Runs a case and heals its space, because other cases may share the broker that it killed.
///
/// Healing decides only after a case that passed: a failure to heal does not hide the failure of a
/// case. The notes are those of both.
async fn perform(case: &Case, context: TestContext) -> (Verdict, Vec<String>) {
    let progress = CaseProgress::default();
    let running = AssertUnwindSafe(progress.scope((case.run)(context.clone()))).catch_unwind();
    // Cases do not panic; a backend may.
    let running = running.map(|ended| ended.unwrap_or_else(|_| Err(Failure::new("it panicked"))));
    let verdict = within_case_max(&progress, running).await;
    let healed = within_case_max(&progress, context.heal()).await;
    (verdict.and(healed), context.take_notes())
}

/// Awaits a case, or the making or healing of its space, for up to [`CASE_MAX`]. The failure says
/// how far it had come.
async fn within_case_max<T>(
    progress: &CaseProgress,
    running: impl Future<Output = Verdict<T>>,
) -> Verdict<T> {
    let ended = tokio::time::timeout(CASE_MAX, running).await;
    ended.unwrap_or_else(|_| {
        let so_far = progress.explain();
        Err(Failure::new(format!("did not end within {CASE_MAX:?}{so_far}")))
    })
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suite").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::MemorySpace;
    use crate::report::CaseOutcome;

    /// A backend whose spaces are never complete.
    struct Hanging;

    impl Backend for Hanging {
        type Space = MemorySpace;

        fn name(&self) -> String {
            "hanging".to_owned()
        }

        async fn space(&self) -> polywire_core::Result<MemorySpace> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn space_that_is_never_made_fails_its_case() {
        let entry = Suite::of(Hanging).run_case(&cases::ALL[0]).await;
        let failure = "cannot make a space: did not end within 300s; nothing had arrived";
        assert_eq!(entry.outcome, CaseOutcome::Failed(failure.to_owned()));
    }
}
