//! Probes of programs, asked until their answers turn.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::scenarios::shop::program::{Prober, Program};
use crate::scenarios::shop::seconds;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The status 200.
    On,
    /// The status 503.
    Off,
    /// No answer in time, as of a process that is stopped.
    Silent,
    /// No connection, as to a process that has ended.
    Gone,
}

impl Answer {
    /// Returns the answer with this status, which is `None` if none came in time. Any other status
    /// says nothing, such as that of another canary on its way.
    fn of(status: &Result<Option<u16>>) -> Option<Self> {
        match status {
            Ok(Some(200)) => Some(Self::On),
            Ok(Some(503)) => Some(Self::Off),
            Ok(Some(_)) => None,
            Ok(None) => Some(Self::Silent),
            Err(_) => Some(Self::Gone),
        }
    }

    /// Describes a probe with this answer, for an error.
    fn about(self) -> &'static str {
        match self {
            Self::On => "a probe is on",
            Self::Off => "a probe is off",
            Self::Silent => "a probe does not answer",
            Self::Gone => "a probe cannot be reached",
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

    /// Returns the time for an answer. A canary itself may take five seconds, and either answer
    /// some more on a busy machine: a late one would be silence.
    fn limit(self) -> Duration {
        match self {
            Self::Ready => Duration::from_secs(5),
            Self::Canary => Duration::from_secs(10),
        }
    }

    /// Asks a program. `None` if the answer says nothing.
    pub(super) async fn ask(self, prober: &Prober) -> Option<Answer> {
        Answer::of(&prober.status(self.path(), self.limit()).await)
    }

    /// Waits until the probes of all programs answer as wanted, each at least once, and returns the
    /// moment of the last first answer.
    ///
    /// # Errors
    ///
    /// If a probe does not answer so within two minutes.
    pub(super) async fn until(self, wanted: Answer, programs: &[&Program]) -> Result<Instant> {
        let mut turning = Vec::new();
        for program in programs {
            turning.push(self.turned(wanted, program.prober()));
        }
        let moments = try_join_all(turning).await?;
        Ok(moments.into_iter().max().unwrap_or_else(Instant::now))
    }

    async fn turned(self, wanted: Answer, prober: Prober) -> Result<Instant> {
        let asking = until_some(wanted.about(), || async {
            (self.ask(&prober).await? == wanted).then(Instant::now)
        });
        asking.await.with_context(|| format!("{} of {}", self.path(), prober.name))
    }
}

/// The moments in which both probes of some programs turn.
pub(super) struct Turn {
    /// The begin of the action that turns the probes, such as a command of the broker, and its end.
    /// The effect comes in between.
    begun: Instant,
    done: Instant,
    /// The moments in which the probes of all programs had turned.
    ready: Instant,
    canary: Instant,
}

impl Turn {
    /// Acts, and waits until both probes of all programs answer as wanted.
    ///
    /// The probes are asked from the begin of the action on.
    ///
    /// # Errors
    ///
    /// The error of the action, or that of [`Probe::until`].
    pub(super) async fn by(
        act: impl Future<Output = Result<()>>,
        wanted: Answer,
        programs: &[&Program],
    ) -> Result<Self> {
        let begun = Instant::now();
        let acting = async {
            act.await?;
            anyhow::Ok(Instant::now())
        };
        let (done, ready, canary) = tokio::try_join!(
            acting,
            Probe::Ready.until(wanted, programs),
            Probe::Canary.until(wanted, programs),
        )?;
        Ok(Self { begun, done, ready, canary })
    }

    /// Waits until both probes of all programs answer as wanted, after an action that ran from
    /// `begun` to `done`.
    ///
    /// # Errors
    ///
    /// As [`Probe::until`].
    pub(super) async fn after(
        (begun, done): (Instant, Instant),
        wanted: Answer,
        programs: &[&Program],
    ) -> Result<Self> {
        let turned = Self::by(async { Ok(()) }, wanted, programs).await?;
        Ok(Self { begun, done, ..turned })
    }

    /// Returns the time from the end of the action to the later one of the two turns.
    ///
    /// A command of the broker starts an Erlang node first, which takes seconds, and many on a busy
    /// machine. So the time of the whole command is that of the machine.
    pub(super) fn longest(&self) -> Duration {
        self.ready.max(self.canary).saturating_duration_since(self.done)
    }
}

impl fmt::Display for Turn {
    /// Formats the times since the begin of the action, and the time of the action.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ready, canary, act] = [self.ready, self.canary, self.done]
            .map(|moment| seconds(moment.saturating_duration_since(self.begun)));
        write!(f, "/ready in {ready}, /canary in {canary} (the action took {act})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_not_the_answer_that_a_program_is_not_ready() {
        let answers = [Some(200), Some(503), None].map(|status| Answer::of(&Ok(status)));
        assert_eq!(answers, [Some(Answer::On), Some(Answer::Off), Some(Answer::Silent)]);
        assert!([429, 501].into_iter().all(|status| Answer::of(&Ok(Some(status))).is_none()));
        assert_eq!(Answer::of(&Err(anyhow::anyhow!("refused"))), Some(Answer::Gone));
    }

    #[test]
    fn time_of_a_turn_counts_from_the_end_of_the_action_and_to_the_later_probe() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let turn = Turn { begun, done: at(4), ready: at(3), canary: at(9) };
        assert_eq!(turn.longest(), Duration::from_secs(5));
        assert_eq!(turn.to_string(), "/ready in 3.0 s, /canary in 9.0 s (the action took 4.0 s)");
        assert_eq!(Turn { canary: at(2), ..turn }.longest(), Duration::ZERO);
    }
}
