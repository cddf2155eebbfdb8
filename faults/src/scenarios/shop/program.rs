//! A process of the shop, started, stopped and killed by the scenario.

use std::collections::VecDeque;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStderr, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;

use super::log_lines::LogLines;
use super::surroundings::Shop;
use crate::shop_program::ARGUMENT;
use crate::wait::{until_some, within};

/// A process. Dropping it kills the process. A program reads its settings from the environment.
pub(crate) struct Program {
    /// The name of the program.
    pub(crate) name: &'static str,
    process: Child,
    /// The standard input, whose end is the end of the load. Waiting for a process would close it.
    input: Option<ChildStdin>,
    /// The address of the probe, once it answers.
    probe: watch::Receiver<Option<String>>,
    /// The last lines of the log.
    log: Log,
}

type Log = Arc<Mutex<VecDeque<String>>>;

/// A client of the probe of a process.
#[derive(Clone)]
pub(crate) struct Prober {
    /// The name of the program.
    pub(crate) name: &'static str,
    probe: watch::Receiver<Option<String>>,
}

impl Prober {
    /// Returns the status of the answer to a GET request; `None` if no answer is complete within
    /// `limit`.
    ///
    /// # Errors
    ///
    /// If the program has no probe yet, or its probe cannot be reached or answers no HTTP.
    pub(crate) async fn status(&self, path: &str, limit: Duration) -> Result<Option<u16>> {
        let address = self.probe.borrow().clone().context("an address")?;
        let Ok(answer) = timeout(limit, get(&address, path)).await else { return Ok(None) };
        let answer = answer?;
        let status = answer.split(' ').nth(1).context("an answer has a status")?;
        Ok(Some(status.parse::<u16>().context("a status is a number")?))
    }
}

/// Lines of the log that an error shows.
const LINES_MAX: usize = 12;

impl Program {
    /// Starts a process, without waiting for it.
    ///
    /// The probe listens on a free port, whose number the log names.
    pub(crate) fn start(shop: &Shop<'_>, name: &'static str) -> Result<Self> {
        let mut command = Command::new(&shop.plan.program);
        command.args([ARGUMENT, name]).kill_on_drop(true).env("NO_COLOR", "1");
        command.env("POLYWIRE_URL", &shop.url).env("POLYWIRE_PROBE", "127.0.0.1:0");
        command.env(polywire_example_shop::book::FOLDER_VARIABLE, &shop.books);
        command.env(polywire_example_shop::load::ORDERS_VARIABLE, "endless");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().context("cannot start a program of the shop")?;
        let errors = process.stderr.take().context("a program has an output")?;
        let input = process.stdin.take();
        let ((found, probe), log) = (watch::channel(None), Log::default());
        // The task ends with the process.
        tokio::spawn(read(name, errors, found, log.clone(), shop.lines.clone()));
        Ok(Self { name, process, input, probe, log })
    }

    /// Waits until the program is ready.
    ///
    /// # Errors
    ///
    /// If the process ends first, or does not get ready: the waits for its probe and for readiness
    /// have two minutes each. The error shows the last lines of the log.
    pub(crate) async fn ready(mut self) -> Result<Self> {
        let looking = self.until_ready(true);
        let looked = tokio::select! {
            looked = looking => looked,
            ended = self.process.wait() => {
                Err(anyhow::anyhow!("ended with {} instead of being ready", ended?))
            }
        };
        self.named(looked)?;
        Ok(self)
    }

    /// Waits until the probe answers that the program is ready, or that it is not.
    ///
    /// The wait for the address of the probe and the wait for the answer have two minutes each.
    pub(crate) async fn readiness(&self, is_ready: bool) -> Result<()> {
        self.named(self.until_ready(is_ready).await)
    }

    /// Returns a future that does not borrow the program, so that its process can be awaited
    /// meanwhile.
    fn until_ready(&self, wanted: bool) -> impl Future<Output = Result<()>> + use<> {
        let mut probe = self.probe.clone();
        async move {
            let found = probe.wait_for(Option::is_some);
            let address = within("a program answers probes", found).await??.clone();
            let address = address.context("an address")?;
            let what = if wanted { "a program is ready" } else { "a program is not ready" };
            until_some(what, || async { (is_ready(&address).await.ok()? == wanted).then_some(()) })
                .await
        }
    }

    /// Fails unless the program exports a metric, as Prometheus would read it.
    ///
    /// A line of the page has to begin with `metric`, so its value may be left out. The program
    /// must have been ready before.
    pub(crate) async fn exports(&self, metric: &str) -> Result<()> {
        let address = self.probe.borrow().clone();
        let answer = get(&address.context("an address")?, "/metrics").await?;
        let found = answer.lines().any(|line| line.starts_with(metric));
        let exported =
            if found { Ok(()) } else { Err(anyhow::anyhow!("exports no {metric}:\n{answer}")) };
        self.named(exported)
    }

    /// Returns a client of the probe, which outlives the program.
    pub(crate) fn prober(&self) -> Prober {
        Prober { name: self.name, probe: self.probe.clone() }
    }

    /// Waits until the process has ended by itself.
    ///
    /// Dropping the future has no effect on the process. Fails after two minutes.
    pub(crate) async fn ended(&mut self) -> Result<ExitStatus> {
        Ok(within("a program ends", self.process.wait()).await??)
    }

    /// Sends a signal, which is written as an option of `kill`.
    pub(crate) async fn signal(&self, signal: &str) -> Result<()> {
        let id = self.process.id().context("the id of a program that runs")?.to_string();
        let sent = Command::new("kill").args([signal, &id]).status().await;
        let sent = sent.context("cannot run kill")?;
        ensure!(sent.success(), "cannot send {signal} to {}", self.name);
        Ok(())
    }

    /// Kills the process as in a crash.
    pub(crate) async fn kill(mut self) -> Result<()> {
        self.process.kill().await.with_context(|| format!("cannot kill {}", self.name))
    }

    /// Sends SIGTERM, and waits until the program has drained.
    ///
    /// Fails if the program has not ended within two minutes, or ends with a failure.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.signal("-TERM").await?;
        let status = within("a program ends after SIGTERM", self.process.wait()).await??;
        self.succeeded(status)
    }

    /// Ends the standard input, and waits until the program has ended by itself.
    ///
    /// Fails after two minutes, or if the program ends with a failure.
    pub(crate) async fn finish(mut self) -> Result<()> {
        drop(self.input.take());
        let status = within("the load ends", self.process.wait()).await??;
        self.succeeded(status)
    }

    /// Returns an error if the process has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        let ended = self.process.try_wait()?;
        let running = match ended {
            None => Ok(()),
            Some(status) => Err(anyhow::anyhow!("ended with {status}")),
        };
        self.named(running)
    }

    fn succeeded(&self, status: ExitStatus) -> Result<()> {
        let succeeded =
            if status.success() { Ok(()) } else { Err(anyhow::anyhow!("ended with {status}")) };
        self.named(succeeded)
    }

    /// Adds the name and the log to an error.
    fn named<T>(&self, result: Result<T>) -> Result<T> {
        result.with_context(|| {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            let lines: Vec<_> = log.iter().map(String::as_str).collect();
            format!("{}, whose log ends with\n{}\n", self.name, lines.join("\n"))
        })
    }
}

/// Reads the log, and finds the address of the probe in it.
///
/// The task ends when the process closes its standard error. Of the lines, the last [`LINES_MAX`]
/// are kept. `troubles` gets the warnings and the errors.
async fn read(
    name: &'static str,
    errors: ChildStderr,
    found: watch::Sender<Option<String>>,
    log: Log,
    troubles: LogLines,
) {
    let mut lines = BufReader::new(errors).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some((_, address)) = line.split_once("answering probes address=") {
            found.send_replace(Some(address.trim().to_owned()));
        }
        troubles.add(name, &line);
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() == LINES_MAX {
            log.pop_front();
        }
        log.push_back(line);
    }
}

/// Asks a probe.
///
/// Any answer but 200 means that the program is not ready.
async fn is_ready(address: &str) -> Result<bool> {
    Ok(get(address, "/ready").await?.starts_with("HTTP/1.1 200"))
}

/// Returns the answer of a program to a GET request, with its status line and headers.
///
/// The answer is complete when the program closes the connection, which has two minutes.
async fn get(address: &str, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: probe\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    within("a probe answers", stream.read_to_string(&mut answer)).await??;
    Ok(answer)
}
