//! tower's services as ours, and ours as tower's.

use std::error::Error as StdError;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures_core::future::BoxFuture;
use tokio::time::timeout_at;

use super::PATIENCE;
use crate::error::{CallError, Error, ErrorKind, Fault, Result};
use crate::message::Deadline;
use crate::service::{Reply, Request, Service};

/// One of our services as a `tower::Service`, so that tower's layers can be put around it.
///
/// It is always ready: backpressure is the [`Window`](crate::Window) of a server and the bound on a
/// client's calls in flight. Clones share the service.
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
/// let router = Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) });
/// let limited = ServiceBuilder::new().load_shed().concurrency_limit(64).service(ToTower::new(router));
/// let server = Server::bind(&transport, "calculator").await?;
/// tokio::spawn(server.serve(FromTower::new(limited)));
///
/// let requester = Requester::open(&transport, "calculator".try_into()?, 1024).await?;
/// let hurried = ServiceBuilder::new().timeout(Duration::from_secs(1)).service(ToTower::new(requester));
/// let client = Client::new(FromTower::new(hurried), MessagePack);
/// assert_eq!(client.call::<i64>("add", &(2, 3)).await?, 5);
/// # Ok(())
/// # }
/// ```
pub struct ToTower<S>(Arc<S>);

impl<S: Service> ToTower<S> {
    /// `service`, to be wrapped by tower.
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

/// A `tower::Service` of requests as one of ours: for a client, a server, a worker or a listener.
///
/// Each request is made on a clone, once that says that it is ready, as tower asks for; what is not
/// [`Clone`], such as a rate limit, goes behind tower's buffer. Readiness is waited for no longer
/// than the deadline of the request, or 30 seconds if there is none.
///
/// What tower's layers say becomes ours: a timeout is [`CallError::DeadlineExceeded`], load that is
/// shed is [`ErrorKind::Overloaded`], a [`CallError`], an [`Error`] or a [`Fault`] is itself, and
/// anything else is [`ErrorKind::Rejected`] with its source.
pub struct FromTower<T>(Mutex<T>);

impl<T> FromTower<T> {
    /// `service`, to be called by us.
    pub fn new(service: T) -> Self {
        Self(Mutex::new(service))
    }
}

impl<T> FromTower<T>
where
    T: Clone,
{
    fn fresh(&self) -> T {
        // A clone that panics leaves the original whole.
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
        let mut service = self.fresh();
        let deadline = request.message.deadline.unwrap_or_else(|| Deadline::after(PATIENCE));
        match timeout_at(deadline.instant(), poll_fn(|cx| service.poll_ready(cx))).await {
            Ok(ready) => ready.map_err(|error| unsent(explain(error.into())))?,
            Err(_) => return Err(CallError::deadline_exceeded()),
        }
        service.call(request).await.map_err(|error| explain(error.into()))
    }
}

impl<T: Clone> Clone for FromTower<T> {
    fn clone(&self) -> Self {
        Self::new(self.fresh())
    }
}

impl<T> fmt::Debug for FromTower<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FromTower")
    }
}

/// What a layer of tower's says, in our words.
fn explain(error: tower::BoxError) -> CallError {
    let error = match error.downcast::<CallError>() {
        Ok(ours) => return *ours,
        Err(error) => error,
    };
    if let Some(inner) = inner(&*error) {
        return inner;
    }
    if error.is::<tower::timeout::error::Elapsed>() {
        return CallError::deadline_exceeded();
    }
    if error.is::<tower::load_shed::error::Overloaded>() {
        return super::overloaded("shed, because the service is not ready");
    }
    Error::new(ErrorKind::Rejected, "a layer of tower's failed").with_source(error).into()
}

/// What is ours in the error or behind it: tower's buffer puts what its service said behind an
/// error of its own.
fn inner(error: &(dyn StdError + 'static)) -> Option<CallError> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(ours) = error.downcast_ref::<CallError>() {
            return Some(ours.clone());
        }
        if let Some(ours) = error.downcast_ref::<Error>() {
            return Some(ours.clone().into());
        }
        if let Some(fault) = error.downcast_ref::<Fault>() {
            return Some(fault.clone().into());
        }
        cause = error.source();
    }
    None
}

/// A service that was never ready has not seen the request.
fn unsent(error: CallError) -> CallError {
    match error {
        CallError::Failed(error) => CallError::Failed(error.unsent()),
        error => error,
    }
}
