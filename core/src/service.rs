//! The one function that a call is, on both ends.

mod valid;

pub use self::valid::{Valid, Validate};

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::context::Context;
use crate::error::CallError;
use crate::message::{Extensions, Message};
use crate::rpc::ReplySlot;

/// One async function from a request to a reply: what a server runs, and what a client calls.
///
/// Because both ends are the same function, what wraps one wraps the other: a timeout, a retry, a
/// log line is written once. A [`Router`](crate::Router) is a service, so is a
/// [`Requester`](crate::rpc::Requester), and so is any closure through [`service_fn`].
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
    /// Which attempt this is, counted from 1; see
    /// [`Delivery::attempt`](crate::transport::Delivery::attempt).
    pub attempt: u32,
    /// Whether carrying it out twice does no more than carrying it out once, so that it may be
    /// tried again when nobody knows what became of it: by a layer, or by the backend, which
    /// is told by [`Message::idempotent`]. The caller says so. The default is `false`.
    pub idempotent: bool,
    /// Whether nobody wants its outcome: then the reply is there, and empty, as soon as the
    /// backend has the request. The caller says so; what travels is a request without an id.
    /// The default is `false`.
    pub oneway: bool,
    /// What layers hand on to those behind them.
    pub extensions: Extensions,
    /// Told when the backend has the request.
    pub(crate) handed_over: Option<HandedOver>,
    /// Who waits for the reply, where it is served.
    pub(crate) asker: Option<Arc<ReplySlot>>,
}

impl Request {
    /// A request made of this message.
    #[must_use]
    pub fn new(message: Message) -> Self {
        Self {
            message,
            attempt: 1,
            idempotent: false,
            oneway: false,
            extensions: Extensions::new(),
            handed_over: None,
            asker: None,
        }
    }

    /// The same request, to be made once more. Its body is shared, not copied.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            message: self.message.clone(),
            attempt: self.attempt,
            idempotent: self.idempotent,
            oneway: self.oneway,
            extensions: self.extensions.clone(),
            handed_over: self.handed_over.clone(),
            asker: self.asker.clone(),
        }
    }

    /// What a handler may want to know about the request.
    #[must_use]
    pub fn context(&self) -> Context {
        let mut context = Context::of(&self.message, self.attempt).in_its_place();
        context.extensions = self.extensions.clone();
        context.asker = self.asker.clone();
        context
    }
}

/// Tells a caller that waits for it that the backend has its request, at the first try that gets so
/// far.
#[derive(Clone, Debug)]
pub(crate) struct HandedOver(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl HandedOver {
    pub(crate) fn new(tell: oneshot::Sender<()>) -> Self {
        Self(Arc::new(Mutex::new(Some(tell))))
    }

    pub(crate) fn tell(&self) {
        if let Some(tell) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Whoever asked to know may have stopped caring.
            let _ = tell.send(());
        }
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
    pub fn new(body: impl Into<crate::message::Body>) -> Self {
        Self { message: Message::new(body) }
    }
}

impl From<Message> for Reply {
    fn from(message: Message) -> Self {
        Self { message }
    }
}
