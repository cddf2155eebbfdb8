//! The readiness of programs during a trouble, asked in the background.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::turning::{Answer, Probe};
use crate::scenarios::shop::program::{Prober, Program};

/// Programs that are asked in turn for their readiness, until [`end`](Self::end), and one program
/// that is asked whether it lives: that answer is as slow as the machine is.
///
/// Dropping the watch ends it.
pub(super) struct Watch {
    asking: JoinSet<()>,
    seen: Arc<Mutex<Seen>>,
}

/// The answers of the programs that are watched.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// The number of answers that a program is ready.
    pub(super) on: usize,
    /// The names of the programs that were not ready, one for each such answer.
    pub(super) off: Vec<&'static str>,
    /// The longest time that a program took to answer that it lives.
    pub(super) slowest: Duration,
    /// The moment of the question whether the program lives, while it has no answer.
    asked: Option<Instant>,
    /// The names of the watched programs that have not answered that they are ready.
    unanswered: Vec<&'static str>,
}

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(100);
/// The time for the answer of a program that lives.
const LIVE_MAX: Duration = Duration::from_secs(30);

impl Watch {
    /// Asks `programs` for their readiness from now on, and `living` whether it lives.
    pub(super) fn begin(programs: &[&Program], living: &Program) -> Self {
        let unanswered = programs.iter().map(|program| program.name).collect();
        let seen = Arc::new(Mutex::new(Seen { unanswered, ..Seen::default() }));
        let mut asking = JoinSet::new();
        for program in programs {
            asking.spawn(ask_ready(program.prober(), seen.clone()));
        }
        asking.spawn(ask_live(living.prober(), seen.clone()));
        Self { asking, seen }
    }

    /// Ends the watch, and returns the answers so far.
    pub(super) fn end(mut self) -> Seen {
        self.asking.abort_all();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(asked) = seen.asked {
            seen.note_live(asked.elapsed());
        }
        seen
    }
}

/// Asks for the readiness until the task is aborted. A late answer, and none, say nothing about the
/// readiness.
async fn ask_ready(prober: Prober, seen: Arc<Mutex<Seen>>) {
    loop {
        let answer = Probe::Ready.ask(&prober).await;
        seen.lock().unwrap_or_else(PoisonError::into_inner).note(prober.name, answer);
        sleep(PAUSE).await;
    }
}

/// Asks a program whether it lives until the task is aborted, and notes the longest time.
async fn ask_live(prober: Prober, seen: Arc<Mutex<Seen>>) {
    loop {
        let start = Instant::now();
        seen.lock().unwrap_or_else(PoisonError::into_inner).asked = Some(start);
        // A program that does not live makes the scenario fail elsewhere.
        let _ = prober.status("/live", LIVE_MAX).await;
        seen.lock().unwrap_or_else(PoisonError::into_inner).note_live(start.elapsed());
        sleep(PAUSE).await;
    }
}

impl Seen {
    /// Checks that each program has answered, and each time that it is ready.
    ///
    /// # Errors
    ///
    /// If one has not answered, or was not ready, with the names.
    pub(super) fn check_ready(&self) -> Result<()> {
        ensure!(self.on > 0, "no program has answered whether it is ready");
        ensure!(self.off.is_empty(), "programs beside the trouble are not ready: {:?}", self.off);
        let names = &self.unanswered;
        ensure!(names.is_empty(), "programs have not answered that they are ready: {names:?}");
        Ok(())
    }

    fn note(&mut self, name: &'static str, answer: Option<Answer>) {
        match answer {
            Some(Answer::On) => {
                self.on += 1;
                self.unanswered.retain(|other| *other != name);
            }
            Some(Answer::Off) => self.off.push(name),
            Some(Answer::Silent | Answer::Gone) | None => {}
        }
    }

    fn note_live(&mut self, time: Duration) {
        self.slowest = self.slowest.max(time);
        self.asked = None;
    }
}

impl fmt::Display for Seen {
    /// Formats the number of answers with an end for what follows; nothing if there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.on, self.off.len()) {
            (0, 0) => Ok(()),
            (on, off) => write!(f, "watched: {on} answers ready and {off} not; "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_READY: &str = "programs beside the trouble are not ready: [\"orders\"]";

    #[test]
    fn answers_that_a_program_is_not_ready_are_kept_by_name() {
        let mut seen = Seen::default();
        for answer in [Answer::On, Answer::Off, Answer::Silent, Answer::Gone, Answer::On] {
            seen.note("orders", Some(answer));
        }
        seen.note("orders", None);
        assert_eq!((seen.on, &*seen.off), (2, ["orders"].as_slice()));
        assert_eq!(seen.to_string(), "watched: 2 answers ready and 1 not; ");
        assert_eq!(seen.check_ready().unwrap_err().to_string(), NOT_READY);
        assert!(Seen::default().check_ready().is_err() && Seen::default().to_string().is_empty());
        let mut seen = Seen { off: Vec::new(), unanswered: vec!["orders", "mailer"], ..seen };
        seen.note("orders", Some(Answer::On));
        let missing = "programs have not answered that they are ready: [\"mailer\"]";
        assert_eq!(seen.check_ready().unwrap_err().to_string(), missing);
        seen.note("mailer", Some(Answer::On));
        seen.check_ready().unwrap();
    }
}
