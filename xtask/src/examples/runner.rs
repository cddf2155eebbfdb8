//! Runs an example, and compares its output with the expected lines.

use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::expected::{Example, On, matches};
use crate::programs::Program;
use crate::temporary::TemporaryFolder;

/// The built examples, and the folder that they take for the system's temporary one.
pub(crate) struct Runner<'a> {
    pub(crate) programs: &'a [Program],
    /// The folder that the programs get as `TMPDIR`.
    pub(crate) temporary: &'a TemporaryFolder,
}

impl Runner<'_> {
    /// Runs an example, and fails unless the output has the expected lines in their order.
    pub(crate) fn check(&self, example: &Example, on: On, arguments: &[&str]) -> Result<()> {
        println!("{} on {on:?}", example.name);
        let output = self.output(example.name, arguments)?;
        Self::compare(example, on, &output)
    }

    /// Fails unless the output has the expected lines in their order.
    ///
    /// Other lines may stand between the expected ones. No line is used for two expectations.
    ///
    /// The error has the whole output.
    pub(crate) fn compare(example: &Example, on: On, output: &str) -> Result<()> {
        let mut lines = output.lines();
        for expected in example.lines_on(on) {
            ensure!(
                lines.any(|line| matches(line, expected)),
                "the example {} printed no line {expected:?}, or not in this place:\n{output}",
                example.name
            );
        }
        Ok(())
    }

    /// Runs an example until its end, and returns its standard output.
    pub(crate) fn output(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(name)?;
        command.args(arguments);
        self.output_of(name, command)
    }

    /// Runs the command of an example until its end, and returns its standard output.
    ///
    /// A watchdog sends SIGTERM to an example that runs longer than [`RUN_MAX`], and SIGKILL after
    /// further [`DRAIN_MAX`]. Such an example fails, unless it ends with code 0. Standard error is
    /// that of this task.
    pub(crate) fn output_of(&self, name: &str, command: Command) -> Result<String> {
        Self::output_within(name, command, [("-TERM", RUN_MAX), ("-KILL", DRAIN_MAX)])
    }

    /// Runs a command until its end. The watchdog sends each signal when its time has passed after
    /// the one before.
    fn output_within(
        name: &str,
        mut command: Command,
        signals: [(&'static str, Duration); 2],
    ) -> Result<String> {
        let child = command.stdout(Stdio::piped()).spawn()?;
        let process = child.id();
        let (ended, wait) = mpsc::channel();
        let watchdog = thread::spawn(move || {
            for (signal, after) in signals {
                if wait.recv_timeout(after) != Err(mpsc::RecvTimeoutError::Timeout) {
                    return;
                }
                // The process has ended if this fails.
                let _ = Command::new("kill").args([signal, &process.to_string()]).status();
            }
        });
        let output = child.wait_with_output();
        // The watchdog may have ended already.
        let _ = ended.send(());
        let _ = watchdog.join();
        let output = output?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        bail!("the example {name} ended with {}, within {:?}:\n{text}", output.status, signals[0].1)
    }

    /// Returns the command of an example.
    ///
    /// The command has no input, and the folder of the runner for temporary files.
    ///
    /// The name is that of the example without its package. Of two packages with such an example,
    /// the first one counts.
    pub(crate) fn command(&self, name: &str) -> Result<Command> {
        let is_it =
            |program: &&Program| !program.is_test && program.name.rsplit('/').next() == Some(name);
        let program = self.programs.iter().find(is_it);
        let program = program.with_context(|| format!("cargo has built no example {name}"))?;
        let mut command = Command::new(&program.path);
        command.stdin(Stdio::null()).env("TMPDIR", self.temporary.path());
        Ok(command)
    }
}

/// Bounds an example that hangs; most take less than a second.
const RUN_MAX: Duration = Duration::from_mins(1);
/// The time that an example has to end after SIGTERM.
const DRAIN_MAX: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn example_that_ignores_sigterm_is_killed() {
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; exec sleep 60"]);
        let soon = Duration::from_millis(100);
        let output = Runner::output_within("deaf", command, [("-TERM", soon), ("-KILL", soon)]);
        let error = output.unwrap_err().to_string();
        assert!(error.contains("the example deaf ended with signal"), "{error}");
    }
}
