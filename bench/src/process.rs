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
///
/// The CPU time counts from the start of the server on, so the time of connecting counts as well.
/// The runtime of the client is made anew for each measurement.
pub(crate) fn measure(
    subject: Subject,
    load: Load,
    duration: Duration,
    broker_url: &str,
) -> Result<Figures> {
    let url = if subject.needs_broker() { broker_url } else { "zmq+tcp://127.0.0.1:*" };
    let mut command = Command::new(std::env::current_exe()?);
    let mut server = Server::start(command.args([SERVE, subject.name(), url]))?;
    let before = cpu_time("self")? + cpu_time(&server.id().to_string())?;
    let at = server.address()?;
    let mut figures = runtime()?.block_on(subject.call(&at, load, duration))?;
    figures.cpu = cpu_time("self")? + cpu_time(&server.id().to_string())? - before;
    figures.server_peak = peak_memory(server.id())?;
    Ok(figures)
}

/// A process that serves until the value is dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Starts the process.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(command.stdout(Stdio::piped()).spawn()?))
    }

    /// Returns the id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until the server is ready, and returns its address.
    ///
    /// May be called once, since the output of the server is consumed. Waits without a limit. A
    /// server that ends without a line is an error.
    pub(crate) fn address(&mut self) -> Result<String> {
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

/// Returns the user and system time of a process.
///
/// `process` is an id, or `self`. The resolution is 10 ms.
pub(crate) fn cpu_time(process: &str) -> Result<Duration> {
    stat(process, 11)
}

/// Returns the user and system time of the children of this process that have ended.
///
/// A child counts once this process has waited for its end.
pub(crate) fn cpu_time_of_children() -> Result<Duration> {
    stat("self", 13)
}

/// Returns the sum of two times in `stat` of proc(5), in units of hundredths of a second.
///
/// The times are the fields 14 and 15 for the process, or 16 and 17 for its children. `at` counts
/// from field 3.
///
/// The name of the program, which may hold spaces and parentheses, ends at the last `)` of the
/// line.
fn stat(process: &str, at: usize) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("cannot parse the stat line")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| -> Result<u64> {
        Ok(fields.get(at).context("cannot parse the stat line")?.parse()?)
    };
    Ok(Duration::from_millis(10 * (ticks(at)? + ticks(at + 1)?)))
}

/// Returns the most memory that a process had resident, in bytes: `VmHWM` of `status` in proc(5).
pub(crate) fn peak_memory(process: u32) -> Result<u64> {
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
