//! The calculator as two servers and a client, in processes of their own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::runner::Runner;

/// Starts a server for each URL and a client, and checks that each server got a share of the calls.
///
/// The client prints one line for each server that answered. The servers are killed at the end.
///
/// The URL of the client names all servers, and its scheme is the transport in the output.
///
/// # Errors
///
/// If a server does not become ready, if the client fails, or if a server answered no call.
pub(crate) fn check(runner: &Runner<'_>, servers: &[String], client: &str) -> Result<()> {
    let transport = client.split(':').next().unwrap_or_default();
    println!("calculator_client {transport}, with {} servers", servers.len());
    let _servers =
        servers.iter().map(|url| Server::start(runner, url)).collect::<Result<Vec<_>>>()?;
    let output = runner.output("calculator_client", &[client])?;
    ensure!(
        output.lines().count() == servers.len(),
        "each of {} servers should have a line:\n{output}",
        servers.len()
    );
    Ok(())
}

/// A process that is killed when the value is dropped.
///
/// The example `calculator_server` ends by itself only at Ctrl-C. So a task that fails leaves no
/// server behind.
struct Server(Child);

/// The time that a server has to start.
const START_MAX: Duration = Duration::from_secs(30);

impl Server {
    /// Starts a server, and waits until it is ready.
    fn start(runner: &Runner<'_>, url: &str) -> Result<Self> {
        let mut command = runner.command("calculator_server")?;
        command.arg(url);
        Self::start_within(command, START_MAX)
    }

    /// Starts a server by its command, and waits until it is ready.
    ///
    /// The server is ready with its first line, which has to be `ready`. Later lines of the server
    /// are not read.
    ///
    /// # Errors
    ///
    /// If the server prints no line within `bound`, or another one.
    fn start_within(mut command: Command, bound: Duration) -> Result<Self> {
        let mut server = Self(command.stdout(Stdio::piped()).spawn()?);
        let mut output =
            BufReader::new(server.0.stdout.take().context("the server has an output")?);
        let (found, line) = mpsc::channel();
        // The thread ends with the output of the server, which the drop of the server ends.
        thread::spawn(move || {
            let mut line = String::new();
            let read = output.read_line(&mut line).map(|_| line);
            // The receiver is gone after the bound.
            let _ = found.send(read);
        });
        let line = line.recv_timeout(bound);
        let line = line.with_context(|| format!("the server is not ready after {bound:?}"))??;
        ensure!(line.trim() == "ready", "the server printed {line:?} instead of \"ready\"");
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_that_prints_nothing_is_an_error() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let silent = Server::start_within(command, Duration::from_millis(10)).map(drop);
        let error = silent.unwrap_err().to_string();
        assert!(error.contains("not ready"), "{error}");
    }
}
