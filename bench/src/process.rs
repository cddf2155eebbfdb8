//! The two processes of a measurement: this program, once as the server and once as the client.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::load::{Figures, Load};
use crate::subject::Subject;

/// The first argument of this program when it is the server.
pub(crate) const SERVE: &str = "--serve";

/// Starts a server, puts load on it from this process, and kills it.
pub(crate) fn measure(
    subject: Subject,
    in_flight: usize,
    seconds: f64,
    broker_url: &str,
) -> Result<Figures> {
    let url = if subject.needs_broker() { broker_url } else { "zmq+tcp://127.0.0.1:*" };
    let mut server = Server::start(subject, url)?;
    let load = Load { in_flight, duration: Duration::from_secs_f64(seconds) };
    let before = cpu_time("self")? + cpu_time(&server.0.id().to_string())?;
    let at = server.address()?;
    let mut figures = crate::runtime()?.block_on(subject.call(&at, load))?;
    figures.cpu = cpu_time("self")? + cpu_time(&server.0.id().to_string())? - before;
    Ok(figures)
}

struct Server(Child);

impl Server {
    fn start(subject: Subject, url: &str) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        Ok(Self(command.args([SERVE, subject.name(), url]).stdout(Stdio::piped()).spawn()?))
    }

    /// Waits until the server is ready, and returns its address.
    fn address(&mut self) -> Result<String> {
        let mut line = String::new();
        BufReader::new(self.0.stdout.take().context("the server has an output")?)
            .read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "the server did not start");
        Ok(line.trim().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The process may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the user and system time of a process: fields 14 and 15 of `stat` in proc(5), in
/// hundredths of a second.
fn cpu_time(process: &str) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("cannot parse the stat line")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| -> Result<u64> {
        Ok(fields.get(at).context("cannot parse the stat line")?.parse()?)
    };
    Ok(Duration::from_millis(10 * (ticks(11)? + ticks(12)?)))
}
