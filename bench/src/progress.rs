//! The display of progress on standard error: a bar on a terminal, and a line for each measurement
//! elsewhere.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::figures::{Figures, Metric};
use crate::plan::Step;

/// Width of the bar, in characters.
const WIDTH: usize = 30;

/// The progress of a run.
///
/// Expected times are estimates. A pace that differs from them corrects the time that is left.
pub(crate) struct Progress {
    /// The expected time of all steps.
    whole: Duration,
    /// The expected time of the steps that are done.
    done: Duration,
    start: Instant,
    /// False writes lines in place of a bar.
    is_terminal: bool,
}

impl Progress {
    /// Creates the progress of a run whose steps are expected to take `whole`.
    pub(crate) fn new(whole: Duration) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { whole, done: Duration::ZERO, start: Instant::now(), is_terminal }
    }

    /// Shows the step that begins.
    ///
    /// Writes nothing where there is no terminal.
    pub(crate) fn begin(&self, round: &str, step: &Step) {
        if self.is_terminal {
            let (bar, left) = (self.bar(), minutes(self.left(self.start.elapsed())));
            print(&format!("\r\x1b[K[{bar}] {left} left, round {round}: {}", describe(step)));
        }
    }

    /// Shows the figures of a step that is done.
    ///
    /// Writes nothing on a terminal: the bar of the next step follows.
    pub(crate) fn end(&mut self, round: &str, step: &Step, figures: &Figures) {
        self.done += step.expected();
        if !self.is_terminal {
            print(&format!("round {round}: {}: {}\n", describe(step), short(figures)));
        }
    }

    /// Shows a step that has failed.
    ///
    /// The line stays on a terminal as well. A failed step counts with its whole expected time.
    pub(crate) fn fail(&mut self, round: &str, step: &Step, error: &anyhow::Error) {
        self.done += step.expected();
        let clear = if self.is_terminal { "\r\x1b[K" } else { "" };
        print(&format!("{clear}round {round}: {}: failed: {error:#}\n", describe(step)));
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if self.is_terminal {
            print("\r\x1b[K");
        }
    }

    /// Returns the share of the expected time that is done, from 0 to 1.
    fn share(&self) -> f64 {
        self.done.as_secs_f64() / self.whole.as_secs_f64().max(f64::EPSILON)
    }

    /// Returns the bar: `#` for the time that is done, `.` for the rest.
    fn bar(&self) -> String {
        let full = ((self.share() * WIDTH as f64) as usize).min(WIDTH);
        "#".repeat(full) + &".".repeat(WIDTH - full)
    }

    /// Returns the time that is left, from the expected time and the pace so far.
    ///
    /// Before the first step is done, the pace is the expected one.
    fn left(&self, elapsed: Duration) -> Duration {
        let pace = match self.done.is_zero() {
            true => 1.0,
            false => elapsed.as_secs_f64() / self.done.as_secs_f64(),
        };
        self.whole.saturating_sub(self.done).mul_f64(pace)
    }
}

/// Writes to standard error. A closed one does not end the run.
///
/// The text is flushed, since a bar ends without a line break.
fn print(text: &str) {
    let mut errors = std::io::stderr().lock();
    let _ = errors.write_all(text.as_bytes()).and_then(|()| errors.flush());
}

fn minutes(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

/// Names the subject and the trial of a step.
fn describe(step: &Step) -> String {
    let (subject, trial) = (step.subject.name(), step.trial);
    format!("{subject:<17} {:<13} {:>8} B {:>6}", trial.kind.name(), trial.body, trial.number)
}

/// Returns the measured quantities with three digits.
fn short(figures: &Figures) -> String {
    let mut text = String::new();
    for metric in Metric::ALL {
        if let Some(value) = figures.get(metric) {
            let separator = if text.is_empty() { "" } else { ", " };
            let digits = if value.abs() < 10.0 { 2 } else { 0 };
            // Writing to a string does not fail.
            let _ = write!(text, "{separator}{} {value:.digits$}", metric.name());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_follows_the_pace_so_far() {
        let progress = Progress {
            whole: Duration::from_mins(10),
            done: Duration::from_mins(4),
            start: Instant::now(),
            is_terminal: true,
        };
        assert_eq!(progress.left(Duration::from_mins(8)), Duration::from_mins(12));
        assert_eq!(progress.bar().matches('#').count(), 12);
        assert_eq!(minutes(Duration::from_secs(125)), "2:05");
    }

    #[test]
    fn figures_are_listed_with_their_names() {
        let mut figures = Figures::default();
        figures.set(Metric::Rate, 12_345.6);
        figures.set(Metric::CpuUs, 1.234);
        assert_eq!(short(&figures), "per_second 12346, cpu_us 1.23");
    }
}
