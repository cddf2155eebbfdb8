//! [`Layer`] for the middleware of this crate, which needs no [`layer`](super::layer) around it.

use super::{
    CircuitBreaker, ConcurrencyLimit, Deadlines, Layer, Layered, LogFailures, RateLimit, Retry,
    SetHeader, Trace,
};

/// Implements [`Layer`] for each type. A blanket implementation is not possible, because the trait
/// belongs to another crate.
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
