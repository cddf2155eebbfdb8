//! A closed loop: each of several tasks starts its next call when it has received the reply.
//!
//! So a slow server gets fewer calls. An open loop shows the delays that a closed one hides.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use tokio::time::timeout;

use crate::echo::{Echo, body, checked};
use crate::figures::Figures;
use crate::latency::Latencies;
use crate::observed::observe;
use crate::trial::Order;

/// The time that the calls in flight have to end after the measurement: longer than the deadline of
/// any call. Without a reply, a call of a bare engine never ends.
const END_MAX: Duration = Duration::from_mins(1);
/// One of so many calls is timed, so that reading the clock costs the others nothing. A lone call
/// is always timed: large bodies have few calls.
const TIMED_EVERY: u64 = 8;

/// State that the tasks of a loop share.
///
/// No other memory depends on these values, so their order is relaxed.
#[derive(Default)]
struct Progress {
    /// Calls that have ended.
    calls: AtomicU64,
    /// Set after the warm-up: latencies count from then on.
    measures: AtomicBool,
    /// Set at the end: a task starts no further call.
    stops: AtomicBool,
}

/// Runs the loop with `number` calls in flight, each a task.
///
/// After the measurement, the tasks end with their current calls. A failed call, a call without a
/// reply, or a reply with another body fails the whole measurement, but only at its end.
///
/// The tasks start before the warm-up. Calls that end after the measurement have a latency, and do
/// not count for the rate.
///
/// If the future is dropped, the tasks go on until the runtime ends.
pub(crate) async fn run<E: Echo>(order: &Order, echo: &E) -> Result<Figures> {
    let progress = Arc::new(Progress::default());
    let timed_every = if order.trial.number == 1 { 1 } else { TIMED_EVERY };
    let repeating = || repeat(echo.clone(), body(order.trial.body), timed_every, progress.clone());
    let callers: Vec<_> = (0..order.trial.number).map(|_| tokio::spawn(repeating())).collect();
    let begin = || progress.measures.store(true, Ordering::Relaxed);
    let observed = observe(order, begin, || progress.calls.load(Ordering::Relaxed)).await;
    progress.stops.store(true, Ordering::Relaxed);
    let ending = async {
        let mut latencies = Latencies::new()?;
        for caller in callers {
            latencies.merge(&caller.await??);
        }
        anyhow::Ok(latencies)
    };
    let latencies = timeout(END_MAX, ending).await;
    // The error of a call comes first: it explains why nothing ended.
    let latencies = latencies.context("cannot end the measurement: calls have no reply")??;
    let mut figures = observed?;
    latencies.write(&mut figures);
    Ok(figures)
}

/// Calls until the end, and returns the latencies of some of the calls.
///
/// A failed call ends the task with an error, and the other tasks go on.
///
/// A task keeps its latencies for itself until its end, so a call takes no lock for its latency.
async fn repeat(
    echo: impl Echo,
    body: Bytes,
    timed_every: u64,
    progress: Arc<Progress>,
) -> Result<Latencies> {
    let mut latencies = Latencies::new()?;
    let mut until_timed = 0;
    while !progress.stops.load(Ordering::Relaxed) {
        let is_timed = until_timed == 0 && progress.measures.load(Ordering::Relaxed);
        let start = is_timed.then(Instant::now);
        checked(&echo, &body).await?;
        if let Some(start) = start {
            latencies.add(start.elapsed());
        }
        until_timed = (until_timed + 1) % timed_every;
        progress.calls.fetch_add(1, Ordering::Relaxed);
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Kind, Trial};

    /// A caller whose calls never end.
    #[derive(Clone)]
    struct Silent;

    impl Echo for Silent {
        async fn echo(&self, _: Bytes) -> Result<Bytes> {
            std::future::pending().await
        }
    }

    fn order() -> Order {
        Order {
            trial: Trial { kind: Kind::Calls, body: 1, number: 2 },
            rate: 0,
            warm_up: Duration::from_millis(500),
            duration: Duration::from_secs(1),
            server: std::process::id(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_without_a_reply_fail_the_measurement() {
        let connecting = async { Ok(Silent) };
        let error = crate::calls::measure(&order(), connecting).await.unwrap_err();
        assert!(error.to_string().contains("no reply"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn connection_that_is_never_made_fails_the_measurement() {
        let connecting = std::future::pending::<Result<Silent>>();
        let error = crate::calls::measure(&order(), connecting).await.unwrap_err();
        assert!(error.to_string().contains("cannot connect"), "{error}");
    }
}
