//! Memory of calls in flight: the server holds all calls and answers none.
//!
//! The memory is that of resident pages. Memory that an allocator had kept free is used first, and
//! does not count.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::echo::{Echo, body};
use crate::figures::{Figures, Metric};
use crate::trial::Order;
use crate::usage::{cpu_time, memory};

/// The pause between two looks at the processor time.
const PAUSE: Duration = Duration::from_millis(100);
/// Looks in a row at which both processes have to be quiet.
const QUIET_LOOKS: u32 = 5;
/// Processor time of both processes between two looks, at most, for them to be quiet.
///
/// The bound is 5 % of one core.
const QUIET: Duration = Duration::from_millis(5);
/// Looks at most: 20 s, which is less than the deadline of a call.
const LOOKS_MAX: u32 = 200;

/// Starts `number` calls, each a task, and returns the growth of both processes for each call.
///
/// The memory is read when both processes have become quiet: by then each request is where it
/// stays. The growth of the server is that of all calls as well, also if some of them wait for the
/// window of the server, in a socket or at the broker.
///
/// The calls share one body, so its bytes count where a caller or an engine copies them.
///
/// If the future is dropped, the calls stay in flight until the runtime ends.
///
/// # Errors
///
/// If a call ends meanwhile, or if the processes do not become quiet within 20 s.
pub(crate) async fn run<E: Echo>(order: &Order, echo: &E) -> Result<Figures> {
    let (calls, body) = (order.trial.number, body(order.trial.body));
    let client = std::process::id();
    let resident = || anyhow::Ok([memory(client)?, memory(order.server)?]);
    let before = resident()?;
    let ended = Arc::new(AtomicU64::new(0));
    for _ in 0..calls {
        let (echo, body, ended) = (echo.clone(), body.clone(), ended.clone());
        tokio::spawn(async move {
            let outcome = echo.echo(body).await;
            if ended.fetch_add(1, Ordering::Relaxed) == 0 {
                eprintln!("a call ended, which the server holds: {:?}", outcome.err());
            }
        });
    }
    become_quiet(client, order.server).await?;
    let ended = ended.load(Ordering::Relaxed);
    ensure!(ended == 0, "{ended} of {calls} calls ended, which the server holds");
    let after = resident()?;
    let mut figures = Figures::default();
    for (at, metric) in [Metric::ClientBytes, Metric::ServerBytes].into_iter().enumerate() {
        figures.set(metric, after[at].saturating_sub(before[at]) as f64 / calls as f64);
    }
    Ok(figures)
}

/// Waits until both processes need hardly any processor time.
///
/// # Errors
///
/// If a process has ended, or if both are still busy at the last look.
async fn become_quiet(client: u32, server: u32) -> Result<()> {
    let used = || anyhow::Ok(cpu_time(client)? + cpu_time(server)?);
    let (mut last, mut quiet_looks) = (used()?, 0);
    for _ in 0..LOOKS_MAX {
        tokio::time::sleep(PAUSE).await;
        let now = used()?;
        quiet_looks = if now.saturating_sub(last) < QUIET { quiet_looks + 1 } else { 0 };
        last = now;
        if quiet_looks == QUIET_LOOKS {
            return Ok(());
        }
    }
    anyhow::bail!("cannot measure memory: the processes are still busy after 20 s")
}
