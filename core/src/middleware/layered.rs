//! A service in a layer.

use std::future::Future;

use super::{
    CircuitBreaker, ConcurrencyLimit, Deadlines, Layer, LogFailures, Middleware, RateLimit, Retry,
    SetHeader, Trace,
};
use crate::error::CallError;
use crate::service::{Reply, Request, Service};

/// A service with a middleware in front of it.
#[derive(Clone, Debug)]
pub struct Layered<M, S> {
    middleware: M,
    inner: S,
}

impl<M: Middleware, S> Layered<M, S> {
    /// Puts `middleware` in front of `inner`.
    pub fn new(middleware: M, inner: S) -> Self {
        Self { middleware, inner }
    }

    /// The service behind the middleware.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<M: Middleware, S: Service> Service for Layered<M, S> {
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        self.middleware.call(request, &self.inner)
    }
}

/// The layer that puts `middleware` in front of a service.
pub fn layer<M: Middleware>(middleware: M) -> MiddlewareLayer<M> {
    MiddlewareLayer(middleware)
}

/// A [`Middleware`] of a user's own as a [`Layer`]; made by [`layer`].
#[derive(Clone, Debug)]
pub struct MiddlewareLayer<M>(M);

impl<M: Middleware, S> Layer<S> for MiddlewareLayer<M> {
    type Service = Layered<M, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Layered::new(self.0.clone(), inner)
    }
}

/// Our own middleware needs no [`layer`] around it. One implementation for all of them is not
/// possible: the trait is another crate's.
macro_rules! layers {
    ($($middleware:ty),*) => {
        $(impl<S> Layer<S> for $middleware {
            type Service = Layered<Self, S>;

            fn layer(&self, inner: S) -> Self::Service {
                Layered::new(self.clone(), inner)
            }
        })*
    };
}

layers!(
    CircuitBreaker,
    ConcurrencyLimit,
    Deadlines,
    LogFailures,
    RateLimit,
    Retry,
    SetHeader,
    Trace
);

#[cfg(feature = "metrics")]
layers!(super::Metrics);
