//! The trait of a middleware.

use std::future::Future;

use crate::error::CallError;
use crate::service::{Reply, Request, Service};

/// Middleware: one async function around the next service.
///
/// A middleware may change the request, inspect the outcome, and call `next` several times or not
/// at all. [`layer`](super::layer) makes a [`Layer`](super::Layer) of a middleware.
///
/// ```
/// use polywire_core::middleware::{Layer, Middleware, layer};
/// use polywire_core::{CallError, Reply, Request, Service, service_fn};
///
/// #[derive(Clone)]
/// struct Shout;
///
/// impl Middleware for Shout {
///     async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Reply, CallError> {
///         let reply = next.call(request).await?;
///         Ok(Reply::new(reply.message.body.into_bytes().to_ascii_uppercase()))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// let service = layer(Shout).layer(service_fn(async |_| Ok(Reply::new("quiet"))));
/// let reply = service.call(Request::new(polywire_core::Message::default())).await?;
/// assert_eq!(reply.message.body.into_bytes(), "QUIET");
/// # Ok(())
/// # }
/// ```
pub trait Middleware: Clone + Send + Sync + 'static {
    /// Handles the request, by calling `next` or otherwise.
    ///
    /// If the future is dropped, the call is abandoned: the future of `next` is dropped with it.
    fn call<S: Service>(
        &self,
        request: Request,
        next: &S,
    ) -> impl Future<Output = Result<Reply, CallError>> + Send;

    /// Returns `true` if the middleware waits for nothing but one call of `next`, and leaves the
    /// deadline as it is. Then the calls of the wrapped service
    /// [end by their deadlines](Service::keeps_deadlines) if those of `next` do. The default is
    /// `false`.
    fn waits_for_next_only(&self) -> bool {
        false
    }
}
