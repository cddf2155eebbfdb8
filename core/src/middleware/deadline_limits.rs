//! Default and maximum deadlines.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use super::Middleware;
use crate::error::{CallError, Error, Result};
use crate::message::{Address, Deadline};
use crate::service::{Reply, Request, Service};

/// Middleware that sets a deadline on requests without one and caps later deadlines.
///
/// - On a client, calls time out sooner: all of them, or those of certain methods.
/// - On a server, the cap bounds the run time of a handler, however long the client waits.
/// - On a worker or listener, the fallback bounds the run time, since jobs and events have no
///   deadline.
///
/// At the deadline the call is dropped and fails with [`CallError::DeadlineExceeded`]. Without
/// options the middleware changes nothing.
///
/// Place it behind [`Retry`](super::Retry), so that each attempt has its own deadline, or in front
/// of it, so that all attempts share one.
///
/// ```
/// # use std::time::Duration;
/// # use polywire_core::Result;
/// use polywire_core::middleware::Deadlines;
///
/// # fn main() -> Result<()> {
/// let deadlines = Deadlines::new()
///     .fallback(Duration::from_secs(60))
///     .cap(Duration::from_secs(10))
///     .method("report.monthly", Duration::from_secs(300))?;
/// # let _ = deadlines;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Deadlines {
    fallback: Option<Duration>,
    cap: Option<Duration>,
    methods: Arc<HashMap<Address, Duration>>,
}

impl Deadlines {
    /// Creates a middleware without deadlines.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time of requests without a deadline. The default is no limit.
    #[must_use]
    pub fn fallback(self, time: Duration) -> Self {
        Self { fallback: Some(time), ..self }
    }

    /// Sets the longest time of a request, unless its [method](Self::method) has a limit of its
    /// own. The default is no limit.
    #[must_use]
    pub fn cap(self, time: Duration) -> Self {
        Self { cap: Some(time), ..self }
    }

    /// Sets the longest time of requests of `method`, instead of the [cap](Self::cap).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if `method` is not an address.
    pub fn method(
        mut self,
        method: impl TryInto<Address, Error: Into<Error>>,
        time: Duration,
    ) -> Result<Self> {
        let method = method.try_into().map_err(Into::into)?;
        Arc::make_mut(&mut self.methods).insert(method, time);
        Ok(self)
    }

    fn deadline_of(&self, request: &Request) -> Option<Deadline> {
        let method = request.message.method.as_ref().and_then(|method| self.methods.get(method));
        let cap = method.or(self.cap.as_ref()).copied().map(Deadline::after);
        let requested = request.wait_until().or_else(|| self.fallback.map(Deadline::after));
        match (requested, cap) {
            (Some(requested), Some(cap)) => Some(requested.min(cap)),
            (requested, cap) => requested.or(cap),
        }
    }
}

impl Middleware for Deadlines {
    async fn call<S: Service>(&self, mut request: Request, next: &S) -> Result<Reply, CallError> {
        let Some(deadline) = self.deadline_of(&request) else { return next.call(request).await };
        // The deadline of a one-way request says by when it must begin, which is up to its sender.
        let limited =
            if request.oneway { &mut request.send_by } else { &mut request.message.deadline };
        *limited = Some(deadline);
        let call = timeout_at(deadline.instant(), next.call(request));
        call.await.unwrap_or_else(|_| Err(CallError::deadline_exceeded()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::middleware::Layer;
    use crate::service::service_fn;

    const SECOND: Duration = Duration::from_secs(1);

    fn request(method: &'static str, deadline: Option<Duration>) -> Request {
        let method = Address::from_static(method).unwrap();
        let deadline = deadline.map(Deadline::after);
        Request::new(Message { method: Some(method), deadline, ..Message::default() })
    }

    /// Returns the remaining time of a request behind `deadlines`.
    async fn left(deadlines: &Deadlines, request: Request) -> Option<Duration> {
        let seen = Arc::new(std::sync::Mutex::new(None));
        let record = seen.clone();
        let service = deadlines.layer(service_fn(move |request: Request| {
            *record.lock().unwrap() = request.message.deadline.map(Deadline::remaining);
            async { Ok(Reply::default()) }
        }));
        service.call(request).await.unwrap();
        *seen.lock().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn earliest_deadline_applies_and_methods_have_their_own_cap() {
        let deadlines = Deadlines::new()
            .fallback(3 * SECOND)
            .cap(5 * SECOND)
            .method("slow", 9 * SECOND)
            .unwrap();
        assert_eq!(left(&deadlines, request("any", None)).await, Some(3 * SECOND));
        assert_eq!(left(&deadlines, request("any", Some(2 * SECOND))).await, Some(2 * SECOND));
        assert_eq!(left(&deadlines, request("any", Some(8 * SECOND))).await, Some(5 * SECOND));
        assert_eq!(left(&deadlines, request("slow", Some(8 * SECOND))).await, Some(8 * SECOND));
        assert_eq!(left(&Deadlines::new(), request("any", None)).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn call_past_its_deadline_is_dropped() {
        let service =
            Deadlines::new().fallback(SECOND).layer(service_fn(|_| std::future::pending()));
        let outcome = service.call(request("any", None)).await;
        assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))));
    }
}
