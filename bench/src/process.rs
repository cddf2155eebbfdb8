//! The two processes of a measurement: a server, and a client that puts load on it.
//!
//! The server prints one line, its address, when clients can connect. The client prints one line,
//! its figures in JSON. Standard input of both is empty, and errors go to standard error of this
//! program.
//!
//! This program reads one line of each process, and closes the pipe after that line. So a process
//! must not print more.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::figures::{Figures, Metric};
use crate::figures_line::read_figures;
use crate::mode::Mode;
use crate::order_arguments::order_arguments;
use crate::subject::Subject;
use crate::trial::{Kind, Order, Trial};
use crate::usage::peak_memory;

/// The first argument of a serving process, before the subject, the broker and the mode.
///
/// The programs in `bench/peers` and `bench/python` repeat the text.
pub(crate) const SERVE: &str = "--serve";
/// The first argument of a calling process, before the subject, the address and the order.
///
/// The programs in `bench/peers` and `bench/python` repeat the text.
pub(crate) const CALL: &str = "--call";

/// The time that a server has to start, also on a busy machine.
const START_MAX: Duration = Duration::from_mins(1);
/// The time that a client has beyond that of its order: to connect, and to await its last calls.
///
/// A caller in Rust has bounds of a minute for each of these, so its own error comes first.
const CLIENT_MAX: Duration = Duration::from_mins(3);

/// The times of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The time under load before figures count.
    pub(crate) warm_up: Duration,
    /// The time in which figures count.
    pub(crate) duration: Duration,
}

/// Starts a server and a client, and kills both when the client has printed its figures.
///
/// `program` returns a new command of the program that the subject is part of. `rate` is that of an
/// open loop. The processor time of a broker does not count.
///
/// Blocks the thread for the times, and for some minutes at most if a process hangs.
///
/// The client ends before the server, so no client reports a lost connection.
///
/// With [`Kind::First`], one server serves all starts, one after the other. The figures that those
/// clients print are dropped.
///
/// # Errors
///
/// If a process cannot be started, ends early, or does not print its line in time.
pub(crate) fn measure(
    program: impl Fn() -> Result<Command>,
    subject: Subject,
    broker: &str,
    trial: Trial,
    rate: u64,
    times: Times,
) -> Result<Figures> {
    let mut command = program()?;
    command.args([SERVE, subject.name(), broker]).args(Mode::of(&trial).arguments());
    let mut server = Process::start(&mut command)?;
    let at = server.line(START_MAX).context("cannot start the server")?;
    let Times { warm_up, duration } = times;
    let order = Order { trial, rate, warm_up, duration, server: server.id() };
    let run = || {
        let mut command = program()?;
        command.args([CALL, subject.name(), &at]).args(order_arguments(&order));
        let start = Instant::now();
        let mut client = Process::start(&mut command)?;
        let line = client.line(warm_up + duration + CLIENT_MAX).context("the client has failed")?;
        anyhow::Ok((line, start.elapsed()))
    };
    let mut figures = if trial.kind == Kind::First {
        let starts: Result<Vec<_>> = (0..trial.number).map(|_| Ok(run()?.1)).collect();
        first_reply(starts?)
    } else {
        read_figures(&run()?.0)?
    };
    figures.set(Metric::ServerMib, peak_memory(server.id())? as f64 / f64::from(1 << 20));
    Ok(figures)
}

/// Returns the median of the times from a start to the line of the process.
///
/// Each time includes the start of the process, its connection, its call and its line. With an even
/// number of starts, the median is the upper one of the two in the middle.
fn first_reply(mut times: Vec<Duration>) -> Figures {
    times.sort();
    let mut figures = Figures::default();
    if let Some(median) = times.get(times.len() / 2) {
        figures.set(Metric::FirstReplyMs, median.as_secs_f64() * 1e3);
    }
    figures
}

/// A process that runs until the value is dropped, which kills it and waits for its end.
///
/// Its standard error is that of this program.
///
/// The signal is SIGKILL, so a process cleans up nothing: its queues stay at the broker. If a
/// signal kills this program alone, nothing is dropped, and the server goes on.
struct Process(Child);

impl Process {
    /// Starts a process without input, and with a pipe for its output.
    ///
    /// # Errors
    ///
    /// If the program cannot be started; the error names it.
    fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let program = || format!("cannot start {}", command.get_program().display());
        Ok(Self(child.with_context(program)?))
    }

    /// Returns the process id, which stays that of the process until the drop.
    fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits for the first line of the process.
    ///
    /// May be called once, since the output is consumed.
    ///
    /// A thread of its own reads, since a read of a pipe has no bound.
    ///
    /// # Errors
    ///
    /// If the process ends without a line, or has printed none in time.
    fn line(&mut self, bound: Duration) -> Result<String> {
        let mut output = BufReader::new(self.0.stdout.take().context("the output is in use")?);
        let (found, line) = mpsc::channel();
        // The thread ends with the output of the process, which the drop of the process ends.
        thread::spawn(move || {
            let mut line = String::new();
            let read = output.read_line(&mut line).map(|_| line);
            // The receiver is gone after the bound.
            let _ = found.send(read);
        });
        let line = line.recv_timeout(bound);
        let line = line.with_context(|| format!("the process printed nothing in {bound:?}"))??;
        ensure!(!line.is_empty(), "the process ended without a line; its errors are above");
        Ok(line.trim().to_owned())
    }
}

impl Drop for Process {
    /// Blocks until the process has ended, so its ports and its memory are free for the next
    /// measurement.
    fn drop(&mut self) {
        // The process may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Creates the runtime of either process: two threads, as many as the smallest machine has cores.
///
/// Other programs in Rust have as many. The threads of an engine come on top.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_without_a_line_is_an_error() -> Result<()> {
        let mut silent = Process::start(Command::new("sleep").arg("600"))?;
        let error = silent.line(Duration::from_millis(10)).unwrap_err();
        assert!(error.to_string().contains("printed nothing"), "{error}");
        let mut ended = Process::start(&mut Command::new("true"))?;
        let error = ended.line(START_MAX).unwrap_err();
        assert!(error.to_string().contains("without a line"), "{error}");
        Ok(())
    }

    #[test]
    fn time_to_the_first_reply_is_the_median() {
        let figures = first_reply([9, 2, 3].map(Duration::from_millis).to_vec());
        assert_eq!(figures.get(Metric::FirstReplyMs), Some(3.0));
        assert_eq!(first_reply(Vec::new()).get(Metric::FirstReplyMs), None);
    }
}
