//! An open loop: calls start at a fixed rate, however long earlier calls take.
//!
//! The latency of a call counts from the time at which the schedule has it, and not from the time
//! at which it was sent. So a server that stops for a moment delays all calls of that moment, as it
//! would delay the calls of independent users. A closed loop sends fewer calls meanwhile, and hides
//! most of the delay.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::echo::{Echo, body, checked};
use crate::figures::{Figures, Metric};
use crate::latency::Latencies;
use crate::observed::observe;
use crate::trial::Order;

/// Calls in flight at most. A call that the schedule has beyond them is not sent, and counts as
/// missed.
///
/// The programs in Python have the same bound.
const IN_FLIGHT_MAX: usize = 50_000;
/// The time that the calls in flight have to end after the measurement.
const END_MAX: Duration = Duration::from_mins(1);

/// Outcomes of all calls after the warm-up.
///
/// The fields change together, under the lock of `Shared`.
struct Outcomes {
    /// Latencies from the scheduled times.
    latencies: Latencies,
    /// Delays of the load generator: from the scheduled time to the start of the call.
    delays: Latencies,
    /// Calls that ended.
    ended: u64,
    /// Calls that were not sent.
    missed: u64,
    /// The first error of a call.
    error: Option<anyhow::Error>,
}

/// State that the scheduling thread and all calls share.
struct Shared {
    outcomes: Mutex<Outcomes>,
    /// Calls that were started and have not ended.
    in_flight: AtomicUsize,
}

impl Shared {
    /// Locks the outcomes, also after a panic under the lock. The lock is held across no await.
    fn outcomes(&self) -> MutexGuard<'_, Outcomes> {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls at the rate of the order, for the warm-up and the measurement.
///
/// A thread of its own keeps the schedule, since a timer of the runtime is late by a millisecond.
/// The thread sleeps until the next call is due, and then starts all calls that are due.
///
/// A call of the warm-up counts only if it fails. The first error fails the measurement, after all
/// calls have ended or the minute has passed.
///
/// If the future is dropped, the thread keeps its schedule until the end.
///
/// # Errors
///
/// If a call fails, or has no reply a minute after the end.
pub(crate) async fn run<E: Echo>(order: &Order, echo: &E) -> Result<Figures> {
    let outcomes = Outcomes {
        latencies: Latencies::new()?,
        delays: Latencies::new()?,
        ended: 0,
        missed: 0,
        error: None,
    };
    let in_flight = AtomicUsize::new(0);
    let shared = Arc::new(Shared { outcomes: Mutex::new(outcomes), in_flight });
    let keeping = {
        let (order, echo, shared) = (*order, echo.clone(), shared.clone());
        let runtime = Handle::current();
        thread::spawn(move || keep_schedule(&order, &echo, &shared, &runtime))
    };
    let observed = observe(order, || {}, || shared.outcomes().ended).await;
    if tokio::task::spawn_blocking(move || keeping.join()).await?.is_err() {
        bail!("the thread of the schedule has panicked");
    }
    let ended = timeout(END_MAX, all_ended(&shared.in_flight)).await;
    let mut outcomes = shared.outcomes();
    if let Some(error) = outcomes.error.take() {
        return Err(error);
    }
    ended.context("cannot end the measurement: calls have no reply")?;
    let mut figures = observed?;
    outcomes.latencies.write(&mut figures);
    figures.set(Metric::ScheduleP99Us, outcomes.delays.within(0.99).unwrap_or(f64::NAN));
    let all = outcomes.ended + outcomes.missed;
    figures.set(Metric::Missed, outcomes.missed as f64 / all as f64);
    Ok(figures)
}

/// Starts each call when it is due, until the measurement ends.
///
/// Call `n` is due `n / rate` seconds after the start, so a late call moves no later one. A thread
/// that lags behind starts all due calls without a pause, and returns later than the order says.
fn keep_schedule<E: Echo>(order: &Order, echo: &E, shared: &Arc<Shared>, runtime: &Handle) {
    let (start, body) = (Instant::now(), body(order.trial.body));
    let end = order.warm_up + order.duration;
    let interval = 1.0 / order.rate.max(1) as f64;
    let mut number = 0_u64;
    loop {
        let due = Duration::from_secs_f64(number as f64 * interval);
        if due >= end {
            return;
        }
        if let Some(early) = due.checked_sub(start.elapsed()) {
            thread::sleep(early);
        }
        let is_measured = due >= order.warm_up;
        if shared.in_flight.fetch_add(1, Ordering::Relaxed) < IN_FLIGHT_MAX {
            let (echo, body, shared) = (echo.clone(), body.clone(), shared.clone());
            runtime.spawn(call(echo, body, shared, start + due, is_measured));
        } else {
            shared.in_flight.fetch_sub(1, Ordering::Relaxed);
            shared.outcomes().missed += u64::from(is_measured);
        }
        number += 1;
    }
}

/// Makes one call, and records its latency from the time at which it was due.
///
/// The delay of the load generator is part of the latency.
async fn call(echo: impl Echo, body: Bytes, shared: Arc<Shared>, due: Instant, is_measured: bool) {
    let delay = due.elapsed();
    let outcome = checked(&echo, &body).await;
    let latency = due.elapsed();
    shared.in_flight.fetch_sub(1, Ordering::Relaxed);
    let mut outcomes = shared.outcomes();
    match outcome {
        Ok(()) if is_measured => {
            outcomes.ended += 1;
            outcomes.latencies.add(latency);
            outcomes.delays.add(delay);
        }
        Ok(()) => {}
        Err(error) => {
            outcomes.error.get_or_insert(error);
        }
    }
}

/// Waits until no call is in flight.
///
/// Looks each millisecond. A call whose task panics stays in flight, so the caller needs a bound.
async fn all_ended(in_flight: &AtomicUsize) {
    while in_flight.load(Ordering::Relaxed) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Kind, Trial};

    /// A caller that stops once for 200 ms, with all calls of that time.
    #[derive(Clone)]
    struct Stopping(Arc<Mutex<u32>>);

    impl Echo for Stopping {
        async fn echo(&self, body: Bytes) -> Result<Bytes> {
            let mut calls = self.0.lock().unwrap();
            *calls += 1;
            if *calls == 200 {
                thread::sleep(Duration::from_millis(200));
            }
            Ok(body)
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn latency_counts_from_the_schedule() -> Result<()> {
        let order = Order {
            trial: Trial { kind: Kind::Rate, body: 8, number: 1_000 },
            rate: 1_000,
            warm_up: Duration::from_millis(100),
            duration: Duration::from_millis(500),
            server: std::process::id(),
        };
        let figures = run(&order, &Stopping(Arc::default())).await?;
        // A closed loop would see one slow call of 500. Here a fifth of the calls waits for more
        // than 100 ms.
        let slow = figures.latency.iter().filter(|(share, us)| *share <= 0.9 && *us > 90_000.0);
        assert!(slow.count() > 0, "{figures:?}");
        assert_eq!(figures.get(Metric::Missed), Some(0.0));
        Ok(())
    }
}
