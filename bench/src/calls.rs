//! The measurements that any caller of an echo service can make.
//!
//! `bench/peers` compiles this file as well, so libraries differ by their callers alone.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::timeout;

use crate::echo::{Echo, body, checked};
use crate::figures::Figures;
use crate::trial::{Kind, Order};
use crate::{closed_loop, held_calls, idle, open_loop};

/// The time to connect to a server that is ready.
const CONNECT_MAX: Duration = Duration::from_mins(1);
/// The time of the first call.
const FIRST_MAX: Duration = Duration::from_mins(1);

/// Connects a caller, and makes the measurement of the order.
///
/// Takes at most some minutes longer than the order says: one to connect, and one until calls in
/// flight have ended. If the future is dropped, calls go on until the runtime ends.
///
/// The time of the connection is no part of any figure but the first reply of a process.
///
/// # Errors
///
/// If the caller cannot connect, if a call fails, or if the kind is none of calls.
pub(crate) async fn measure<E: Echo>(
    order: &Order,
    connecting: impl Future<Output = Result<E>>,
) -> Result<Figures> {
    let echo = timeout(CONNECT_MAX, connecting).await;
    let echo = echo.context("cannot connect to the server in time")??;
    match order.trial.kind {
        Kind::Calls => closed_loop::run(order, &echo).await,
        Kind::Open | Kind::Rate => open_loop::run(order, &echo).await,
        Kind::Held => held_calls::run(order, &echo).await,
        Kind::First => first(order, &echo).await,
        Kind::Idle => {
            first(order, &echo).await?;
            idle::observe(order).await
        }
        kind => bail!("no trial of calls: {}", kind.name()),
    }
}

/// Calls once. The process that started this one measures the time.
///
/// Returns no figures, and fails after a minute without a reply.
async fn first(order: &Order, echo: &impl Echo) -> Result<Figures> {
    let call = timeout(FIRST_MAX, checked(echo, &body(order.trial.body))).await;
    call.context("cannot get a first reply in time")??;
    Ok(Figures::default())
}
