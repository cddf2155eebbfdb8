//! The scenarios, by their letters.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::time::{Instant, timeout};

use crate::book::Book;
use crate::scenarios::{
    alarm, broker_kills, certificates, credentials, failovers, job_restarts, links, reply_queue,
    server_kills, soak,
};
use crate::{Mode, Plan, Report, Size};

/// Something that goes wrong under load.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Scenario {
    /// What it is called on the command line.
    pub letter: char,
    /// What it is about.
    pub about: &'static str,
    modes: &'static [Mode],
    quick_modes: &'static [Mode],
    run: Run,
}

type Run = for<'a> fn(&'a Plan, &'a Arc<Book>) -> BoxFuture<'a, Result<()>>;

const CLASSIC: &[Mode] = &[Mode::Classic];
const QUORUM: &[Mode] = &[Mode::Quorum];
const BOTH: &[Mode] = &[Mode::Classic, Mode::Quorum];

impl Scenario {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self {
            letter: 'A',
            about: "the broker is killed again and again under calls",
            modes: BOTH,
            quick_modes: BOTH,
            run: |plan, book| broker_kills::run(plan, book).boxed(),
        },
        Self {
            letter: 'B',
            about: "server processes are killed in turn under calls",
            modes: BOTH,
            quick_modes: BOTH,
            run: |plan, book| server_kills::run(plan, book).boxed(),
        },
        Self {
            letter: 'C',
            about: "the link of each role is cut, swallowed, delayed",
            modes: BOTH,
            quick_modes: CLASSIC,
            run: |plan, book| links::run(plan, book).boxed(),
        },
        Self {
            letter: 'D',
            about: "the nodes of a cluster are killed in turn",
            modes: QUORUM,
            quick_modes: QUORUM,
            run: |plan, book| failovers::run(plan, book).boxed(),
        },
        Self {
            letter: 'E',
            about: "the broker runs out of memory for a while",
            modes: BOTH,
            quick_modes: CLASSIC,
            run: |plan, book| alarm::run(plan, book).boxed(),
        },
        Self {
            letter: 'F',
            about: "the broker is restarted under jobs",
            modes: BOTH,
            quick_modes: &[],
            run: |plan, book| job_restarts::run(plan, book).boxed(),
        },
        Self {
            letter: 'G',
            about: "certificates are right, wrong, expired and unknown",
            modes: CLASSIC,
            quick_modes: CLASSIC,
            run: |plan, book| certificates::run(plan, book).boxed(),
        },
        Self {
            letter: 'H',
            about: "credentials are revoked and renewed under calls",
            modes: CLASSIC,
            quick_modes: CLASSIC,
            run: |plan, book| credentials::run(plan, book).boxed(),
        },
        Self {
            letter: 'I',
            about: "the reply queue is deleted under calls",
            modes: CLASSIC,
            quick_modes: CLASSIC,
            run: |plan, book| reply_queue::run(plan, book).boxed(),
        },
    ];

    /// The one that lasts as long as the plan says.
    pub const SOAK: Self = Self {
        letter: 'J',
        about: "the broker is restarted again and again, and memory stays flat",
        modes: CLASSIC,
        quick_modes: CLASSIC,
        run: |plan, book| soak::run(plan, book).boxed(),
    };

    /// The modes that it is run in, in this size.
    #[must_use]
    pub fn modes_of(&self, size: Size) -> &'static [Mode] {
        match size {
            Size::Quick => self.quick_modes,
            Size::Full => self.modes,
        }
    }

    /// Runs it. Whatever it started has ended when this returns.
    pub async fn run(&self, plan: &Plan) -> Report {
        let book = Arc::new(Book::default());
        let start = Instant::now();
        let bound = plan.pick(QUICK_MAX, FULL_MAX) + plan.soak;
        let outcome = timeout(bound, (self.run)(plan, &book)).await;
        let outcome = outcome.context("it did not end in time").flatten();
        Report::new(self, plan, &book, start.elapsed(), outcome)
    }
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario").field("letter", &self.letter).finish_non_exhaustive()
    }
}

/// Many times what it takes on an idle machine.
const QUICK_MAX: Duration = Duration::from_mins(6);
const FULL_MAX: Duration = Duration::from_mins(30);
