//! The lines of a log that an operator reads until one names the cause.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use crate::scenarios::shop::log_lines::{LogLine, LogLines, LogMark};
use crate::wait::until_some;

/// The lines that an operator reads until one names the cause of a trouble.
///
/// An operator reads the errors before the warnings, since an error asks for an action. Lines of
/// one level are read in the order of their times, over all programs.
pub(super) struct Reading {
    /// The lines that are read. The last one names the cause.
    read: Vec<LogLine>,
    /// The position of the first line that names the cause, among both levels by time alone.
    position: usize,
    /// The lines of one program by time, up to the first one that names the cause: those of the
    /// program with the fewest.
    of_program: Vec<LogLine>,
}

impl Reading {
    /// Reads lines, which are in the order of their times. `None` if none of them names the cause.
    fn of(lines: &[LogLine], names_cause: fn(&str) -> bool) -> Option<Self> {
        let place = |lines: &[LogLine]| lines.iter().position(|line| names_cause(&line.text));
        let position = place(lines)? + 1;
        let naming = lines.iter().filter(|line| names_cause(&line.text));
        let of_programs = naming.map(|naming| {
            let own = lines.iter().filter(|line| line.program == naming.program);
            let mut own: Vec<_> = own.cloned().collect();
            let named = place(own.as_slice()).map_or(0, |place| place + 1);
            own.truncate(named);
            own
        });
        let of_program = of_programs.min_by_key(Vec::len)?;
        let mut read = lines.to_vec();
        // The sort is stable, so that the order of the times stays.
        read.sort_by_key(|line| line.level);
        let last = place(read.as_slice())?;
        read.truncate(last + 1);
        Some(Self { read, position, of_program })
    }

    /// Reads the lines since a mark, once one of them names the cause.
    ///
    /// # Errors
    ///
    /// If none does within two minutes. The error shows the first lines.
    pub(super) async fn once_named(
        lines: &LogLines,
        mark: &LogMark,
        names_cause: fn(&str) -> bool,
    ) -> Result<Self> {
        let looking = until_some("a line of the log names the cause", || async {
            Self::of(&lines.since(mark), names_cause)
        });
        let named = looking.await.with_context(|| {
            let found = lines.since(mark);
            format!("{} lines, which begin with\n{}\n", found.len(), shown(&found))
        })?;
        // Earlier lines of other programs may be unread still, and count as well.
        sleep(UNREAD_MAX).await;
        Ok(Self::of(&lines.since(mark), names_cause).unwrap_or(named))
    }

    /// Returns the number of lines that are read.
    pub(super) fn lines(&self) -> usize {
        self.read.len()
    }

    /// Returns the number of lines until one names the cause, for an operator who reads the log of
    /// one program from its top.
    pub(super) fn lines_of_program(&self) -> usize {
        self.of_program.len()
    }

    /// Returns the lines that are read, for an error.
    pub(super) fn text(&self) -> String {
        shown(&self.read)
    }

    /// Returns the lines of one program that are read, for an error.
    pub(super) fn text_of_program(&self) -> String {
        shown(&self.of_program)
    }
}

impl fmt::Display for Reading {
    /// Formats the number of lines, and the line that names the cause.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (lines, position) = (self.lines(), self.position);
        write!(f, "named in line {lines} ({position} by time alone, ")?;
        write!(f, "{} in the log of one program)", self.of_program.len())?;
        self.read.last().map_or(Ok(()), |line| write!(f, ": {}: {}", line.program, line.text))
    }
}

/// Returns the first lines with their programs.
fn shown(lines: &[LogLine]) -> String {
    let lines = lines.iter().take(LINES_SHOWN);
    let lines: Vec<_> = lines.map(|line| format!("{}: {}", line.program, line.text)).collect();
    lines.join("\n")
}

/// Time in which a line that was written is read.
const UNREAD_MAX: Duration = Duration::from_millis(100);
/// Lines that an error shows.
const LINES_SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        of_program("orders", text)
    }

    fn of_program(program: &'static str, text: &str) -> LogLine {
        LogLine::parse(program, text).unwrap()
    }

    #[test]
    fn errors_are_read_before_warnings() {
        let lines = [
            line("1 WARN the connection was lost"),
            line("2 WARN the connection was lost"),
            line("3 ERROR refused: the password"),
            line("4 ERROR refused: the password"),
        ];
        let reading = Reading::of(&lines, |text| text.contains("password")).unwrap();
        assert_eq!((reading.lines(), reading.position), (1, 3));
        let shown = "named in line 1 (3 by time alone, 3 in the log of one program): \
                     orders: 3 ERROR refused: the password";
        assert_eq!(reading.to_string(), shown);
    }

    #[test]
    fn log_of_one_program_is_read_by_time() {
        let lines = [
            of_program("orders", "1 WARN the connection was lost"),
            of_program("mailer", "2 WARN the connection was lost"),
            of_program("orders", "3 WARN calls wait"),
            of_program("orders", "4 ERROR refused: the password"),
            of_program("mailer", "5 ERROR refused: the password"),
        ];
        let reading = Reading::of(&lines, |text| text.contains("password")).unwrap();
        assert_eq!((reading.position, reading.lines_of_program()), (4, 2));
    }

    #[test]
    fn errors_about_something_else_count() {
        let lines = [
            line("1 WARN calls wait"),
            line("2 WARN payments"),
            line("3 ERROR a handler panicked"),
        ];
        let reading = Reading::of(&lines, |text| text.contains("payments")).unwrap();
        assert_eq!((reading.lines(), reading.position), (3, 2));
        assert!(Reading::of(&lines, |text| text.contains("disk")).is_none());
    }
}
