//! The steps of each round.
//!
//! The plan is made before the first round. Only the rates of an open loop depend on measured
//! figures.

use std::time::Duration;

use crate::options::{Options, Part, distinct};
use crate::process::Times;
use crate::subject::{Program, Subject};
use crate::trial::{Kind, Trial};

/// A measurement of each round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) subject: Subject,
    pub(crate) trial: Trial,
    /// The times of the part that has the step first.
    pub(crate) times: Times,
    /// True for a step of the first round alone.
    pub(crate) is_once: bool,
}

/// The body of all parts but `calls` and `body`, in bytes.
const BODY: usize = 64;
/// Shares of the limit at which an open loop calls, in percent.
///
/// A quick run has the second one alone.
const SHARES: [usize; 2] = [50, 80];
/// Sizes of the part `body`, in bytes.
///
/// Each is the body of a lone call. A quick run has every second size.
const SIZES: [usize; 7] = [0, 64, 1 << 10, 16 << 10, 256 << 10, 1 << 20, 8 << 20];
/// Unconfirmed jobs of a pusher.
const UNCONFIRMED_JOBS: usize = 256;
/// Subscribers of one publisher.
const SUBSCRIBERS: [usize; 3] = [1, 10, 100];
/// Calls in flight of the part `memory`.
///
/// The largest number is above the window of a server: the rest waits in a socket or at the broker.
/// A quick run leaves out the first one.
const HELD: [usize; 3] = [1_000, 10_000, 100_000];
/// Idle subscriptions.
///
/// Over ZeroMQ, each process needs 1,100 open files for them.
const SUBSCRIPTIONS: usize = 1_000;
/// Starts of a process in each round.
///
/// The figure of a round is the median of them.
const STARTS: usize = 10;

/// Returns the steps of a round: each trial for all subjects in turn.
///
/// A subject leaves out the trials that it cannot make. A step that two parts have is done once.
///
/// Subjects of one trial follow each other, so that they meet the same load of the machine.
///
/// A step of two parts has the times of the part that the command line names first. In a quick run,
/// that part also decides whether the second round has the step.
pub(crate) fn steps(options: &Options, subjects: &[Subject]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for part in options.parts() {
        for trial in trials(part, options) {
            for &subject in subjects.iter().filter(|subject| takes_part(**subject, part, &trial)) {
                let is_new = |step: &Step| (step.subject, step.trial) != (subject, trial);
                if steps.iter().all(is_new) {
                    let is_once = options.quick && is_once_when_quick(part, &trial);
                    steps.push(Step { subject, trial, times: times(part, options), is_once });
                }
            }
        }
    }
    steps
}

/// Returns true if a subject is measured with a trial of a part.
///
/// The part `body` has one subject of each library.
fn takes_part(subject: Subject, part: Part, trial: &Trial) -> bool {
    subject.supports(trial) && (part != Part::Body || subject.is_compared())
}

/// Returns true for trials that a quick run makes in its first round alone.
///
/// The second round has the part `calls` alone, with bodies of up to 64 bytes.
fn is_once_when_quick(part: Part, trial: &Trial) -> bool {
    part != Part::Calls || trial.body > BODY
}

/// Returns the times of a measurement of a part.
///
/// The warm-up is the same in all parts.
fn times(part: Part, options: &Options) -> Times {
    let Times { warm_up, duration } = options.times();
    match part {
        // One call in flight has less spread.
        Part::Body => Times { warm_up, duration: (duration / 2).max(Duration::from_millis(200)) },
        // The processor time of an idle process is small beside what one wake-up costs.
        Part::Idle => Times { warm_up, duration: duration.max(Duration::from_secs(1)) },
        _ => options.times(),
    }
}

/// Returns the trials of a part.
///
/// Numbers of the command line count once each. The part `calls` alone reads `--in-flight` and
/// `--body`, and the part `open` alone reads `--rate`.
fn trials(part: Part, options: &Options) -> Vec<Trial> {
    let of = |kind, numbers: &[usize]| {
        let trial = |&number| Trial { kind, body: BODY, number };
        numbers.iter().map(trial).collect::<Vec<_>>()
    };
    match part {
        Part::Calls => {
            let (bodies, in_flight) = (distinct(&options.body), distinct(&options.in_flight));
            let load = |body| {
                let trial = move |&number| Trial { kind: Kind::Calls, body, number };
                in_flight.iter().map(trial)
            };
            bodies.into_iter().flat_map(load).collect()
        }
        Part::Open if options.rate.is_empty() && options.quick => of(Kind::Open, &SHARES[1..]),
        Part::Open if options.rate.is_empty() => of(Kind::Open, &SHARES),
        Part::Open => of(Kind::Rate, &distinct(&options.rate)),
        Part::Body if options.quick => {
            let sizes = SIZES.into_iter().step_by(2);
            sizes.map(|body| Trial { kind: Kind::Calls, body, number: 1 }).collect()
        }
        Part::Body => SIZES.map(|body| Trial { kind: Kind::Calls, body, number: 1 }).to_vec(),
        Part::Jobs => of(Kind::Jobs, &[UNCONFIRMED_JOBS]),
        Part::Events => of(Kind::Events, &SUBSCRIBERS),
        Part::Memory if options.quick => of(Kind::Held, &HELD[1..]),
        Part::Memory => of(Kind::Held, &HELD),
        Part::Idle => [of(Kind::Idle, &[0]), of(Kind::Subscriptions, &[SUBSCRIPTIONS])].concat(),
        Part::Start => of(Kind::First, &[STARTS]),
    }
}

/// Returns the trial whose rate stands for the limit of a subject, if none was measured: calls with
/// many in flight.
///
/// If the round has any calls with this body, the largest of their rates is the limit: see
/// `Table::limit`.
pub(crate) fn limit_trial(body: usize) -> Trial {
    Trial { kind: Kind::Calls, body, number: 512 }
}

impl Step {
    /// Returns the time that a step is expected to take, for the display of progress.
    ///
    /// A start of Python counts as 1 s, any other one as 0.1 s. The measurement of a limit before
    /// an open loop does not count.
    pub(crate) fn expected(&self) -> Duration {
        let Times { warm_up, duration } = self.times;
        let start = match self.subject.program() {
            Program::Python(_) => 1.0,
            Program::Own | Program::Peers => 0.1,
        };
        let seconds = match self.trial.kind {
            Kind::First => start * (1.0 + self.trial.number as f64 / 2.0),
            Kind::Held => 1.0 + self.trial.number as f64 / 40_000.0,
            Kind::Idle => 1.2 + duration.as_secs_f64(),
            Kind::Subscriptions => 4.0 + duration.as_secs_f64(),
            _ => 2.0 * start + (warm_up + duration).as_secs_f64(),
        };
        Duration::from_secs_f64(seconds)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn all_steps(arguments: &[&str]) -> Vec<Step> {
        let options = Options::parse_from([&["polywire-bench"], arguments].concat());
        steps(&options, &Subject::all().collect::<Vec<_>>())
    }

    #[test]
    fn each_step_is_there_once_and_has_its_bare_engine() {
        let steps = all_steps(&["--body", "64,64,4096", "--in-flight", "1,64,1"]);
        for step in &steps {
            let same = |other: &&Step| (other.subject, other.trial) == (step.subject, step.trial);
            assert_eq!(steps.iter().filter(same).count(), 1, "{step:?}");
            let bare = step.subject.bare();
            if step.trial.kind != Kind::Subscriptions && bare.supports(&step.trial) {
                let has_bare = |other: &Step| (other.subject, other.trial) == (bare, step.trial);
                assert!(steps.iter().any(has_bare), "{step:?}");
            }
        }
    }

    #[test]
    fn each_part_has_a_step_and_each_subject_too() {
        for part in ["calls", "open", "body", "jobs", "events", "memory", "idle", "start"] {
            assert!(!all_steps(&["--part", part]).is_empty(), "{part}");
        }
        let steps = all_steps(&[]);
        for subject in Subject::all() {
            assert!(steps.iter().any(|step| step.subject == subject), "{subject:?}");
        }
    }

    #[test]
    fn rates_replace_the_shares_of_the_limit() {
        let steps = all_steps(&["--part", "open", "--rate", "1000"]);
        assert!(steps.iter().all(|step| step.trial.kind == Kind::Rate), "{steps:?}");
    }

    #[test]
    fn quick_run_takes_less_than_five_minutes() {
        let steps = all_steps(&["--quick"]);
        let rounds = |step: &Step| if step.is_once { 1 } else { 2 };
        let seconds: f64 =
            steps.iter().map(|step| step.expected().as_secs_f64() * f64::from(rounds(step))).sum();
        assert!(seconds < 300.0, "{seconds}");
    }
}
