//! The row of one trouble in the report, and its bounds.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::reading::Reading;
use super::turning::Turn;
use super::watch::Seen;
use crate::scenarios::shop::seconds;

/// The default heartbeat of a URL, which the programs have.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The bound of the times in which probes turn, from the end of the action on.
const TURN_MAX: Duration = Duration::from_secs(2 * HEARTBEAT.as_secs());
/// Steps of a turn, each of which a busy machine delays as the answer of a program that lives.
const STEPS: u32 = 10;
/// Lines of the log that an operator reads until one names the cause, at most.
const LINES_MAX: usize = 3;

/// The turns of the probes that a trouble concerns, the answers of the programs that are watched
/// meanwhile, and the lines until one names the cause.
pub(super) struct Row<'a> {
    /// The turns, each with a description.
    pub(super) turns: &'a [(&'static str, Turn)],
    pub(super) seen: &'a Seen,
    pub(super) reading: &'a Reading,
}

impl Row<'_> {
    /// Checks the bounds.
    ///
    /// # Errors
    ///
    /// If the cause is named too late, or a probe turned too late.
    pub(super) fn check(&self, trouble: &str) -> Result<()> {
        let Self { turns, seen, reading } = self;
        let lines = reading.lines();
        ensure!(lines <= LINES_MAX, "the cause is named in line {lines}:\n{}", reading.text());
        // No demand: warnings about the end of the trouble before come later on a busy machine.
        if reading.lines_of_program() > LINES_MAX {
            eprintln!("lines of one program before {trouble}:\n{}", reading.text_of_program());
        }
        let bound = TURN_MAX + STEPS * seen.slowest;
        let is_late = turns.iter().any(|(_, turn)| turn.longest() > bound);
        ensure!(!is_late, "a probe turned later than {}: {self}", seconds(bound));
        Ok(())
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, turn) in self.turns {
            write!(f, "{what}: {turn}; ")?;
        }
        write!(f, "{}{}", self.seen, self.reading)
    }
}
