//! A closed loop: each of several tasks starts its next call when it has received the reply.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::time::timeout;

use crate::latency::{Latencies, Latency};

/// The load on a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Load {
    /// The size of the body of every call, in bytes.
    pub(crate) body: usize,
    /// Calls in flight at any time.
    pub(crate) in_flight: usize,
}

/// The time before the measurement starts.
///
/// The calls of this time count for the CPU time and for the latencies, and not for the throughput.
const WARM_UP: Duration = Duration::from_millis(500);
/// The time that the calls in flight have to end after the measurement: longer than the deadline of
/// any call. Without a reply, a call of a bare engine never ends.
const END_MAX: Duration = Duration::from_mins(1);
/// One of so many calls is timed, so that reading the clock costs the others nothing.
const TIMED_EVERY: u64 = 8;

/// A caller of an echo service.
///
/// Clones share the connection, and each task of the load has one clone.
pub(crate) trait Echo: Clone + Send + Sync + 'static {
    /// Calls the service, and returns the body of the reply.
    ///
    /// An error fails the measurement.
    fn echo(&self, body: Bytes) -> impl Future<Output = Result<Bytes>> + Send;
}

impl Load {
    /// Returns the body of every call.
    pub(crate) fn body(self) -> Bytes {
        vec![7; self.body].into()
    }

    /// Runs the loop over `echo` for this time, after the warm-up.
    ///
    /// Each call in flight is a task. After the measurement, the tasks end with their current
    /// calls. A failed call, a call without a reply, or a reply with another body fails the whole
    /// measurement, but only at its end.
    pub(crate) async fn run(self, echo: impl Echo, duration: Duration) -> Result<Figures> {
        let (calls, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let callers: Vec<_> = (0..self.in_flight)
            .map(|_| {
                let (echo, calls, stop) = (echo.clone(), calls.clone(), stop.clone());
                tokio::spawn(repeat(echo, self.body(), calls, stop))
            })
            .collect();
        let mut figures = observe(duration, || calls.load(Ordering::Relaxed)).await;
        stop.store(true, Ordering::Relaxed);
        let ending = async {
            let mut latencies = Latencies::new()?;
            for caller in callers {
                latencies.merge(&caller.await??);
            }
            anyhow::Ok(latencies)
        };
        let latencies = timeout(END_MAX, ending).await;
        let latencies = latencies.context("cannot end the measurement: calls have no reply")??;
        figures.latency = latencies.quantiles();
        Ok(figures)
    }
}

/// Calls until `stop`, and returns the latencies of some of the calls.
///
/// `calls` counts each completed call. Every eighth call is timed, the first one included.
async fn repeat(
    echo: impl Echo,
    body: Bytes,
    calls: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> Result<Latencies> {
    let mut latencies = Latencies::new()?;
    let mut until_timed = 0;
    while !stop.load(Ordering::Relaxed) {
        let start = (until_timed == 0).then(Instant::now);
        let reply = echo.echo(body.clone()).await?;
        anyhow::ensure!(reply == body, "the reply is not the body of the call");
        if let Some(start) = start {
            latencies.add(start.elapsed());
        }
        until_timed = (until_timed + 1) % TIMED_EVERY;
        calls.fetch_add(1, Ordering::Relaxed);
    }
    Ok(latencies)
}

/// Counts the calls between the warm-up and the end.
///
/// `done` returns the number of calls that have completed so far. The CPU time, the latencies and
/// the memory are left empty.
pub(crate) async fn observe(duration: Duration, done: impl Fn() -> u64) -> Figures {
    tokio::time::sleep(WARM_UP).await;
    let (start, before) = (Instant::now(), done());
    tokio::time::sleep(duration).await;
    let (calls, took) = (done() - before, start.elapsed());
    Figures { calls, took, cpu: Duration::ZERO, latency: None, server_peak: 0 }
}

/// The result of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Calls that completed during the measurement.
    pub(crate) calls: u64,
    /// The duration of the measurement.
    pub(crate) took: Duration,
    /// CPU time of both processes, warm-up included.
    pub(crate) cpu: Duration,
    /// Latencies, warm-up included. `None` if the subject does not tell its calls apart.
    pub(crate) latency: Option<Latency>,
    /// The most memory that was resident in the server, in bytes.
    pub(crate) server_peak: u64,
}

impl Figures {
    /// Returns the throughput.
    pub(crate) fn calls_per_second(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }

    /// Returns the CPU time of both processes for one call, in microseconds.
    ///
    /// The CPU time includes the warm-up, so the number of calls is extrapolated to the warm-up at
    /// the same rate.
    pub(crate) fn cpu_us_per_call(&self) -> f64 {
        let whole = self.took + WARM_UP;
        self.cpu.as_secs_f64() * 1e6 / (self.calls_per_second() * whole.as_secs_f64())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (speed, cpu) = (self.calls_per_second(), self.cpu_us_per_call());
        write!(f, "{speed:>9.0} calls/s, {cpu:>6.2} us of CPU a call")?;
        match self.latency {
            Some(Latency { p50, p99, .. }) => write!(f, ", {p50:.0} us (p99 {p99:.0} us)"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A caller whose calls never end.
    #[derive(Clone)]
    struct Silent;

    impl Echo for Silent {
        async fn echo(&self, _: Bytes) -> Result<Bytes> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_without_a_reply_fail_the_measurement() {
        let load = Load { body: 1, in_flight: 2 };
        let error = load.run(Silent, Duration::from_secs(1)).await.unwrap_err();
        assert!(error.to_string().contains("no reply"), "{error}");
    }
}
