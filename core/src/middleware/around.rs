//! A service in a layer.

use std::future::Future;

use super::{
    CircuitBreaker, ConcurrencyLimit, Deadlines, Layer, LogFailures, Middleware, RateLimit, Retry,
    SetHeader, Trace,
};
use crate::{CallError, Reply, Request, Service};

/// A service with a middleware in front of it.
#[derive(Clone, Debug)]
pub struct Around<M, S> {
    middleware: M,
    inner: S,
}

impl<M: Middleware, S> Around<M, S> {
    /// Puts `middleware` in front of `inner`.
    pub fn new(middleware: M, inner: S) -> Self {
        Self { middleware, inner }
    }

    /// The service behind the middleware.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }
}

impl<M: Middleware, S: Service> Service for Around<M, S> {
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        self.middleware.call(request, &self.inner)
    }
}

/// The layer that puts `middleware` in front of a service.
pub fn layer<M: Middleware>(middleware: M) -> UserLayer<M> {
    UserLayer(middleware)
}

/// A [`Middleware`] of a user's own as a [`Layer`]; made by [`layer`].
#[derive(Clone, Debug)]
pub struct UserLayer<M>(M);

impl<M: Middleware, S> Layer<S> for UserLayer<M> {
    type Service = Around<M, S>;

    fn layer(&self, inner: S) -> Self::Service {
        Around::new(self.0.clone(), inner)
    }
}

/// Our own middleware needs no [`layer`] around it. One implementation for all of them is not
/// possible: the trait is another crate's.
macro_rules! layers {
    ($($middleware:ty),*) => {
        $(impl<S> Layer<S> for $middleware {
            type Service = Around<Self, S>;

            fn layer(&self, inner: S) -> Self::Service {
                Around::new(self.clone(), inner)
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
