//! Services with an erased type.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures_core::future::BoxFuture;
use polywire_core::{CallError, Reply, Request, Service};

/// Service with an erased type, which [`Layers::layer`](crate::Layers::layer) wraps. Each request
/// costs one allocation more. Clones share the service.
#[derive(Clone)]
pub struct AnyService(Arc<dyn DynService>);

impl AnyService {
    /// Wraps `service`.
    #[must_use]
    pub fn new(service: impl Service) -> Self {
        Self(Arc::new(service))
    }
}

impl Service for AnyService {
    fn call(&self, request: Request) -> impl Future<Output = Result<Reply, CallError>> + Send {
        self.0.call_boxed(request)
    }
}

impl fmt::Debug for AnyService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyService")
    }
}

/// Object-safe twin of [`Service`].
trait DynService: Send + Sync {
    fn call_boxed(&self, request: Request) -> BoxFuture<'_, Result<Reply, CallError>>;
}

impl<S: Service> DynService for S {
    fn call_boxed(&self, request: Request) -> BoxFuture<'_, Result<Reply, CallError>> {
        Box::pin(self.call(request))
    }
}
