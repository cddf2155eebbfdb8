//! How many requests in a time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Middleware, PATIENCE, overloaded};
use crate::error::{CallError, Result};
use crate::message::Deadline;
use crate::service::{Reply, Request, Service};

/// Lets so many requests through in a time: a bucket of tokens that fills up steadily. The rest
/// waits for a token, in order, and within its deadline; or is shed.
///
/// What would wait too long is refused at once, untried: with [`ErrorKind::Overloaded`] as unsent,
/// which a server answers with [`Code::Unavailable`].
///
/// ```
/// # use std::time::Duration;
/// use polywire_core::middleware::RateLimit;
///
/// // 100 in a second, evenly; after a pause up to 20 at once.
/// let limit = RateLimit::new(100, Duration::from_secs(1)).burst(20);
/// # let _ = limit;
/// ```
///
/// [`Code::Unavailable`]: crate::Code::Unavailable
/// [`ErrorKind::Overloaded`]: crate::ErrorKind::Overloaded
#[derive(Clone, Debug)]
pub struct RateLimit {
    /// When the bucket is full again: the whole state of it.
    full_at: Arc<Mutex<Instant>>,
    interval: Duration,
    burst: u32,
    patience: Duration,
}

impl RateLimit {
    /// Lets `requests` through in each `period`, at least one, and as many at once after a pause.
    /// The others wait up to 30 seconds, or their deadline if that comes first.
    #[must_use]
    pub fn new(requests: u32, period: Duration) -> Self {
        let requests = requests.max(1);
        let full_at = Arc::new(Mutex::new(Instant::now()));
        Self { full_at, interval: period / requests, burst: requests, patience: PATIENCE }
    }

    /// How many requests go through at once after a pause, at least one. The default is as many as
    /// in a period.
    #[must_use]
    pub fn burst(self, requests: u32) -> Self {
        Self { burst: requests.max(1), ..self }
    }

    /// How long a request waits for its token, if its deadline is not nearer. The default is 30
    /// seconds.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Lets nobody wait: what is too much is refused at once.
    #[must_use]
    pub fn shed(self) -> Self {
        self.patience(Duration::ZERO)
    }

    /// Takes a token that is there at the latest `until`; says when it is.
    fn take(&self, now: Instant, until: Instant) -> Option<Instant> {
        // Nothing panics while it holds the lock.
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = (*full_at).max(now) + self.interval;
        let there = filled.checked_sub(self.interval * self.burst).unwrap_or(now).max(now);
        if there > until {
            return None;
        }
        *full_at = filled;
        Some(there)
    }
}

impl Middleware for RateLimit {
    /// A call that is dropped while it waits has used its token up.
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Reply, CallError> {
        let now = Instant::now();
        let patience = now + self.patience.min(Deadline::MAX);
        let until =
            request.message.deadline.map_or(patience, |deadline| deadline.instant().min(patience));
        let Some(there) = self.take(now, until) else {
            return Err(overloaded("too many requests in a short time"));
        };
        if there > now {
            sleep_until(there).await;
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
    async fn a_burst_goes_through_and_the_rest_is_spread_out() {
        let service = limited(&RateLimit::new(2, SECOND));
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..5 {
            service.call(Request::new(Message::default())).await.unwrap();
            times.push((start.elapsed().as_secs_f64() * 2.0).round());
        }
        assert_eq!(times, [0.0, 0.0, 1.0, 2.0, 3.0], "in halves of a second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_saves_up_no_more_than_a_burst() {
        let service = limited(&RateLimit::new(2, SECOND).shed());
        tokio::time::advance(60 * SECOND).await;
        let outcomes = futures_util::future::join_all(
            (0..4).map(|_| service.call(Request::new(Message::default()))),
        );
        let passed = outcomes.await.iter().filter(|outcome| outcome.is_ok()).count();
        assert_eq!(passed, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_cannot_have_a_token_in_time_is_refused_at_once_and_costs_none() {
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
