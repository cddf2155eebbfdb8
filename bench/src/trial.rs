//! A trial: one measurement of one subject.
//!
//! `bench/peers` compiles this file as well: the arguments of an order are the protocol with other
//! programs.

use std::time::Duration;

use anyhow::{Context, Result};

/// A kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A closed loop: a fixed number of calls in flight.
    Calls,
    /// An open loop at a share of the measured limit, in percent.
    Open,
    /// An open loop at a rate, in calls a second.
    Rate,
    /// Jobs that are acknowledged, with a number of unconfirmed pushes.
    Jobs,
    /// Events from one publisher to a number of subscribers.
    Events,
    /// A number of calls in flight that the server does not answer.
    Held,
    /// A client and a server without calls.
    Idle,
    /// A number of subscriptions without events.
    Subscriptions,
    /// The first reply of a new process.
    First,
}

impl Kind {
    /// All kinds, in the order of the tables.
    ///
    /// A kind that is missing here could not be named by an order.
    pub(crate) const ALL: [Self; 9] = [
        Self::Calls,
        Self::Open,
        Self::Rate,
        Self::Jobs,
        Self::Events,
        Self::Held,
        Self::Idle,
        Self::Subscriptions,
        Self::First,
    ];

    /// Returns the name on the command line of a measuring process, and in JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Open => "open",
            Self::Rate => "rate",
            Self::Jobs => "jobs",
            Self::Events => "events",
            Self::Held => "held",
            Self::Idle => "idle",
            Self::Subscriptions => "subscriptions",
            Self::First => "first",
        }
    }

    /// Returns the kind of a name. The error has the unknown name.
    fn named(name: &str) -> Result<Self> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.name() == name).with_context(|| format!("no kind of trial: {name}"))
    }
}

/// One measurement of one subject.
///
/// Rounds repeat a trial unchanged, so a trial and a subject name the row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Trial {
    pub(crate) kind: Kind,
    /// The size of the body of every message, in bytes.
    ///
    /// Jobs and events have eight bytes at least, for their numbers.
    pub(crate) body: usize,
    /// The number that the kind asks for; 0 if it asks for none.
    ///
    /// Calls in flight (`calls`, `held`), percent of the limit (`open`), calls a second (`rate`),
    /// unconfirmed jobs (`jobs`), subscribers (`events`, `subscriptions`), or starts (`first`).
    pub(crate) number: usize,
}

/// The order to a measuring process: a trial, and its time.
///
/// An order travels as seven arguments, with its times in whole milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) trial: Trial,
    /// Calls a second of an open loop; 0 for other kinds.
    ///
    /// An open loop takes 0 for 1.
    pub(crate) rate: u64,
    /// The time before the measurement starts.
    ///
    /// Held calls, first replies and idle processes have no warm-up.
    pub(crate) warm_up: Duration,
    /// The time of the measurement.
    ///
    /// Held calls and first replies take as long as they need.
    pub(crate) duration: Duration,
    /// The process id of the server, whose processor time and memory count as well.
    ///
    /// Client and server are on one machine: the client reads both in `/proc`.
    pub(crate) server: u32,
}

impl Order {
    /// Reads the arguments `KIND BODY NUMBER RATE WARM_UP_MS DURATION_MS SERVER`.
    ///
    /// # Errors
    ///
    /// If an argument is missing, or no number.
    pub(crate) fn read(arguments: &[&str]) -> Result<Self> {
        let [kind, body, number, rate, warm_up, duration, server] = arguments else {
            anyhow::bail!("expected KIND BODY NUMBER RATE WARM_UP_MS DURATION_MS SERVER");
        };
        let kind = Kind::named(kind)?;
        Ok(Self {
            trial: Trial { kind, body: body.parse()?, number: number.parse()? },
            rate: rate.parse()?,
            warm_up: Duration::from_millis(warm_up.parse()?),
            duration: Duration::from_millis(duration.parse()?),
            server: server.parse()?,
        })
    }
}
