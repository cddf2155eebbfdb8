//! What to try again, how often, and when to stop.

mod backoff;
mod budget;

pub use self::backoff::Backoff;
pub use self::budget::Budget;
use super::{Middleware, failure};
use crate::error::{CallError, Code, ErrorKind, Result};
use crate::message::Deadline;
use crate::service::{Reply, Request, Service};

/// Tries again what failed, where that cannot do the work twice: the request provably reached
/// nobody, or it is [idempotent](Request::idempotent).
///
/// Only what a little time may mend is repeated: a lost connection, nobody there, too much at once,
/// and for idempotent requests also an attempt that ran out of its own time, and a peer that cannot
/// take the call now. All attempts share the deadline of the request. A [`Budget`] bounds the
/// repeats of everybody together, so that an outage does not become a storm. What is not repeated
/// fails as it did the last time.
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
}

impl Retry {
    /// Tries up to three times in all, with the default [`Backoff`] and [`Budget`].
    #[must_use]
    pub fn new() -> Self {
        Self { attempts: 3, backoff: Backoff::default(), budget: Budget::default() }
    }

    /// How often a request is tried in all, at least once. The default is 3.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// How long to wait in between.
    #[must_use]
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// How many repeats there may be for so many requests. Layers that are given clones of one
    /// budget share it.
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Whether another attempt is allowed, and fits into the time; then how long to wait for it.
    fn pause(
        &self,
        request: &Request,
        attempt: u32,
        outcome: &Result<Reply, CallError>,
    ) -> Option<Wait> {
        if !may_be_repeated(request, outcome) {
            return None;
        }
        let wait = self.backoff.after(attempt);
        if request.message.deadline.is_some_and(|deadline| deadline.remaining() <= wait) {
            return None;
        }
        if !self.budget.withdraw() {
            tracing::warn!(attempt, "not tried again: the budget of repeats is used up");
            return None;
        }
        Some(wait)
    }
}

type Wait = std::time::Duration;

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
            let outcome = next.call(request).await;
            let Some(wait) = self.pause(&again, attempt, &outcome) else { return outcome };
            let method = again.message.method.as_ref().map_or("", |method| method.as_str());
            let error = failure::kind(&outcome).unwrap_or_default();
            tracing::debug!(method, attempt, %error, wait_ms = wait.as_millis(), "failed; it is tried again");
            #[cfg(feature = "metrics")]
            super::metrics::count_retry(&error);
            tokio::time::sleep(wait).await;
            request = again;
        }
        next.call(request).await
    }
}

fn may_be_repeated(request: &Request, outcome: &Result<Reply, CallError>) -> bool {
    if let Some(fault) = failure::fault(outcome) {
        return request.idempotent && fault.code == Code::Unavailable;
    }
    match outcome {
        Err(CallError::Failed(error)) => {
            let passes = matches!(
                error.kind(),
                ErrorKind::Disconnected | ErrorKind::Overloaded | ErrorKind::Unroutable
            );
            passes && (error.is_unsent() || request.idempotent)
        }
        // The attempt may have had less time than the request, from a layer behind this one.
        Err(CallError::DeadlineExceeded(_)) => {
            request.idempotent && !request.message.deadline.is_some_and(Deadline::is_expired)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::error::{Error, Fault};
    use crate::message::Message;
    use crate::middleware::Layer;
    use crate::service::service_fn;

    /// A service that always fails like this, and how often it was called.
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
    async fn only_what_cannot_be_done_twice_is_repeated() {
        assert_eq!(attempts(false, unsent).await, 3);
        assert_eq!(attempts(false, lost).await, 1);
        assert_eq!(attempts(true, lost).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_time_does_not_mend_is_not_repeated() {
        let closed = || Err(Error::new(ErrorKind::Closed, "closed").unsent().into());
        let refused = || Ok(Message::failed(Fault::new(Code::Application, "no")).into());
        let busy = || Ok(Message::failed(Fault::new(Code::Unavailable, "draining")).into());
        assert_eq!(attempts(true, closed).await, 1);
        assert_eq!(attempts(true, refused).await, 1);
        assert_eq!(attempts(true, busy).await, 3);
        assert_eq!(attempts(false, busy).await, 1);
        assert_eq!(attempts(true, || Ok(Reply::default())).await, 1);
        assert_eq!(attempts(true, || Err(CallError::deadline_exceeded())).await, 3);
        assert_eq!(attempts(false, || Err(CallError::deadline_exceeded())).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn no_attempt_is_waited_for_that_would_come_too_late() {
        let hour = Duration::from_secs(3600);
        let (service, calls) = failing(&Retry::new().backoff(Backoff::constant(hour)), unsent);
        let start = tokio::time::Instant::now();
        assert!(service.call(request(true)).await.is_err());
        assert_eq!((calls.load(Ordering::Relaxed), start.elapsed()), (1, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_does_not_multiply_the_calls() {
        let (service, calls) =
            failing(&Retry::new().attempts(10).budget(Budget::new(20, 0)), unsent);
        for _ in 0..100 {
            assert!(service.call(request(false)).await.is_err());
        }
        let calls = calls.load(Ordering::Relaxed);
        assert!((100..=120).contains(&calls), "{calls}");
    }
}
