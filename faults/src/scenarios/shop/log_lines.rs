//! The warnings and the errors of all programs of the shop.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// The level of a line. An error comes before a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LogLevel {
    Error,
    Warn,
}

/// A line of a program.
#[derive(Clone, Debug)]
pub(crate) struct LogLine {
    pub(crate) level: LogLevel,
    pub(crate) program: &'static str,
    /// The whole line, which begins with the time.
    pub(crate) text: String,
}

impl LogLine {
    /// Parses a line. `None` if its level is neither `WARN` nor `ERROR`.
    pub(crate) fn parse(program: &'static str, line: &str) -> Option<Self> {
        let level = match line.split_whitespace().nth(1)? {
            "ERROR" => LogLevel::Error,
            "WARN" => LogLevel::Warn,
            _ => return None,
        };
        Some(Self { level, program, text: line.to_owned() })
    }
}

/// A moment, as the lines write their times.
///
/// A line may be read long after it was written, so the number of lines so far is no mark.
#[derive(Clone, Debug)]
pub(crate) struct LogMark(String);

impl LogMark {
    /// Marks this moment.
    pub(crate) fn now() -> Self {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut text));
        Self(text)
    }
}

/// The warnings and the errors of all programs, up to [`LINES_MAX`].
///
/// Clones share the lines.
#[derive(Clone, Default)]
pub(crate) struct LogLines(Arc<Mutex<Vec<LogLine>>>);

/// Lines that are kept. Later ones are dropped.
const LINES_MAX: usize = 100_000;

impl LogLines {
    /// Keeps a line if it is a warning or an error.
    pub(crate) fn add(&self, program: &'static str, line: &str) {
        if let Some(line) = LogLine::parse(program, line) {
            let mut lines = self.lock();
            if lines.len() < LINES_MAX {
                lines.push(line);
            }
        }
    }

    /// Returns the lines that were written since a mark and are read by now, in the order of their
    /// times.
    pub(crate) fn since(&self, mark: &LogMark) -> Vec<LogLine> {
        // Each line begins with its time in UTC, in a format of fixed width.
        let mut lines = self.lock().clone();
        lines.retain(|line| line.text >= mark.0);
        lines.sort_by(|one, other| one.text.cmp(&other.text));
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LogLine>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_and_errors_since_a_mark_are_returned_by_their_times() {
        let lines = LogLines::default();
        let mark = LogMark("2026-01-01T00:00:00.000002Z".to_owned());
        lines.add("orders", "2026-01-01T00:00:02.000000Z ERROR span{a=1}: polywire: refused");
        lines.add("orders", "2026-01-01T00:00:02.500000Z  INFO polywire: started");
        lines.add("load", "2026-01-01T00:00:01.000000Z  WARN polywire: lost");
        lines.add("load", "thread 'main' has ended");
        // Written before the mark, and read after it.
        lines.add("load", "2026-01-01T00:00:00.000001Z  WARN polywire: before");
        let found = lines.since(&mark);
        let found: Vec<_> = found.iter().map(|line| (line.program, line.level)).collect();
        assert_eq!(found, [("load", LogLevel::Warn), ("orders", LogLevel::Error)]);
    }

    #[test]
    fn mark_has_the_format_of_the_lines() {
        let LogMark(now) = LogMark::now();
        assert_eq!(now.len(), "2026-01-01T00:00:00.000001Z".len(), "{now}");
        assert!(now.as_str() > "2026" && now.ends_with('Z'), "{now}");
    }
}
