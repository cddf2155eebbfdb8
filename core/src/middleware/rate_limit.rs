//! Rate limit.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Middleware;
use super::overload_refusal::{WAIT_MAX, overloaded};
use crate::error::{CallError, Result};
use crate::message::Deadline;
use crate::service::{Reply, Request, Service};

/// Middleware that limits the requests per period with a token bucket.
///
/// Further requests wait for a token, in order. A request that would wait longer than the limit
/// (default 30 seconds) or past its deadline is refused at once: it fails as unsent with
/// [`ErrorKind::Overloaded`], which a server answers with [`Code::Unavailable`].
///
/// Place it innermost, behind [`Retry`](super::Retry) on a client and behind
/// [`Authenticate`](super::Authenticate) on a server. A call that is dropped while it waits has
/// used its token.
///
/// ```
/// # use std::time::Duration;
/// use polywire_core::middleware::RateLimit;
///
/// // 100 requests per second, evenly; after a pause up to 20 at once.
/// let limit = RateLimit::new(100, Duration::from_secs(1)).burst(20);
/// # let _ = limit;
/// ```
///
/// [`Code::Unavailable`]: crate::Code::Unavailable
/// [`ErrorKind::Overloaded`]: crate::ErrorKind::Overloaded
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// Moment at which the bucket is full again. The moment is the whole state of the bucket.
    full_at: Arc<Mutex<Instant>>,
    interval: Duration,
    burst: u32,
    wait_max: Duration,
}

impl RateLimit {
    /// Limits the rate to `requests`, at least 1, per `period`, with bursts of as many requests.
    /// Further requests wait up to 30 seconds. Each request adds at most [`Deadline::MAX`] to the
    /// time until the next; a period of zero limits nothing.
    #[must_use]
    pub fn new(requests: u32, period: Duration) -> Self {
        let requests = requests.max(1);
        let full_at = Arc::new(Mutex::new(Instant::now()));
        // Even the longest burst of the longest intervals fits into the clock.
        let interval = (period / requests).min(Deadline::MAX);
        Self { full_at, interval, burst: requests, wait_max: WAIT_MAX }
    }

    /// Sets the number of requests that pass at once after a pause, at least 1. The default is the
    /// number of requests per period.
    #[must_use]
    pub fn burst(self, requests: u32) -> Self {
        Self { burst: requests.max(1), ..self }
    }

    /// Sets the longest wait for a token. The default is 30 seconds. An earlier deadline of the
    /// request takes precedence.
    #[must_use]
    pub fn wait_max(self, wait_max: Duration) -> Self {
        Self { wait_max, ..self }
    }

    /// Refuses excess requests at once instead of letting them wait.
    #[must_use]
    pub fn shed(self) -> Self {
        self.wait_max(Duration::ZERO)
    }

    /// Takes a token that is available no later than `until`. Returns the moment of the token.
    fn take(&self, now: Instant, until: Instant) -> Option<Instant> {
        // No code panics while it holds the lock.
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = (*full_at).max(now) + self.interval;
        let available = filled.checked_sub(self.interval * self.burst).unwrap_or(now).max(now);
        if available > until {
            return None;
        }
        *full_at = filled;
        Some(available)
    }
}

impl Middleware for RateLimit {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Reply, CallError> {
        let now = Instant::now();
        let wait_until = Deadline::since(now, self.wait_max).instant();
        let until =
            request.wait_until().map_or(wait_until, |deadline| deadline.instant().min(wait_until));
        let Some(available) = self.take(now, until) else {
            return Err(overloaded("cannot send the request: the rate limit is reached"));
        };
        if available > now {
            sleep_until(available).await;
        }
        next.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::middleware::Layer;
    use crate::service::service_fn;

    const SECOND: Duration = Duration::from_secs(1);

    fn limited(limit: &RateLimit) -> impl Service {
        limit.layer(service_fn(async |_| Ok(Reply::default())))
    }

    #[tokio::test(start_paused = true)]
    async fn burst_passes_and_further_requests_are_spread_out() {
        let service = limited(&RateLimit::new(2, SECOND));
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..5 {
            service.call(Request::new(Message::default())).await.unwrap();
            times.push((start.elapsed().as_secs_f64() * 2.0).round());
        }
        assert_eq!(times, [0.0, 0.0, 1.0, 2.0, 3.0], "in half seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn pause_accumulates_at_most_a_burst() {
        let service = limited(&RateLimit::new(2, SECOND).shed());
        tokio::time::advance(60 * SECOND).await;
        let outcomes = futures_util::future::join_all(
            (0..4).map(|_| service.call(Request::new(Message::default()))),
        );
        let passed = outcomes.await.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(passed, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn request_without_a_token_in_time_is_refused_at_once_and_uses_none() {
        let service = limited(&RateLimit::new(1, SECOND));
        service.call(Request::new(Message::default())).await.unwrap();
        let start = Instant::now();
        for _ in 0..3 {
            let hurried =
                Message { deadline: Some(Deadline::after(SECOND / 2)), ..Message::default() };
            assert!(service.call(Request::new(hurried)).await.is_err());
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        service.call(Request::new(Message::default())).await.unwrap();
        assert!(start.elapsed() <= SECOND + Duration::from_millis(2));
    }
}
