//! Settings of middleware at the edges of their types.

use std::time::Duration;

use polywire_core::middleware::{
    Backoff, Budget, CircuitBreaker, ConcurrencyLimit, Deadlines, Middleware, RateLimit, Retry,
};
use polywire_core::{CallError, Deadline, Error, ErrorKind, Message, Reply, Request, service_fn};

use super::extremes::{Row, row};

/// Sends requests through a middleware: to a service that replies, and to one that fails.
async fn through(middleware: impl Middleware) -> Result<(), String> {
    let replies = service_fn(async |_| Ok(Reply::default()));
    let fails = service_fn(async |_| Err(CallError::deadline_exceeded()));
    let lost = service_fn(async |_| Err(Error::new(ErrorKind::Disconnected, "lost").into()));
    for _ in 0..3 {
        let minute = Deadline::after(Duration::from_secs(60));
        let mut request = Request::new(Message::default().with_deadline(minute));
        request.idempotent = true;
        let _ = middleware.call(request.again(), &replies).await;
        let _ = middleware.call(request.again(), &fails).await;
        let _ = middleware.call(request, &lost).await;
    }
    Ok(())
}

pub(crate) fn rows() -> Vec<Row> {
    let retry = |backoff| Retry::new().backoff(backoff);
    vec![
        row("middleware::Backoff::new", move |x| through(retry(Backoff::new(x.time(), x.time())))),
        row("middleware::Backoff::constant", async |x| {
            let pause = Backoff::constant(x.time()).after(x.u32());
            if pause == x.time() { Ok(()) } else { Err(format!("{pause:?}")) }
        }),
        row("middleware::Budget::new", |x| {
            through(Retry::new().budget(Budget::new(x.u32(), x.u32())))
        }),
        row("middleware::Retry::attempts", |x| through(Retry::new().attempts(x.u32()))),
        row("middleware::CircuitBreaker::failures", |x| {
            through(CircuitBreaker::new().failures(x.u32()))
        }),
        row("middleware::CircuitBreaker::pause", |x| {
            through(CircuitBreaker::new().failures(1).pause(x.time()))
        }),
        row("middleware::ConcurrencyLimit::new", |x| through(ConcurrencyLimit::new(x.usize()))),
        row("middleware::ConcurrencyLimit::wait_max", |x| {
            through(ConcurrencyLimit::new(1).wait_max(x.time()))
        }),
        row("middleware::ConcurrencyLimit::waiting_max", |x| {
            through(ConcurrencyLimit::new(1).waiting_max(x.usize()))
        }),
        row("middleware::Deadlines::fallback", |x| through(Deadlines::new().fallback(x.time()))),
        row("middleware::Deadlines::cap", |x| through(Deadlines::new().cap(x.time()))),
        row("middleware::Deadlines::method", |x| {
            through(Deadlines::new().method("double", x.time()).unwrap())
        }),
        row("middleware::RateLimit::new", async |x| {
            through(RateLimit::new(x.u32(), x.time())).await?;
            through(RateLimit::new(1, x.time()).burst(u32::MAX)).await?;
            through(RateLimit::new(x.u32(), Duration::from_secs(1))).await
        }),
        row("middleware::RateLimit::burst", async |x| {
            through(RateLimit::new(1, Duration::from_secs(1)).burst(x.u32())).await?;
            through(RateLimit::new(1, Duration::MAX).burst(x.u32())).await
        }),
        row("middleware::RateLimit::wait_max", |x| {
            through(RateLimit::new(1, Duration::from_secs(1)).wait_max(x.time()))
        }),
    ]
}
