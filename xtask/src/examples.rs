//! The examples: each runs on the transports that it is for, and prints the expected lines.

mod calculator;
mod expected;

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use xshell::Shell;

use self::expected::{EVERYWHERE, Example, MEMORY_ONLY, On, RETRIES, TRANSPORTS};
use crate::broker;
use crate::programs::{self, Program};
use crate::temporary::TemporaryFolder;

const MEMORY: &str = "mem://example";

/// Builds all examples with the features of the workspace, as the tests do, and runs them.
pub(crate) fn run(shell: &Shell) -> Result<()> {
    let programs = programs::build_examples(shell)?;
    let temporary = TemporaryFolder::create("examples")?;
    let runner = Runner { programs: &programs, temporary: &temporary };
    for example in &MEMORY_ONLY {
        runner.check(example, On::Memory, &[])?;
    }
    let node = broker::start(shell)?;
    let broker = node.url();
    for example in &EVERYWHERE {
        // The default is ZeroMQ.
        runner.check(example, On::Zmq, &[])?;
        runner.check(example, On::Memory, &[MEMORY])?;
        runner.check(example, On::Amqp, &[&broker])?;
    }
    // ZeroMQ has no retries; the default is memory.
    runner.check(&RETRIES, On::Memory, &[])?;
    runner.check(&RETRIES, On::Amqp, &[&broker])?;
    let (first, second) = (free_port()?, free_port()?);
    let zmq = format!("zmq+tcp://127.0.0.1:{first}");
    runner.check(&TRANSPORTS, On::Memory, &[MEMORY, &zmq, &broker])?;
    let servers = [zmq, format!("zmq+tcp://127.0.0.1:{second}")];
    let client = format!("zmq+tcp://127.0.0.1:{first},127.0.0.1:{second}");
    calculator::check(&runner, &servers, &client)?;
    calculator::check(&runner, &[broker.clone(), broker.clone()], &broker)?;
    temporary.check_empty()
}

struct Runner<'a> {
    programs: &'a [Program],
    temporary: &'a TemporaryFolder,
}

impl Runner<'_> {
    /// Runs an example, and fails unless the output has the expected lines in their order.
    fn check(&self, example: &Example, on: On, arguments: &[&str]) -> Result<()> {
        println!("{} on {on:?}", example.name);
        let output = self.output(example.name, arguments)?;
        let mut lines = output.lines();
        for expected in example.lines_on(on) {
            ensure!(
                lines.any(|line| expected::matches(line, expected)),
                "the example {} printed no line {expected:?}, or not in this place:\n{output}",
                example.name
            );
        }
        Ok(())
    }

    /// Runs an example until its end, and returns its standard output.
    fn output(&self, name: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(name)?;
        let child = command.args(arguments).stdout(Stdio::piped()).spawn()?;
        let process = child.id();
        let (ended, wait) = std::sync::mpsc::channel();
        let watchdog = std::thread::spawn(move || {
            if wait.recv_timeout(RUN_MAX) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                // The process has ended if this fails.
                let _ = Command::new("kill").arg(process.to_string()).status();
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
        bail!("the example {name} ended with {}, within {RUN_MAX:?}:\n{text}", output.status)
    }

    fn command(&self, name: &str) -> Result<Command> {
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

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
