//! The one function that a call is, on both ends.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::{CallError, Context, Message};

/// One async function from a request to a reply: what a server runs, and what a client calls.
///
/// Because both ends are the same function, what wraps one wraps the other: a timeout, a retry, a log line is
/// written once. A [`Router`](crate::Router) is a service, so is a [`Requester`](crate::Requester), and so is any
/// closure through [`service_fn`].
///
/// Dropping the future abandons the call.
pub trait Service: Send + Sync + 'static {
    /// Carries out the request.
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send;
}

impl<S: Service> Service for Arc<S> {
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        S::call(self, request)
    }
}

/// The service that this function is.
///
/// ```
/// use polywire_core::{CallError, Reply, Request, service_fn};
///
/// let echo = service_fn(|request: Request| async move { Ok::<_, CallError>(Reply::new(request.message.body)) });
/// # let _: &dyn std::any::Any = &echo;
/// ```
pub fn service_fn<F, Fut>(function: F) -> ServiceFn<F>
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply, CallError>> + Send,
{
    ServiceFn(function)
}

/// A function as a [`Service`]; made by [`service_fn`].
#[derive(Clone, Copy)]
pub struct ServiceFn<F>(F);

impl<F, Fut> Service for ServiceFn<F>
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Reply, CallError>> + Send,
{
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        (self.0)(request)
    }
}

impl<F> fmt::Debug for ServiceFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceFn")
    }
}

/// A call on its way to being carried out.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request {
    /// The method, the deadline, the headers and the arguments.
    pub message: Message,
    /// Which attempt this is, counted from 1; see [`Delivery::attempt`](crate::Delivery::attempt).
    pub attempt: u32,
    /// Told when the backend has the request.
    pub(crate) handed_over: Option<oneshot::Sender<()>>,
}

impl Request {
    /// A request made of this message.
    #[must_use]
    pub fn new(message: Message) -> Self {
        Self { message, attempt: 1, handed_over: None }
    }

    /// What a handler may want to know about the request.
    #[must_use]
    pub fn context(&self) -> Context {
        Context::of(&self.message, self.attempt).in_its_place()
    }
}

/// What became of a request: a result, or a [fault](Message::fault) that the service answered.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Reply {
    /// The result and its headers.
    pub message: Message,
}

impl Reply {
    /// A reply of this content.
    #[must_use]
    pub fn new(body: impl Into<crate::Body>) -> Self {
        Self { message: Message::new(body) }
    }
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        Self { message }
    }
}
