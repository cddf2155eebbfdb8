//! Adapters between services of this crate and of tower.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;
use tokio::time::timeout_at;

use super::overload_refusal::{WAIT_MAX, overloaded};
use crate::error::{CallError, Error, ErrorKind, Fault, Result};
use crate::message::Deadline;
use crate::service::{Reply, Request, Service};

/// Adapter from a [`Service`] to a `tower::Service`, for the layers of tower.
///
/// The adapter is always ready. Backpressure comes from the [`Window`](crate::Window) of a server
/// and from the limit on in-flight calls of a client. Each call boxes its future. Clones share the
/// service.
///
/// ```
/// # use std::time::Duration;
/// # use polywire_codec::MessagePack;
/// # use polywire_core::{CallError, Client, Memory, Router, Server};
/// # use polywire_core::rpc::Requester;
/// use polywire_core::middleware::{FromTower, ToTower};
/// use tower::ServiceBuilder;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// # let transport = Memory::new();
/// let router =
///     Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) });
/// let limited =
///     ServiceBuilder::new().load_shed().concurrency_limit(64).service(ToTower::new(router));
/// let server = Server::bind(&transport, "calculator").await?;
/// tokio::spawn(server.serve(FromTower::new(limited)));
///
/// let requester = Requester::open(&transport, "calculator".try_into()?, 1024).await?;
/// let timed =
///     ServiceBuilder::new().timeout(Duration::from_secs(1)).service(ToTower::new(requester));
/// let client = Client::new(FromTower::new(timed), MessagePack);
/// assert_eq!(client.call::<i64>("add", &(2, 3)).await?, 5);
/// # Ok(())
/// # }
/// ```
pub struct ToTower<S>(Arc<S>);

impl<S: Service> ToTower<S> {
    /// Wraps `service` for tower.
    pub fn new(service: S) -> Self {
        Self(Arc::new(service))
    }
}

impl<S: Service> tower::Service<Request> for ToTower<S> {
    type Response = Reply;
    type Error = CallError;
    type Future = BoxFuture<'static, Result<Reply, CallError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move { service.call(request).await })
    }
}

impl<S> Clone for ToTower<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S> fmt::Debug for ToTower<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ToTower")
    }
}

/// Adapter from a `tower::Service` of requests to a [`Service`], for a client, a server, a worker
/// or a listener.
///
/// Each request runs on a clone, after the clone is ready. A tower service that is not [`Clone`],
/// such as a rate limit, goes behind tower's buffer. The adapter waits for readiness until the
/// deadline of the request, or 30 seconds without a deadline.
///
/// Errors of tower are converted:
///
/// - a timeout to [`CallError::DeadlineExceeded`]
/// - load shedding to [`ErrorKind::Overloaded`]
/// - a [`CallError`], an [`Error`] or a [`Fault`] to itself, also if it is the source of another
///   error
/// - any other error to [`ErrorKind::Rejected`] with that error as its source
pub struct FromTower<T>(Mutex<T>);

impl<T> FromTower<T> {
    /// Wraps `service` for this crate.
    pub fn new(service: T) -> Self {
        Self(Mutex::new(service))
    }
}

impl<T> FromTower<T>
where
    T: Clone,
{
    fn cloned(&self) -> T {
        // A clone that panics leaves the original consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<T> Service for FromTower<T>
where
    T: tower::Service<Request, Response = Reply> + Clone + Send + 'static,
    T::Future: Send,
    T::Error: Into<tower::BoxError>,
{
    async fn call(&self, request: Request) -> Result<Reply, CallError> {
        let mut service = self.cloned();
        let deadline = request.wait_until().unwrap_or_else(|| Deadline::after(WAIT_MAX));
        match timeout_at(deadline.instant(), poll_fn(|cx| service.poll_ready(cx))).await {
            Ok(ready) => ready.map_err(|error| unsent(into_call_error(error.into())))?,
            Err(_) => return Err(CallError::deadline_exceeded()),
        }
        service.call(request).await.map_err(|error| into_call_error(error.into()))
    }
}

impl<T: Clone> Clone for FromTower<T> {
    fn clone(&self) -> Self {
        Self::new(self.cloned())
    }
}

impl<T> fmt::Debug for FromTower<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromTower")
    }
}

/// Converts an error of a tower layer.
fn into_call_error(error: tower::BoxError) -> CallError {
    let error = match error.downcast::<CallError>() {
        Ok(error) => return *error,
        Err(error) => error,
    };
    if let Some(error) = find_in_chain(&*error) {
        return error;
    }
    if error.is::<tower::timeout::error::Elapsed>() {
        return CallError::deadline_exceeded();
    }
    if error.is::<tower::load_shed::error::Overloaded>() {
        return overloaded("cannot send the request: the service is not ready");
    }
    Error::new(ErrorKind::Rejected, "the call failed in a layer of tower").with_source(error).into()
}

/// Finds an error of this crate in the chain of sources. The buffer of tower wraps the error of its
/// service in one of its own.
fn find_in_chain(error: &(dyn StdError + 'static)) -> Option<CallError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<CallError>() {
            return Some(found.clone());
        }
        if let Some(found) = error.downcast_ref::<Error>() {
            return Some(found.clone().into());
        }
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return Some(fault.clone().into());
        }
        cause = error.source();
    }
    None
}

/// Marks an error as unsent: a service that was never ready has not received the request.
fn unsent(error: CallError) -> CallError {
    match error {
        CallError::Failed(error) => CallError::Failed(error.unsent()),
        error => error,
    }
}
