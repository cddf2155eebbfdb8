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
    load: Load,
    duration: Duration,
    broker_url: &str,
) -> Result<Figures> {
    let url = if subject.needs_broker() { broker_url } else { "zmq+tcp://127.0.0.1:*" };
    let mut server = Server::start(subject, url)?;
    let before = cpu_time("self")? + cpu_time(&server.0.id().to_string())?;
    let at = server.address()?;
    let mut figures = runtime()?.block_on(subject.call(&at, load, duration))?;
    figures.cpu = cpu_time("self")? + cpu_time(&server.0.id().to_string())? - before;
    figures.server_peak = peak_memory(server.0.id())?;
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

/// Returns the most memory that a process had resident, in bytes: `VmHWM` of `status` in proc(5).
fn peak_memory(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 =
        line.and_then(|line| line.trim().strip_suffix(" kB")).context("no peak memory")?.parse()?;
    Ok(kib * 1024)
}

/// Creates the runtime of either process: two threads, as many as the smallest machine has cores.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
