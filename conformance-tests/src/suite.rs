//! The list of cases, and how they are run.

use std::fmt;
use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::task::JoinSet;

use crate::stage::{AnySpace, Stage};
use crate::{Backend, Entry, Failure, Report, Verdict, cases};

/// One case: a name that stays, a sentence, and the function.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Case {
    /// The name: a group, a dot, and the outcome that is expected. It never changes its meaning.
    pub id: &'static str,
    /// What must be so, in a sentence.
    pub about: &'static str,
    /// Whether it belongs to the minimum set, without which no backend is conformant. Such a case
    /// asks for no capability and no hook.
    pub minimum: bool,
    pub(crate) run: fn(Stage) -> BoxFuture<'static, Verdict>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id)
    }
}

/// The suite, for one backend.
#[derive(Clone)]
pub struct Suite {
    name: String,
    make_space: MakeSpace,
}

type MakeSpace =
    Arc<dyn Fn() -> BoxFuture<'static, polywire_core::Result<Arc<dyn AnySpace>>> + Send + Sync>;

/// No case may take longer: a hang is a failure with a name.
const CASE_MAX: Duration = Duration::from_mins(5);

impl Suite {
    /// The suite for this backend.
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

    /// Runs those cases that `wanted` picks, one after the other.
    pub async fn run(&self, wanted: impl Fn(&Case) -> bool) -> Report {
        self.run_from(0, wanted).await
    }

    /// Runs those cases that `wanted` picks in so many rounds at once, as tasks of the runtime.
    /// Gives back a report for each round.
    pub async fn stress(
        &self,
        rounds: usize,
        wanted: impl Fn(&Case) -> bool + Clone + Send + Sync + 'static,
    ) -> Vec<Report> {
        let mut running = JoinSet::new();
        for round in 0..rounds {
            let (suite, wanted) = (self.clone(), wanted.clone());
            // Each begins elsewhere: so it is different cases that run beside each other.
            let first = round * cases::ALL.len() / rounds;
            running.spawn(async move { suite.run_from(first, wanted).await });
        }
        running.join_all().await
    }

    /// Runs the cases from this one on, then those before it.
    async fn run_from(&self, first: usize, wanted: impl Fn(&Case) -> bool) -> Report {
        let (before, after) = cases::ALL.split_at(first);
        let mut entries = Vec::new();
        for case in after.iter().chain(before).filter(|case| wanted(case)) {
            entries.push(self.run_case(case).await);
        }
        Report::new(&self.name, entries)
    }

    /// Runs one case in a space of its own.
    pub async fn run_case(&self, case: &Case) -> Entry {
        let start = Instant::now();
        let (verdict, notes) = match (self.make_space)().await {
            Ok(space) => perform(case, Stage::within(space)).await,
            Err(error) => (
                Err(Failure::new(format!("there is no space for the case: {error:?}"))),
                Vec::new(),
            ),
        };
        Entry::new(case, verdict, notes, start.elapsed())
    }

    /// Runs the case of this name as a plain test does. One that was not run says so on the
    /// standard output.
    ///
    /// # Panics
    ///
    /// If it fails, or there is no case of this name.
    pub async fn assert(&self, id: &str) {
        let report = self.run(|case| case.id == id).await;
        assert!(!report.entries.is_empty(), "there is no case {id}");
        assert!(report.failures().next().is_none(), "{report}");
        for (case, missing) in report.not_run() {
            // Past the capture of tests, in which what does not fail is silent.
            let _ = writeln!(io::stdout(), "not run: {}::{case}: {missing}", self.name);
        }
    }
}

/// Lets a case play, and leaves the stage as it was: a broker that it killed is everybody's.
async fn perform(case: &Case, stage: Stage) -> (Verdict, Vec<String>) {
    let played = AssertUnwindSafe((case.run)(stage.clone())).catch_unwind();
    // What panics is the backend: cases do not.
    let played = played.map(|played| played.unwrap_or_else(|_| Err(Failure::new("it panicked"))));
    let verdict = in_time(played).await;
    let healed = in_time(stage.heal()).await;
    (verdict.and(healed), stage.take_notes())
}

async fn in_time(ending: impl Future<Output = Verdict>) -> Verdict {
    let ended = tokio::time::timeout(CASE_MAX, ending).await;
    ended.unwrap_or_else(|_| Err(Failure::new(format!("did not end within {CASE_MAX:?}"))))
}

impl fmt::Debug for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Suite({})", self.name)
    }
}
