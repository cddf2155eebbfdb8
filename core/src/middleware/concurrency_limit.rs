//! Concurrency limit.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, TryAcquireError};
use tokio::time::timeout_at;

use super::Middleware;
use super::overload_refusal::{WAIT_MAX, overloaded};
use crate::error::{CallError, Result};
use crate::message::Deadline;
use crate::service::{Reply, Request, Service};

/// Middleware that limits the number of requests that run at once.
///
/// Further requests wait for a permit, in order, for up to 30 seconds by default. At most 1,024
/// requests wait by default. A refused request fails as unsent with [`ErrorKind::Overloaded`],
/// which a server answers with [`Code::Unavailable`]. A request whose deadline expires while it
/// waits fails with [`CallError::DeadlineExceeded`].
///
/// To limit a whole server, use its [`Window`](crate::Window): further requests then wait at the
/// source, where another server may receive them. Use this middleware for a part of a service.
///
/// Place it innermost, behind [`Retry`](super::Retry) on a client and behind
/// [`Authenticate`](super::Authenticate) on a server. A dropped call returns its permit.
///
/// ```
/// use polywire_core::middleware::ConcurrencyLimit;
///
/// let waiting = ConcurrencyLimit::new(16);
/// let refusing = ConcurrencyLimit::new(16).shed();
/// # let _ = (waiting, refusing);
/// ```
///
/// [`Code::Unavailable`]: crate::Code::Unavailable
/// [`ErrorKind::Overloaded`]: crate::ErrorKind::Overloaded
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    wait_max: Duration,
}

impl ConcurrencyLimit {
    /// Default maximum of waiting requests: 1,024.
    pub const DEFAULT_WAITING_MAX: usize = 1024;

    /// Limits the running requests to `requests`, at least 1. Further requests wait up to 30
    /// seconds.
    #[must_use]
    pub fn new(requests: usize) -> Self {
        let running = Arc::new(Semaphore::new(requests.clamp(1, Semaphore::MAX_PERMITS)));
        let waiting = Arc::new(Semaphore::new(Self::DEFAULT_WAITING_MAX));
        Self { running, waiting, wait_max: WAIT_MAX }
    }

    /// Sets the longest wait for a permit. The default is 30 seconds. An earlier deadline of the
    /// request takes precedence.
    #[must_use]
    pub fn wait_max(self, wait_max: Duration) -> Self {
        Self { wait_max, ..self }
    }

    /// Sets the maximum of waiting requests. Further requests are refused at once. The default is
    /// 1,024.
    #[must_use]
    pub fn waiting_max(self, requests: usize) -> Self {
        Self { waiting: Arc::new(Semaphore::new(requests.min(Semaphore::MAX_PERMITS))), ..self }
    }

    /// Refuses excess requests at once instead of letting them wait.
    #[must_use]
    pub fn shed(self) -> Self {
        self.waiting_max(0)
    }
}

impl Middleware for ConcurrencyLimit {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Reply, CallError> {
        let _running = match self.running.try_acquire() {
            Ok(permit) => permit,
            // The semaphore is never closed.
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                let Ok(_waiting) = self.waiting.try_acquire() else {
                    return Err(overloaded(
                        "cannot send the request: too many requests are waiting",
                    ));
                };
                let wait_until = Deadline::after(self.wait_max);
                let deadline = request.wait_until().unwrap_or(wait_until);
                match timeout_at(deadline.min(wait_until).instant(), self.running.acquire()).await {
                    Ok(Ok(permit)) => permit,
                    Err(_) if deadline <= wait_until => return Err(CallError::deadline_exceeded()),
                    Ok(Err(_)) | Err(_) => {
                        return Err(overloaded(
                            "cannot send the request: no permit within the longest wait",
                        ));
                    }
                }
            }
        };
        next.call(request).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;
    use crate::error::ErrorKind;
    use crate::message::Message;
    use crate::middleware::Layer;
    use crate::service::service_fn;

    /// Returns a service whose calls each end after a notification.
    fn held(limit: &ConcurrencyLimit) -> (impl Service + Clone, Arc<Notify>) {
        let end = Arc::new(Notify::new());
        let notified = end.clone();
        let service = service_fn(move |_| {
            let notified = notified.clone();
            async move {
                notified.notified().await;
                Ok(Reply::default())
            }
        });
        (limit.layer(Arc::new(service)), end)
    }

    fn request(deadline: Option<Duration>) -> Request {
        Request::new(Message { deadline: deadline.map(Deadline::after), ..Message::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn next_request_waits_for_a_permit() {
        let (service, end) = held(&ConcurrencyLimit::new(1));
        let mut first = Box::pin(service.call(request(None)));
        let mut second = Box::pin(service.call(request(None)));
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(futures_util::poll!(&mut second).is_pending());
        end.notify_one();
        first.await.unwrap();
        assert!(futures_util::poll!(&mut second).is_pending(), "the second request runs now");
        end.notify_one();
        second.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn error_of_a_long_wait_names_the_deadline_or_the_limit() {
        let (service, _end) = held(&ConcurrencyLimit::new(1).wait_max(Duration::from_secs(5)));
        let mut first = Box::pin(service.call(request(None)));
        assert!(futures_util::poll!(&mut first).is_pending());
        let outcome = service.call(request(Some(Duration::from_secs(1)))).await;
        assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))));
        let refused = service.call(request(Some(Duration::from_secs(60)))).await.unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::Overloaded));
    }

    #[tokio::test(start_paused = true)]
    async fn excess_request_is_refused_and_a_dropped_call_makes_room() {
        let (service, end) = held(&ConcurrencyLimit::new(1).shed());
        let mut first = Box::pin(service.call(request(None)));
        assert!(futures_util::poll!(&mut first).is_pending());
        let refused = service.call(request(None)).await.unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::Overloaded));
        assert!(matches!(refused, CallError::Failed(error) if error.is_unsent()));
        drop(first);
        end.notify_one();
        service.call(request(None)).await.unwrap();
    }
}
