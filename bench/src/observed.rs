//! The time of a measurement, and the processor time within it.
//!
//! The load runs in other tasks or threads. The observing task sleeps, and looks twice.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::figures::{Figures, Metric};
use crate::trial::Order;
use crate::usage::cpu_time;

/// Waits for the warm-up, calls `begin`, and counts until the end of the measurement.
///
/// `done` returns the number of calls or deliveries that have ended so far. The returned figures
/// have the rate, and the processor time of both processes for each of them. Both the count and the
/// processor time are those between the warm-up and the end.
///
/// Dropping the future ends the observation, and nothing else.
///
/// The count must not shrink. At both ends, the clock and the count are read before the processor
/// time, so the time of reading shifts both ends alike.
///
/// The rate is formed with the time that has passed, which may be longer than that of the order.
///
/// # Errors
///
/// If nothing ends within the time, or if the server has ended.
pub(crate) async fn observe(
    order: &Order,
    begin: impl FnOnce(),
    done: impl Fn() -> u64,
) -> Result<Figures> {
    tokio::time::sleep(order.warm_up).await;
    begin();
    let client = std::process::id();
    let cpu = || anyhow::Ok([cpu_time(client)?, cpu_time(order.server)?]);
    let (start, before, cpu_before) = (Instant::now(), done(), cpu()?);
    tokio::time::sleep(order.duration).await;
    let (count, took, cpu_after) = (done() - before, start.elapsed(), cpu()?);
    ensure!(count > 0, "nothing ended within {took:?}: set --seconds higher");
    let mut figures = Figures::default();
    figures.set(Metric::Rate, count as f64 / took.as_secs_f64());
    let each = |after: Duration, before: Duration| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / count as f64
    };
    let [client, server] = [0, 1].map(|at| each(cpu_after[at], cpu_before[at]));
    figures.set(Metric::CpuUs, client + server);
    figures.set(Metric::ClientCpuUs, client);
    figures.set(Metric::ServerCpuUs, server);
    Ok(figures)
}
