//! Probes of programs, asked until their answers turn.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::scenarios::shop::program::Program;
use crate::wait::until_some;

/// A probe of a program.
#[derive(Clone, Copy)]
pub(super) enum Probe {
    /// The readiness.
    Ready,
    /// The canary through the queue of each endpoint.
    Canary,
}

/// The answer to a probe.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The status 200.
    On,
    /// The status 503.
    Off,
    /// No answer in time, as of a process that is stopped.
    Silent,
}

impl Answer {
    /// Returns the answer with this status, which is `None` if none came in time. Any other status
    /// says nothing, such as that of another canary on its way.
    fn of(status: Option<u16>) -> Option<Self> {
        match status {
            Some(200) => Some(Self::On),
            Some(503) => Some(Self::Off),
            Some(_) => None,
            None => Some(Self::Silent),
        }
    }
}

impl Probe {
    fn path(self) -> &'static str {
        match self {
            Self::Ready => "/ready",
            Self::Canary => "/canary",
        }
    }

    /// Returns the time for an answer. A canary itself may take five seconds.
    fn limit(self) -> Duration {
        match self {
            Self::Ready => Duration::from_secs(1),
            Self::Canary => Duration::from_secs(6),
        }
    }

    /// Asks a program. `None` if the answer says nothing, or the program cannot be reached.
    async fn ask(self, program: &Program) -> Option<Answer> {
        Answer::of(program.status(self.path(), self.limit()).await.ok()?)
    }

    /// Waits until the probes of all programs answer as wanted, each at least once, and returns the
    /// longest time since `start`.
    ///
    /// # Errors
    ///
    /// If a probe does not answer so within two minutes.
    pub(super) async fn until(
        self,
        wanted: Answer,
        programs: &[&Program],
        start: Instant,
    ) -> Result<Duration> {
        let mut turning = Vec::new();
        for program in programs {
            turning.push(self.turned(wanted, program, start));
        }
        let times = try_join_all(turning).await?;
        Ok(times.into_iter().max().unwrap_or_default())
    }

    async fn turned(self, wanted: Answer, program: &Program, start: Instant) -> Result<Duration> {
        let what = match wanted {
            Answer::On => "a probe is on",
            Answer::Off => "a probe is off",
            Answer::Silent => "a probe does not answer",
        };
        let asking = until_some(what, || async {
            (self.ask(program).await? == wanted).then_some(start.elapsed())
        });
        asking.await.with_context(|| format!("{} of {}", self.path(), program.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_not_the_answer_that_a_program_is_not_ready() {
        let answers = [Some(200), Some(503), None].map(Answer::of);
        assert!(answers == [Some(Answer::On), Some(Answer::Off), Some(Answer::Silent)]);
        assert!([429, 501].into_iter().all(|status| Answer::of(Some(status)).is_none()));
    }
}
