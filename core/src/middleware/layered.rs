//! Services wrapped in middleware, and layers of custom middleware.

use std::future::Future;

use super::{Layer, Middleware};
use crate::error::CallError;
use crate::service::{Reply, Request, Service};

/// Service wrapped in a middleware.
#[derive(Clone, Debug)]
pub struct Layered<M, S> {
    middleware: M,
    inner: S,
}

impl<M: Middleware, S> Layered<M, S> {
    /// Wraps `inner` in `middleware`.
    pub fn new(middleware: M, inner: S) -> Self {
        Self { middleware, inner }
    }

    /// Returns the wrapped service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<M: Middleware, S: Service> Service for Layered<M, S> {
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        self.middleware.call(request, &self.inner)
    }

    fn keeps_deadlines(&self) -> bool {
        self.middleware.waits_for_next_only() && self.inner.keeps_deadlines()
    }
}

/// Returns the layer that wraps services in `middleware`.
pub fn layer<M: Middleware>(middleware: M) -> MiddlewareLayer<M> {
    MiddlewareLayer(middleware)
}

/// Layer of a custom [`Middleware`], returned by [`layer`].
#[derive(Clone, Debug)]
pub struct MiddlewareLayer<M>(M);

impl<M: Middleware, S> Layer<S> for MiddlewareLayer<M> {
    type Service = Layered<M, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Layered::new(self.0.clone(), inner)
    }
}
