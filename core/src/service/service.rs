//! The [`Service`] trait, and functions as services.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use super::{Reply, Request};
use crate::error::CallError;

/// An async function from a request to a reply: run by a server, called by a client.
///
/// Both sides have the same signature, so middleware for one side fits the other: a timeout, a
/// retry or a log line is written once. A [`Router`](crate::Router) is a service, and so is a
/// [`Requester`](crate::rpc::Requester). [`service_fn`] turns a closure into a service.
///
/// Dropping the future cancels the call.
pub trait Service: Send + Sync + 'static {
    /// Processes the request.
    ///
    /// # Errors
    ///
    /// [`CallError::Fault`] for a failure to report to the caller. A service may also return a
    /// [`Reply`] whose message has a [fault](crate::Message::fault).
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send;

    /// Returns `true` if each call ends by its deadline, so that a [`Client`](crate::Client) of the
    /// service needs no timer for its calls. The default is `false`.
    ///
    /// A [`Requester`](crate::rpc::Requester) returns `true`.
    fn keeps_deadlines(&self) -> bool {
        false
    }
}

impl<S: Service> Service for Arc<S> {
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        S::call(self, request)
    }

    fn keeps_deadlines(&self) -> bool {
        S::keeps_deadlines(self)
    }
}

/// Turns an async function into a service.
///
/// ```
/// use polywire_core::{CallError, Reply, Request, service_fn};
///
/// let echo = service_fn(|request: Request| async move {
///     Ok::<_, CallError>(Reply::new(request.message.body))
/// });
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
