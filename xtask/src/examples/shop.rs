//! The shop: in one process over memory, and as seven processes over ZeroMQ and RabbitMQ.
//!
//! The example `load` places the orders, compares the books of the other programs, and ends. The
//! programs find one another by their environment.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::expected::{LOAD, On, SHOP};
use super::ports::free_port;
use super::runner::Runner;

/// The programs that serve, each after those that publish what it listens to.
const PROGRAMS: [&str; 6] = ["inventory", "payments", "mailer", "orders", "invoices", "dashboard"];

/// The names of a channel and a queue, which have URLs of their own over ZeroMQ.
const OTHER_NAMES: [&str; 2] = ["order_events", "mails"];

/// Time for a program to be ready or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the shop on each transport.
///
/// Over ZeroMQ, each service, channel and queue has a URL on a port of its own. Over RabbitMQ, all
/// programs have the URL of the broker, from a file that other users cannot read.
pub(crate) fn check(runner: &Runner<'_>, broker: &str) -> Result<()> {
    runner.check(&SHOP, On::Memory, &[])?;
    let mut variables = Vec::new();
    for name in PROGRAMS.iter().chain(&OTHER_NAMES) {
        let variable = format!("POLYWIRE_URL_{}", name.to_uppercase());
        variables.push((variable, format!("zmq+tcp://127.0.0.1:{}", free_port()?)));
    }
    processes(runner, On::Zmq, &variables)?;
    // The URL of the broker has a password, so it is the secret.
    let url = runner.temporary.path().join("url");
    secret_file(&url)?.write_all(broker.as_bytes())?;
    let variables = [("POLYWIRE_URL".to_owned(), format!("file:{}", url.display()))];
    processes(runner, On::Amqp, &variables)?;
    Ok(fs::remove_file(&url)?)
}

/// Creates a file that other users cannot read.
///
/// A file of this name must not exist yet.
fn secret_file(path: &Path) -> Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    Ok(options.open(path)?)
}

/// Starts all programs with the same variables, lets `load` compare their books, and stops them.
///
/// The programs start one after the other, each when the one before is ready. After an error, those
/// that run are killed.
///
/// `load` runs until its end, for a minute at most.
fn processes(runner: &Runner<'_>, on: On, variables: &[(String, String)]) -> Result<()> {
    println!("load on {on:?}, with {} programs", PROGRAMS.len());
    let command = |name: &str| -> Result<Command> {
        let mut command = runner.command(name)?;
        command.envs(variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    };
    let mut programs = Vec::new();
    for name in PROGRAMS {
        programs.push(Program::start(name, command(name)?)?);
    }
    let output = runner.output_of(LOAD.name, command(LOAD.name)?)?;
    Runner::compare(&LOAD, on, &output)?;
    programs.into_iter().try_for_each(Program::stop)
}

/// A program that runs.
///
/// Killed when the value is dropped, unless it was stopped.
struct Program {
    /// The name of the example, for errors.
    name: &'static str,
    process: Child,
}

impl Program {
    /// Starts a program, and waits until it is ready.
    ///
    /// A program is ready when its probe answers with the status 200. The probe is asked every 50
    /// ms, on a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// If the program ends before, or is not ready within [`PATIENCE`].
    fn start(name: &'static str, mut command: Command) -> Result<Self> {
        let probe = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let process = command.env("POLYWIRE_PROBE", probe.port().to_string()).spawn()?;
        let mut program = Self { name, process };
        let deadline = Instant::now() + PATIENCE;
        while !is_ready(probe, deadline) {
            if let Some(status) = program.process.try_wait()? {
                bail!("{name} ended with {status} instead of being ready");
            }
            ensure!(Instant::now() < deadline, "{name} is not ready after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(program)
    }

    /// Sends SIGTERM, and fails unless the program drains and ends with 0.
    ///
    /// A program that has not ended within [`PATIENCE`] is killed, and the stop fails.
    fn stop(mut self) -> Result<()> {
        let process = self.process.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &process]).status();
        ensure!(killed.context("cannot run kill")?.success(), "cannot stop {}", self.name);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait()? {
                ensure!(status.success(), "{} ended with {status} after SIGTERM", self.name);
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{} does not end after SIGTERM", self.name);
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The process may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks the probe of a program.
///
/// Any failure counts as not ready, a port that is not bound yet included. So does an answer that
/// begins after the deadline.
fn is_ready(probe: SocketAddr, deadline: Instant) -> bool {
    let left = || deadline.saturating_duration_since(Instant::now());
    let ask = || -> std::io::Result<String> {
        // A time of zero is an error here.
        let mut stream = TcpStream::connect_timeout(&probe, left())?;
        stream.set_read_timeout(Some(left()))?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nhost: probe\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn silent_probe_is_asked_until_the_deadline_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let start = Instant::now();
        assert!(!is_ready(listener.local_addr().unwrap(), start + Duration::from_millis(10)));
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    }
}
