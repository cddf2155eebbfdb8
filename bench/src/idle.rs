//! Processor time of processes that have nothing to do.
//!
//! The client has connected and has made what its trial needs: a first call, or all subscriptions.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::figures::{Figures, Metric};
use crate::trial::Order;
use crate::usage::cpu_time;

/// The time after the last message in which both processes may still do what follows it.
///
/// This time takes the place of a warm-up.
const SETTLING: Duration = Duration::from_secs(1);

/// Does nothing for the time of the order, and returns the processor time of both processes.
///
/// The unit is microseconds in a second, for each process alone.
///
/// # Errors
///
/// If the server has ended.
pub(crate) async fn observe(order: &Order) -> Result<Figures> {
    tokio::time::sleep(SETTLING).await;
    let client = std::process::id();
    let cpu = || anyhow::Ok([cpu_time(client)?, cpu_time(order.server)?]);
    let (start, before) = (Instant::now(), cpu()?);
    tokio::time::sleep(order.duration).await;
    let (took, after) = (start.elapsed().as_secs_f64(), cpu()?);
    let mut figures = Figures::default();
    for (at, metric) in [Metric::ClientIdleUs, Metric::ServerIdleUs].into_iter().enumerate() {
        figures.set(metric, after[at].saturating_sub(before[at]).as_secs_f64() * 1e6 / took);
    }
    Ok(figures)
}
