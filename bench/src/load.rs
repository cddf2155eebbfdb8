//! A closed loop: each of several tasks starts its next call when it has received the reply.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;

/// The body of every call.
pub(crate) const BODY: [u8; 64] = [7; 64];

/// The load on a subject.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    /// Calls in flight at any time.
    pub(crate) in_flight: usize,
    /// The duration of the measurement, without the warm-up.
    pub(crate) duration: Duration,
}

/// The time before the measurement starts.
const WARM_UP: Duration = Duration::from_millis(500);

/// A caller of an echo service.
pub(crate) trait Echo: Clone + Send + Sync + 'static {
    /// Calls the service, and returns the body of the reply.
    fn echo(&self, body: Bytes) -> impl Future<Output = Result<Bytes>> + Send;
}

impl Load {
    /// Runs the loop over `echo`.
    pub(crate) async fn run(self, echo: impl Echo) -> Result<Figures> {
        let (calls, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let callers: Vec<_> = (0..self.in_flight)
            .map(|_| {
                let (echo, calls, stop) = (echo.clone(), calls.clone(), stop.clone());
                tokio::spawn(async move {
                    while !stop.load(Ordering::Relaxed) {
                        let body = echo.echo(Bytes::from_static(&BODY)).await?;
                        anyhow::ensure!(
                            body.len() == BODY.len(),
                            "the reply has {} bytes",
                            body.len()
                        );
                        calls.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(())
                })
            })
            .collect();
        let figures = self.observe(|| calls.load(Ordering::Relaxed)).await;
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.await??;
        }
        Ok(figures)
    }

    /// Counts the calls between the warm-up and the end.
    pub(crate) async fn observe(self, done: impl Fn() -> u64) -> Figures {
        tokio::time::sleep(WARM_UP).await;
        let (start, before) = (Instant::now(), done());
        tokio::time::sleep(self.duration).await;
        Figures { calls: done() - before, took: start.elapsed(), cpu: Duration::ZERO }
    }
}

/// The result of a measurement.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    /// Calls that completed during the measurement.
    pub(crate) calls: u64,
    /// The duration of the measurement.
    pub(crate) took: Duration,
    /// CPU time of both processes, warm-up included.
    pub(crate) cpu: Duration,
}

impl Figures {
    /// Returns the throughput.
    pub(crate) fn calls_per_second(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }

    /// Returns the CPU time of both processes for one call, in microseconds.
    pub(crate) fn cpu_us_per_call(&self) -> f64 {
        let whole = self.took + WARM_UP;
        self.cpu.as_secs_f64() * 1e6 / (self.calls_per_second() * whole.as_secs_f64())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>9.0} calls/s, {:>6.2} us of CPU a call",
            self.calls_per_second(),
            self.cpu_us_per_call()
        )
    }
}
