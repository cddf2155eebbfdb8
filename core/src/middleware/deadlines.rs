//! How long a request may take.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout_at;

use super::Middleware;
use crate::error::{CallError, Error, Result};
use crate::message::{Address, Deadline};
use crate::service::{Reply, Request, Service};

/// Gives a deadline to what has none, and brings forward those that are too far away.
///
/// On a client, this makes calls give up sooner: by method, or all of them. On a server, it bounds
/// how long a handler may run, whatever its caller would wait; for jobs and events, which have no
/// deadline, the fallback is the bound. What runs out of time is dropped, and is
/// [`CallError::DeadlineExceeded`].
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
    /// Leaves every request as it is, until told otherwise.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The time of a request that has no deadline.
    #[must_use]
    pub fn fallback(self, time: Duration) -> Self {
        Self { fallback: Some(time), ..self }
    }

    /// The longest time that any request may take, unless its method has one of its own.
    #[must_use]
    pub fn cap(self, time: Duration) -> Self {
        Self { cap: Some(time), ..self }
    }

    /// The longest time that requests of `method` may take, instead of the [cap](Self::cap).
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

    fn of(&self, request: &Request) -> Option<Deadline> {
        let method = request.message.method.as_ref().and_then(|method| self.methods.get(method));
        let cap = method.or(self.cap.as_ref()).copied().map(Deadline::after);
        let asked = request.message.deadline.or_else(|| self.fallback.map(Deadline::after));
        match (asked, cap) {
            (Some(asked), Some(cap)) => Some(asked.min(cap)),
            (asked, cap) => asked.or(cap),
        }
    }
}

impl Middleware for Deadlines {
    async fn call<S: Service>(&self, mut request: Request, next: &S) -> Result<Reply, CallError> {
        request.message.deadline = self.of(&request);
        let Some(deadline) = request.message.deadline else { return next.call(request).await };
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

    /// How long a request has that goes through `deadlines`.
    async fn left(deadlines: &Deadlines, request: Request) -> Option<Duration> {
        let seen = Arc::new(std::sync::Mutex::new(None));
        let ear = seen.clone();
        let service = deadlines.layer(service_fn(move |request: Request| {
            *ear.lock().unwrap() = request.message.deadline.map(Deadline::remaining);
            async { Ok(Reply::default()) }
        }));
        service.call(request).await.unwrap();
        *seen.lock().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_nearest_deadline_counts_and_methods_have_their_own_cap() {
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
    async fn what_runs_out_of_time_is_dropped() {
        let service =
            Deadlines::new().fallback(SECOND).layer(service_fn(|_| std::future::pending()));
        let outcome = service.call(request("any", None)).await;
        assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))));
    }
}
