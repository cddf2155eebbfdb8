//! How many requests at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, TryAcquireError};
use tokio::time::timeout_at;

use super::{Middleware, PATIENCE, overloaded};
use crate::error::{CallError, Result};
use crate::message::Deadline;
use crate::service::{Reply, Request, Service};

/// Lets so many requests through at once. The rest waits for its turn, in order, and within its
/// deadline; or is shed.
///
/// What is refused was not tried: it fails with [`ErrorKind::Overloaded`] as unsent, which a server
/// answers with [`Code::Unavailable`]. On a server, a [`Window`](crate::Window) is the better bound
/// for everything at once, because what is beyond it waits at the source, where another server may
/// take it; this one is for a part of a service.
///
/// ```
/// use polywire_core::middleware::ConcurrencyLimit;
///
/// let patient = ConcurrencyLimit::new(16);
/// let shedding = ConcurrencyLimit::new(16).shed();
/// # let _ = (patient, shedding);
/// ```
///
/// [`Code::Unavailable`]: crate::Code::Unavailable
/// [`ErrorKind::Overloaded`]: crate::ErrorKind::Overloaded
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    patience: Duration,
}

impl ConcurrencyLimit {
    /// Requests that may wait, unless said otherwise. The default is 1,024.
    pub const DEFAULT_WAITING_MAX: usize = 1024;

    /// Lets `requests` through at once, at least one. The others wait up to 30 seconds, or their
    /// deadline if that comes first.
    #[must_use]
    pub fn new(requests: usize) -> Self {
        let running = Arc::new(Semaphore::new(requests.clamp(1, Semaphore::MAX_PERMITS)));
        let waiting = Arc::new(Semaphore::new(Self::DEFAULT_WAITING_MAX));
        Self { running, waiting, patience: PATIENCE }
    }

    /// How long a request waits for its turn, if its deadline is not nearer. The default is 30
    /// seconds.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// How many requests may wait; one more is refused at once. The default is 1,024.
    #[must_use]
    pub fn waiting_max(self, requests: usize) -> Self {
        Self { waiting: Arc::new(Semaphore::new(requests.min(Semaphore::MAX_PERMITS))), ..self }
    }

    /// Lets nobody wait: what is too much is refused at once.
    #[must_use]
    pub fn shed(self) -> Self {
        self.waiting_max(0)
    }
}

impl Middleware for ConcurrencyLimit {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Reply, CallError> {
        let _running = match self.running.try_acquire() {
            Ok(permit) => permit,
            // It is never closed.
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {
                let Ok(_waiting) = self.waiting.try_acquire() else {
                    return Err(overloaded("too many requests at once"));
                };
                let patience = Deadline::after(self.patience);
                let deadline = request.message.deadline.unwrap_or(patience);
                match timeout_at(deadline.min(patience).instant(), self.running.acquire()).await {
                    Ok(Ok(permit)) => permit,
                    Err(_) if deadline <= patience => return Err(CallError::deadline_exceeded()),
                    Ok(Err(_)) | Err(_) => {
                        return Err(overloaded("too many requests for too long"));
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

    /// A service that ends when it is told to.
    fn held(limit: &ConcurrencyLimit) -> (impl Service + Clone, Arc<Notify>) {
        let end = Arc::new(Notify::new());
        let told = end.clone();
        let service = service_fn(move |_| {
            let told = told.clone();
            async move {
                told.notified().await;
                Ok(Reply::default())
            }
        });
        (limit.layer(Arc::new(service)), end)
    }

    fn request(deadline: Option<Duration>) -> Request {
        Request::new(Message { deadline: deadline.map(Deadline::after), ..Message::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_one_waits_for_its_turn() {
        let (service, end) = held(&ConcurrencyLimit::new(1));
        let mut first = Box::pin(service.call(request(None)));
        let mut second = Box::pin(service.call(request(None)));
        assert!(futures_util::poll!(&mut first).is_pending());
        assert!(futures_util::poll!(&mut second).is_pending());
        end.notify_one();
        first.await.unwrap();
        assert!(futures_util::poll!(&mut second).is_pending(), "it runs now");
        end.notify_one();
        second.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_too_long_is_told_which_time_was_over() {
        let (service, _end) = held(&ConcurrencyLimit::new(1).patience(Duration::from_secs(5)));
        let mut first = Box::pin(service.call(request(None)));
        assert!(futures_util::poll!(&mut first).is_pending());
        let outcome = service.call(request(Some(Duration::from_secs(1)))).await;
        assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))));
        let refused = service.call(request(Some(Duration::from_secs(60)))).await.unwrap_err();
        assert_eq!(refused.kind(), Some(ErrorKind::Overloaded));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_is_shed_and_a_dropped_call_makes_room() {
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
