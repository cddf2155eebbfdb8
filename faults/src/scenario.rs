//! All scenarios with their ids.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};

use crate::recorder::Recorder;
use crate::scenarios::{
    alarm, broker_kills, certificates, credentials, delayed_retries, failovers, job_restarts,
    links, partitions, poison, redelivery, reply_queue, server_kills, shop, soak, troubles,
};
use crate::{Mode, Plan, Report, Size};

/// A disturbance under load.
///
/// A scenario proves its claims by the errors of its run. Each run has a recorder, nodes and
/// processes of its own, so several may run at the same time.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Scenario {
    /// The id on the command line.
    pub id: char,
    /// The disturbance, in a phrase.
    pub about: &'static str,
    /// Kinds of queues in a full run.
    modes: &'static [Mode],
    /// Kinds of queues in a quick run.
    quick_modes: &'static [Mode],
    /// Runs the load and the disturbances. An error means that a claim does not hold.
    run: Run,
}

/// The function of a scenario, which gets a new recorder for each run.
type Run = for<'a> fn(&'a Plan, &'a Arc<Recorder>) -> BoxFuture<'a, Result<()>>;

const CLASSIC: &[Mode] = &[Mode::Classic];
const QUORUM: &[Mode] = &[Mode::Quorum];
const BOTH: &[Mode] = &[Mode::Classic, Mode::Quorum];

impl Scenario {
    /// All scenarios but the soak.
    ///
    /// A run without ids has this order.
    pub const ALL: &[Self] = &[
        Self {
            id: 'A',
            about: "the broker is killed again and again under calls",
            modes: BOTH,
            quick_modes: BOTH,
            run: |plan, recorder| broker_kills::run(plan, recorder).boxed(),
        },
        Self {
            id: 'B',
            about: "server processes are killed in turn under calls",
            modes: BOTH,
            quick_modes: BOTH,
            run: |plan, recorder| server_kills::run(plan, recorder).boxed(),
        },
        Self {
            id: 'C',
            about: "the connection of each endpoint handle is cut, swallowed, delayed",
            modes: BOTH,
            quick_modes: CLASSIC,
            run: |plan, recorder| links::run(plan, recorder).boxed(),
        },
        Self {
            id: 'D',
            about: "the nodes of a cluster are killed in turn",
            modes: QUORUM,
            quick_modes: QUORUM,
            run: |plan, recorder| failovers::run(plan, recorder).boxed(),
        },
        Self {
            id: 'E',
            about: "the broker runs out of memory for a while",
            modes: BOTH,
            quick_modes: CLASSIC,
            run: |plan, recorder| alarm::run(plan, recorder).boxed(),
        },
        Self {
            id: 'F',
            about: "the broker is restarted under jobs",
            modes: BOTH,
            quick_modes: BOTH,
            run: |plan, recorder| job_restarts::run(plan, recorder).boxed(),
        },
        Self {
            id: 'G',
            about: "certificates are right, wrong, expired and unknown",
            modes: BOTH,
            quick_modes: CLASSIC,
            run: |plan, recorder| certificates::run(plan, recorder).boxed(),
        },
        Self {
            id: 'H',
            about: "credentials are revoked and renewed under calls",
            modes: BOTH,
            quick_modes: CLASSIC,
            run: |plan, recorder| credentials::run(plan, recorder).boxed(),
        },
        Self {
            id: 'I',
            about: "the reply queue is deleted under calls",
            modes: CLASSIC,
            quick_modes: CLASSIC,
            run: |plan, recorder| reply_queue::run(plan, recorder).boxed(),
        },
        Self {
            id: 'K',
            about: "server processes are killed under calls of each mode of redelivery",
            modes: BOTH,
            quick_modes: BOTH,
            run: |plan, recorder| redelivery::run(plan, recorder).boxed(),
        },
        Self {
            id: 'L',
            about: "some jobs end the process of each worker that begins them",
            modes: BOTH,
            quick_modes: BOTH,
            run: |plan, recorder| poison::run(plan, recorder).boxed(),
        },
        Self {
            id: 'M',
            about: "the programs of a shop are killed and replaced, the broker restarted, its password changed",
            modes: BOTH,
            quick_modes: CLASSIC,
            run: |plan, recorder| shop::run(plan, recorder).boxed(),
        },
        Self {
            id: 'N',
            about: "jobs fail once and wait for their retries longer than a lease lasts",
            modes: BOTH,
            quick_modes: BOTH,
            run: |plan, recorder| delayed_retries::run(plan, recorder).boxed(),
        },
        Self {
            id: 'O',
            about: "the nodes of a cluster lose one another",
            modes: QUORUM,
            quick_modes: QUORUM,
            run: |plan, recorder| partitions::run(plan, recorder).boxed(),
        },
        Self {
            id: 'P',
            about: "a shop has a wrong password, a poison job, a deleted queue, a slow service, a full disk",
            modes: CLASSIC,
            quick_modes: CLASSIC,
            run: |plan, recorder| troubles::run(plan, recorder).boxed(),
        },
    ];

    /// The soak, which lasts as long as the plan says.
    pub const SOAK: Self = Self {
        id: 'J',
        about: "the broker is restarted again and again, and memory stays flat",
        modes: BOTH,
        quick_modes: CLASSIC,
        run: |plan, recorder| soak::run(plan, recorder).boxed(),
    };

    /// Returns the modes that a run of this size covers: one at least.
    #[must_use]
    pub fn modes_of(&self, size: Size) -> &'static [Mode] {
        match size {
            Size::Quick => self.quick_modes,
            Size::Full => self.modes,
        }
    }

    /// Runs the scenario. All its nodes and processes have ended when this returns without a
    /// failure.
    ///
    /// After a failure, a node may still be in an operation, such as a start, and ends with that
    /// operation. The end of the runtime waits for the operation.
    ///
    /// A run fails after its bound: 6 minutes in the quick size, an hour in the full one. The
    /// bound of the soak is longer by the duration of the soak.
    ///
    /// The error of the run is part of the report. If the future is dropped, the nodes and
    /// processes of the scenario end, and there is no report.
    pub async fn run(&self, plan: &Plan) -> Report {
        let recorder = Arc::new(Recorder::default());
        let start = Instant::now();
        let outcome = timeout(self.bound(plan), (self.run)(plan, &recorder)).await;
        let outcome = outcome.context("the scenario did not end in time").flatten();
        Report::new(self.id, self.about, plan, &recorder, start.elapsed(), outcome)
    }

    /// Returns the longest duration of a run.
    fn bound(&self, plan: &Plan) -> Duration {
        let bound = plan.pick(QUICK_MAX, FULL_MAX);
        if self.id == Self::SOAK.id { bound + plan.soak } else { bound }
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Bounds of a run: many times the duration on an idle machine.
const QUICK_MAX: Duration = Duration::from_mins(6);
const FULL_MAX: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn each_scenario_runs_in_both_sizes() {
        for scenario in Scenario::ALL.iter().chain([&Scenario::SOAK]) {
            for size in [Size::Quick, Size::Full] {
                assert!(!scenario.modes_of(size).is_empty(), "{scenario:?} {size:?}");
            }
        }
    }

    #[test]
    fn soak_alone_is_bounded_by_its_duration() {
        let (mode, soak, program) = (Mode::Classic, Duration::from_mins(10), PathBuf::new());
        let plan = Plan { size: Size::Quick, mode, seed: 1, soak, program };
        for scenario in Scenario::ALL {
            assert_eq!(scenario.bound(&plan), QUICK_MAX, "{scenario:?}");
        }
        assert_eq!(Scenario::SOAK.bound(&plan), QUICK_MAX + soak);
        assert_eq!(Scenario::SOAK.bound(&Plan { size: Size::Full, ..plan }), FULL_MAX + soak);
    }
}
