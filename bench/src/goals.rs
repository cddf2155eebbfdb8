//! The goals that the figures are compared with.
//!
//! Goals are only reported: a goal that is not reached does not fail the run.

use crate::figures::Metric;
use crate::subject::Subject;
use crate::table::{Spread, Table};
use crate::trial::{Kind, Trial};

/// A bound of a quantity, or of the ratio of a quantity to that of others.
#[derive(Clone, Debug)]
pub(crate) struct Goal {
    pub(crate) subject: Subject,
    /// The trial of the subject and of those that it is compared with.
    pub(crate) trial: Trial,
    pub(crate) metric: Metric,
    /// The subjects that the ratio is formed with: to the best of them in each round. Without any,
    /// the quantity itself has the bound.
    pub(crate) against: &'static [Subject],
    pub(crate) bound: Bound,
}

/// A bound.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    /// The median has to be this or more.
    AtLeast(f64),
    /// The median has to be this or less.
    AtMost(f64),
}

impl Goal {
    /// Returns the measured value over the rounds; `None` if a subject was not measured.
    pub(crate) fn value(&self, table: &Table) -> Option<Spread> {
        match self.against {
            [] => table.value(self.trial, self.metric, self.subject),
            others => table.ratio(self.trial, self.metric, self.subject, others),
        }
    }

    /// Returns true if a median reaches the bound.
    pub(crate) fn is_reached(&self, median: f64) -> bool {
        match self.bound {
            Bound::AtLeast(bound) => median >= bound,
            Bound::AtMost(bound) => median <= bound,
        }
    }

    /// Returns the goal as text, without its bound.
    pub(crate) fn text(&self) -> String {
        let Trial { kind, body, number } = self.trial;
        let others: Vec<_> = self.against.iter().map(|other| other.name()).collect();
        let against = match others.as_slice() {
            [] => String::new(),
            [other] => format!(", of {other}"),
            others => format!(", of the best of {}", others.join(" and ")),
        };
        let (subject, metric) = (self.subject.name(), self.metric.name());
        format!("{subject}: {metric} of {} {number}, {body} B{against}", kind.name())
    }
}

/// The set-ups of the bare engine of ZeroMQ for calls, and those for events.
const BEST_OMQ: &[Subject] = &[Subject::OmqCalls, Subject::OmqThread];
const BEST_EVENTS: &[Subject] = &[Subject::OmqEvents, Subject::OmqThreadEvents];

/// Goals for the rate of calls: a subject, the others, and the least ratio for each number of calls
/// in flight.
type Rates = (Subject, &'static [Subject], &'static [(usize, f64)]);

/// All goals for the rate of calls.
const RATES: [Rates; 9] = [
    (Subject::ZmqTyped, BEST_OMQ, &[(1, 1.0), (64, 0.8), (512, 0.6)]),
    (Subject::ZmqTyped, &[Subject::OmqCalls], &[(1, 1.0), (64, 0.85), (512, 0.85)]),
    (Subject::ZmqBatched, BEST_OMQ, &[(64, 1.0), (512, 1.0)]),
    (Subject::ZmqBatched, &[Subject::Tarpc], &[(64, 1.5), (512, 2.0)]),
    (Subject::ZmqBatched, &[Subject::Tonic], &[(64, 3.0), (512, 3.0)]),
    (Subject::AmqpTyped, &[Subject::LapinCalls], &[(1, 0.95), (64, 0.95), (512, 0.95)]),
    (Subject::AmqpBatched, &[Subject::LapinCalls], &[(512, 5.0)]),
    (Subject::AmqpTyped, &[Subject::Nameko], &[(64, 10.0)]),
    (Subject::ZmqTyped, &[Subject::Aiozmq], &[(64, 8.0)]),
];

/// Returns all goals.
///
/// Bounds without other subjects are in the unit of their metric: bytes a call, microseconds a
/// second, or milliseconds. All bodies have 64 bytes.
pub(crate) fn goals() -> Vec<Goal> {
    let goal = |subject, kind, number, metric, against: &'static [Subject], bound| {
        let trial = Trial { kind, body: 64, number };
        Goal { subject, trial, metric, against, bound }
    };
    let rate = |subject, kind, number, against: &'static [Subject], least| {
        goal(subject, kind, number, Metric::Rate, against, Bound::AtLeast(least))
    };
    let at_most = |subject, kind, number, metric, most| {
        goal(subject, kind, number, metric, &[][..], Bound::AtMost(most))
    };
    let (zmq, amqp) = (Subject::ZmqTyped, Subject::AmqpTyped);
    let mut goals = Vec::new();
    for (subject, against, bounds) in RATES {
        let least = bounds.iter();
        goals.extend(
            least.map(|&(in_flight, least)| rate(subject, Kind::Calls, in_flight, against, least)),
        );
    }
    goals.extend([
        goal(zmq, Kind::Calls, 512, Metric::CpuUs, &[Subject::OmqCalls], Bound::AtMost(1.2)),
        rate(Subject::AmqpJobs, Kind::Jobs, 256, &[Subject::LapinJobs], 0.95),
        rate(Subject::ZmqEvents, Kind::Events, 10, BEST_EVENTS, 0.9),
        at_most(zmq, Kind::Held, 100_000, Metric::ClientBytes, 1_536.0),
        at_most(amqp, Kind::Held, 100_000, Metric::ClientBytes, 2_048.0),
        at_most(zmq, Kind::Idle, 0, Metric::ClientIdleUs, 1_000.0),
        at_most(zmq, Kind::Idle, 0, Metric::ServerIdleUs, 1_000.0),
        at_most(amqp, Kind::Idle, 0, Metric::ClientIdleUs, 1_000.0),
        at_most(amqp, Kind::Idle, 0, Metric::ServerIdleUs, 1_000.0),
        at_most(Subject::ZmqEvents, Kind::Subscriptions, 1_000, Metric::ClientIdleUs, 10_000.0),
        at_most(Subject::AmqpEvents, Kind::Subscriptions, 1_000, Metric::ClientIdleUs, 10_000.0),
        at_most(zmq, Kind::First, 10, Metric::FirstReplyMs, 2.0),
    ]);
    goals
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::figures::Figures;
    use crate::options::Options;
    use crate::plan::steps;

    #[test]
    fn each_goal_is_measured_in_a_full_run() {
        let options = Options::parse_from(["polywire-bench"]);
        let steps = steps(&options, &Subject::all().collect::<Vec<_>>());
        for goal in goals() {
            for subject in goal.against.iter().chain([&goal.subject]) {
                let is_of_goal =
                    |step: &crate::plan::Step| (step.subject, step.trial) == (*subject, goal.trial);
                assert!(steps.iter().any(is_of_goal), "{subject:?}: {}", goal.text());
            }
        }
    }

    #[test]
    fn goal_is_reached_at_its_bound() {
        let mut table = Table::new(None);
        let goal = goals().remove(0);
        for (subject, rate) in [(goal.subject, 10.0), (Subject::OmqCalls, 10.0)] {
            let mut figures = Figures::default();
            figures.set(Metric::Rate, rate);
            table.add(1, subject, goal.trial, figures);
        }
        let value = goal.value(&table).expect("both were measured");
        assert!(goal.is_reached(value.median) && !goal.is_reached(0.99), "{value:?}");
    }
}
