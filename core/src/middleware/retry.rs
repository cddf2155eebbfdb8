//! Retries of calls.

mod backoff;
mod budget;

use std::sync::Arc;
use std::time::Duration;

pub use self::backoff::Backoff;
pub use self::budget::Budget;
use super::{Middleware, outcome_classification};
use crate::error::{CallError, Code, ErrorKind, Result};
use crate::message::Deadline;
use crate::service::{Reply, Request, Service};
use crate::transport::LogThrottle;

/// Middleware that retries failed requests which are safe to repeat: requests that reached no
/// server, and [idempotent](Request::idempotent) ones.
///
/// Only transient failures are retried:
///
/// - errors of the kinds [`Disconnected`], [`Overloaded`] and [`Unroutable`]
/// - of idempotent requests also faults with [`Code::Unavailable`] or [`Code::Interrupted`] that
///   are not [permanent](crate::Fault::permanent), and attempts that ran out of a deadline of their
///   own
///
/// The default is 3 attempts in all, with the default [`Backoff`] between them. All attempts share
/// the deadline of the request; an attempt that could not begin before the deadline is not made. A
/// [`Budget`] limits the retries of all requests together, so that an outage does not multiply the
/// load. A request that is not retried fails with the error of its last attempt.
///
/// Place it on a client in front of [`CircuitBreaker`](super::CircuitBreaker),
/// [`Deadlines`](super::Deadlines) and limits, which then see each attempt. If a call is dropped,
/// its attempts stop.
///
/// [`Disconnected`]: ErrorKind::Disconnected
/// [`Overloaded`]: ErrorKind::Overloaded
/// [`Unroutable`]: ErrorKind::Unroutable
///
/// ```
/// use polywire_core::middleware::{Backoff, Retry};
///
/// let retry = Retry::new().attempts(5).backoff(Backoff::default());
/// # let _ = retry;
/// ```
#[derive(Clone, Debug)]
pub struct Retry {
    attempts: u32,
    backoff: Backoff,
    budget: Budget,
    /// Throttle for the log line of an exhausted budget, shared by clones.
    exhausted: Arc<LogThrottle>,
}

impl Retry {
    /// Creates a middleware with up to 3 attempts and the default [`Backoff`] and [`Budget`].
    #[must_use]
    pub fn new() -> Self {
        let (backoff, budget) = (Backoff::default(), Budget::default());
        Self { attempts: 3, backoff, budget, exhausted: Arc::default() }
    }

    /// Sets the total number of attempts, at least 1. The default is 3.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// Sets the pauses between attempts. The default is [`Backoff::default`].
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Sets the budget of retries, which layers share through clones. The default is
    /// [`Budget::default`], for this layer alone.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Returns the pause before the next attempt, or `None` if there must be none.
    fn pause(
        &self,
        request: &Request,
        attempt: u32,
        result: &Result<Reply, CallError>,
    ) -> Option<Duration> {
        if !is_retryable(request, result) {
            return None;
        }
        let pause = self.backoff.after(attempt);
        if request.wait_until().is_some_and(|deadline| deadline.remaining() <= pause) {
            return None;
        }
        if !self.budget.withdraw() {
            if let Some(count) = self.exhausted.note() {
                tracing::warn!(attempt, count, "not retried: the retry budget is exhausted");
            }
            return None;
        }
        Some(pause)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

impl Middleware for Retry {
    async fn call<S: Service>(&self, mut request: Request, next: &S) -> Result<Reply, CallError> {
        self.budget.deposit();
        for attempt in 1..self.attempts {
            let again = request.again();
            let result = next.call(request).await;
            let Some(pause) = self.pause(&again, attempt, &result) else { return result };
            let method = again.message.method.as_ref().map_or("", |method| method.as_str());
            let error = outcome_classification::kind(&result).unwrap_or_default();
            let wait_ms = pause.as_millis();
            tracing::debug!(method, attempt, %error, wait_ms, "the call failed and is retried");
            #[cfg(feature = "metrics")]
            super::metrics::count_retry(&error);
            #[cfg(feature = "metrics")]
            let _waiting = super::metrics::WaitingRetry::begin();
            tokio::time::sleep(pause).await;
            request = again;
        }
        next.call(request).await
    }
}

fn is_retryable(request: &Request, result: &Result<Reply, CallError>) -> bool {
    let idempotent = request.idempotent && !request.at_most_once;
    if let Some(fault) = outcome_classification::fault(result) {
        let is_transient = matches!(fault.code, Code::Unavailable | Code::Interrupted);
        return idempotent && is_transient && !fault.is_permanent();
    }
    match result {
        Err(CallError::Failed(error)) => {
            let is_transient = matches!(
                error.kind(),
                ErrorKind::Disconnected | ErrorKind::Overloaded | ErrorKind::Unroutable
            );
            is_transient && (error.is_unsent() || idempotent)
        }
        // A layer behind this one may have given the attempt an earlier deadline.
        Err(CallError::DeadlineExceeded(_)) => {
            idempotent && !request.wait_until().is_some_and(Deadline::is_expired)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, Fault};
    use crate::message::Message;
    use crate::middleware::Layer;
    use crate::service::service_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Returns a service that always fails, and the number of its calls.
    fn failing(
        retry: &Retry,
        fail: fn() -> Result<Reply, CallError>,
    ) -> (impl Service, Arc<AtomicU32>) {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = calls.clone();
        let service = service_fn(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { fail() }
        });
        (retry.layer(service), calls)
    }

    fn request(idempotent: bool) -> Request {
        let message = Message { deadline: Some(Deadline::after_ms(30_000)), ..Message::default() };
        Request { idempotent, ..Request::new(message) }
    }

    async fn attempts(idempotent: bool, fail: fn() -> Result<Reply, CallError>) -> u32 {
        let (service, calls) = failing(&Retry::new(), fail);
        let _ = service.call(request(idempotent)).await;
        calls.load(Ordering::Relaxed)
    }

    fn lost() -> Result<Reply, CallError> {
        Err(Error::new(ErrorKind::Disconnected, "the connection was lost").into())
    }

    fn unsent() -> Result<Reply, CallError> {
        Err(Error::new(ErrorKind::Disconnected, "cannot connect").unsent().into())
    }

    #[tokio::test(start_paused = true)]
    async fn only_requests_that_are_safe_to_repeat_are_retried() {
        assert_eq!(attempts(false, unsent).await, 3);
        assert_eq!(attempts(false, lost).await, 1);
        assert_eq!(attempts(true, lost).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn only_transient_failures_are_retried() {
        let closed = || Err(Error::new(ErrorKind::Closed, "closed").unsent().into());
        let refused = || Ok(Message::failed(Fault::new(Code::Application, "no")).into());
        let busy = || Ok(Message::failed(Fault::new(Code::Unavailable, "draining")).into());
        assert_eq!(attempts(true, closed).await, 1);
        assert_eq!(attempts(true, refused).await, 1);
        assert_eq!(attempts(true, busy).await, 3);
        assert_eq!(attempts(false, busy).await, 1);
        let gone = || {
            let fault = Fault::new(Code::Unavailable, "closed for good").permanent();
            Ok(Message::failed(fault).into())
        };
        assert_eq!(attempts(true, gone).await, 1);
        let cut = || Ok(Message::failed(Fault::new(Code::Interrupted, "it may have run")).into());
        assert_eq!((attempts(true, cut).await, attempts(false, cut).await), (3, 1));
        assert_eq!(attempts(true, || Ok(Reply::default())).await, 1);
        assert_eq!(attempts(true, || Err(CallError::deadline_exceeded())).await, 3);
        assert_eq!(attempts(false, || Err(CallError::deadline_exceeded())).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn attempt_that_would_begin_after_the_deadline_is_not_made() {
        let hour = Duration::from_secs(3600);
        let (service, calls) = failing(&Retry::new().backoff(Backoff::constant(hour)), unsent);
        let start = tokio::time::Instant::now();
        assert!(service.call(request(true)).await.is_err());
        assert_eq!((calls.load(Ordering::Relaxed), start.elapsed()), (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn outage_does_not_multiply_the_calls() {
        let (service, calls) =
            failing(&Retry::new().attempts(10).budget(Budget::new(20, 0)), unsent);
        for _ in 0..100 {
            assert!(service.call(request(false)).await.is_err());
        }
        let calls = calls.load(Ordering::Relaxed);
        assert!((100..=120).contains(&calls), "{calls}");
    }
}
