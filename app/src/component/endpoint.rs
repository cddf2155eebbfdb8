//! Endpoints as a component keeps them: bound, drained, and bound again.

use std::sync::Arc;

use async_trait::async_trait;
use polywire_core::pipeline::WorkerBind;
use polywire_core::pubsub::ListenerBind;
use polywire_core::rpc::{ServerBind, ServerHandle};
use polywire_core::worker::{Serving, WorkHandle};
use polywire_core::{Dialect, Listener, Result, Server, Service, Worker};

#[cfg(feature = "metrics")]
use super::counts::Counts;
use crate::transport::AppTransport;

/// A server, a worker or a listener that can be bound any number of times.
///
/// Holds the name, the options and the service from one bind to the next. The service is shared by
/// all binds, so its state outlives a stop of consuming.
#[async_trait]
pub(super) trait Endpoint: Send + Sync {
    /// Returns the name of the service, the queue or the channel.
    fn name(&self) -> &str;

    /// Returns the kind of the endpoint, as logs show it.
    fn kind(&self) -> &'static str;

    /// Binds to the transport. Dropping the future closes what was opened so far.
    ///
    /// The handle drains, and the future serves until then. Nothing is served before the future is
    /// polled.
    ///
    /// # Errors
    ///
    /// The errors of binding, such as [`ErrorKind::Config`](polywire_core::ErrorKind::Config) for a
    /// name without a URL.
    async fn bind(&self, transport: &AppTransport) -> Result<(EndpointHandle, Serving)>;
}

/// The handle of a bound endpoint.
#[derive(Clone)]
pub(super) enum EndpointHandle {
    Server(ServerHandle),
    Work(WorkHandle),
}

impl EndpointHandle {
    /// Stops receiving, and waits for the running handlers.
    pub(super) async fn drain(&self) {
        match self {
            Self::Server(handle) => handle.drain().await,
            Self::Work(handle) => handle.drain().await,
        }
    }

    /// Adds the counters to those of the endpoints with the same name.
    #[cfg(feature = "metrics")]
    pub(super) fn add_to(&self, counts: &mut Counts, name: &str) {
        match self {
            Self::Server(handle) => counts.add_server(name, handle.stats()),
            Self::Work(handle) => counts.add_work(name, handle.stats()),
        }
    }
}

/// A server.
pub(super) struct ServerEndpoint<F, S> {
    pub(super) name: String,
    /// Applied anew at each bind.
    pub(super) options: F,
    pub(super) service: Arc<S>,
}

#[async_trait]
impl<F, S: Service> Endpoint for ServerEndpoint<F, S>
where
    F: for<'t> Fn(ServerBind<'t, AppTransport>) -> ServerBind<'t, AppTransport> + Send + Sync,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "server"
    }

    async fn bind(&self, transport: &AppTransport) -> Result<(EndpointHandle, Serving)> {
        let server = (self.options)(Server::bind(transport, &*self.name)).await?;
        let handle = EndpointHandle::Server(server.handle());
        Ok((handle, server.serve(self.service.clone())))
    }
}

/// A worker.
pub(super) struct WorkerEndpoint<D, F, S> {
    pub(super) name: String,
    pub(super) dialect: D,
    /// Applied anew at each bind.
    pub(super) options: F,
    pub(super) service: Arc<S>,
}

#[async_trait]
impl<D: Dialect, F, S: Service> Endpoint for WorkerEndpoint<D, F, S>
where
    F: for<'t> Fn(WorkerBind<'t, AppTransport, D>) -> WorkerBind<'t, AppTransport, D> + Send + Sync,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "worker"
    }

    async fn bind(&self, transport: &AppTransport) -> Result<(EndpointHandle, Serving)> {
        let bind = Worker::bind(transport, &*self.name, self.dialect.clone());
        let worker = (self.options)(bind).await?;
        #[cfg(feature = "metrics")]
        transport.note_dead_letters(polywire_core::transport::DeadLetterSource::Queue(
            (&*self.name).try_into()?,
        ));
        let handle = EndpointHandle::Work(worker.handle());
        Ok((handle, worker.serve(self.service.clone())))
    }
}

/// A listener.
pub(super) struct ListenerEndpoint<D, F, S> {
    pub(super) name: String,
    pub(super) dialect: D,
    /// Applied anew at each bind.
    pub(super) options: F,
    pub(super) service: Arc<S>,
}

#[async_trait]
impl<D: Dialect, F, S: Service> Endpoint for ListenerEndpoint<D, F, S>
where
    F: for<'t> Fn(ListenerBind<'t, AppTransport, D>) -> ListenerBind<'t, AppTransport, D>
        + Send
        + Sync,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "listener"
    }

    async fn bind(&self, transport: &AppTransport) -> Result<(EndpointHandle, Serving)> {
        #[cfg(feature = "metrics")]
        let transport = &transport.for_listener();
        let bind = Listener::bind(transport, &*self.name, self.dialect.clone());
        let listener = (self.options)(bind).await?;
        let handle = EndpointHandle::Work(listener.handle());
        Ok((handle, listener.serve(self.service.clone())))
    }
}
