//! Middleware that may be left out.

use polywire_core::middleware::Middleware;
use polywire_core::{CallError, Reply, Request, Service};

/// A middleware, or nothing.
///
/// Gives the wrapped service one type, whichever layers the program leaves out.
#[derive(Clone)]
pub(super) struct Optional<M>(pub(super) Option<M>);

impl<M: Middleware> Middleware for Optional<M> {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Reply, CallError> {
        match &self.0 {
            Some(middleware) => middleware.call(request, next).await,
            None => next.call(request).await,
        }
    }
}
