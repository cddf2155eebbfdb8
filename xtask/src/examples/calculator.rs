//! The calculator as two servers and a client, in processes of their own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};

use super::runner::Runner;

/// Starts a server for each URL and a client, and checks that each server got a share of the calls.
///
/// The client prints one line for each server that answered. The servers are killed at the end.
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
struct Server(Child);

impl Server {
    /// Starts a server, and waits until it is ready.
    fn start(runner: &Runner<'_>, url: &str) -> Result<Self> {
        let mut command = runner.command("calculator_server")?;
        let mut server = Self(command.arg(url).stdout(Stdio::piped()).spawn()?);
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().context("the server has an output")?)
            .read_line(&mut line)?;
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
