//! The handle of a component.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use polywire_core::pipeline::WorkerBind;
use polywire_core::pubsub::ListenerBind;
use polywire_core::rpc::ServerBind;
use polywire_core::{Dialect, Error, ErrorKind, Result, Service};
use tokio::time::timeout;

use super::endpoint::{ListenerEndpoint, ServerEndpoint, WorkerEndpoint};
use super::endpoints::Endpoints;
use super::into_service::IntoService;
use super::lifecycle::{ComponentLifecycle, Phase};
use super::tasks::Tasks;
use crate::exit::{BoxError, Exit};
use crate::layers::{LayerRole, Layers};
use crate::transport::AppTransport;

/// Handle of a component that starts or runs. Clones are handles of the same component.
///
/// The setup of an [`App`](crate::App) gets one, and so does the caller of
/// [`App::start`](crate::App::start). Endpoints may be added at any time until the component stops.
/// Dropping the handles does not stop the component.
#[derive(Clone)]
pub struct Component(Arc<Inner>);

struct Inner {
    name: Arc<str>,
    grace: Duration,
    transport: AppTransport,
    layers: Layers,
    lifecycle: Arc<ComponentLifecycle>,
    endpoints: Endpoints,
    tasks: Tasks,
}

impl Component {
    /// Creates a component without endpoints.
    pub(crate) fn new(
        name: &str,
        grace: Duration,
        transport: AppTransport,
        layers: Layers,
    ) -> Self {
        let lifecycle = Arc::new(ComponentLifecycle::new());
        let endpoints = Endpoints::new(transport.clone(), lifecycle.clone());
        let tasks = Tasks::new(lifecycle.clone());
        let name = Arc::from(name);
        Self(Arc::new(Inner { name, grace, transport, layers, lifecycle, endpoints, tasks }))
    }

    /// Returns the name of the service.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Returns the transport, to connect clients, pushers and publishers, and to bind what this
    /// type has no method for. An endpoint that is bound to it directly is not drained with the
    /// component, and is closed at its end.
    #[must_use]
    pub fn transport(&self) -> &AppTransport {
        &self.0.transport
    }

    /// Serves the requests of `name` by `service`, within the [`Layers`] of the component.
    ///
    /// The server begins at once. An error of it, other than of a single request, ends the
    /// component. If the future is dropped, the server is not added.
    ///
    /// # Errors
    ///
    /// Those of [`Server::bind`](polywire_core::Server::bind); [`ErrorKind::Closed`] if the
    /// component is stopping. If consuming is [stopped](Self::stop_consuming), the server is bound
    /// when it resumes, and an error appears there.
    pub async fn serve<S: Service>(&self, name: impl Into<String>, service: S) -> Result<()> {
        self.serve_with(name, |server| server, service).await
    }

    /// Serves requests with `options`, such as `|server| server.window(Window::new(8))`; otherwise
    /// as [`serve`](Self::serve).
    ///
    /// # Errors
    ///
    /// Those of [`serve`](Self::serve).
    pub async fn serve_with<F, S>(
        &self,
        name: impl Into<String>,
        options: F,
        service: S,
    ) -> Result<()>
    where
        F: for<'t> Fn(ServerBind<'t, AppTransport>) -> ServerBind<'t, AppTransport>,
        F: Send + Sync + 'static,
        S: Service,
    {
        let name = name.into();
        let service = self.wrap(LayerRole::Server, &name, service);
        self.0.endpoints.add(Arc::new(ServerEndpoint { name, options, service })).await
    }

    /// Runs `handler` for each job of the queue `name`, within the [`Layers`] of the component. A
    /// handler is an async function or a service; see [`Worker`](polywire_core::Worker).
    ///
    /// The rest is as with [`serve`](Self::serve).
    ///
    /// # Errors
    ///
    /// Those of [`Worker::bind`](polywire_core::Worker::bind), and [`ErrorKind::Closed`] if the
    /// component is stopping.
    pub async fn work<D: Dialect, H: IntoService<D, M>, M>(
        &self,
        name: impl Into<String>,
        dialect: D,
        handler: H,
    ) -> Result<()> {
        self.work_with(name, dialect, |worker| worker, handler).await
    }

    /// Runs a handler for each job with `options`, such as `|worker| worker.attempts(3)`; otherwise
    /// as [`work`](Self::work).
    ///
    /// # Errors
    ///
    /// Those of [`work`](Self::work).
    pub async fn work_with<D, F, H, M>(
        &self,
        name: impl Into<String>,
        dialect: D,
        options: F,
        handler: H,
    ) -> Result<()>
    where
        D: Dialect,
        F: for<'t> Fn(WorkerBind<'t, AppTransport, D>) -> WorkerBind<'t, AppTransport, D>,
        F: Send + Sync + 'static,
        H: IntoService<D, M>,
    {
        let name = name.into();
        let service = self.wrap(LayerRole::Worker, &name, handler.into_service(dialect.clone()));
        self.0.endpoints.add(Arc::new(WorkerEndpoint { name, dialect, options, service })).await
    }

    /// Runs `handler` for each event of the channel `name`, within the [`Layers`] of the component.
    /// A handler is an async function or a service; see [`Listener`](polywire_core::Listener).
    ///
    /// The rest is as with [`serve`](Self::serve).
    ///
    /// # Errors
    ///
    /// Those of [`Listener::bind`](polywire_core::Listener::bind), and [`ErrorKind::Closed`] if the
    /// component is stopping.
    pub async fn listen<D: Dialect, H: IntoService<D, M>, M>(
        &self,
        name: impl Into<String>,
        dialect: D,
        handler: H,
    ) -> Result<()> {
        self.listen_with(name, dialect, |listener| listener, handler).await
    }

    /// Runs a handler for each event with `options`, such as `|listener|
    /// listener.filter("*.paid")`; otherwise as [`listen`](Self::listen).
    ///
    /// # Errors
    ///
    /// Those of [`listen`](Self::listen).
    pub async fn listen_with<D, F, H, M>(
        &self,
        name: impl Into<String>,
        dialect: D,
        options: F,
        handler: H,
    ) -> Result<()>
    where
        D: Dialect,
        F: for<'t> Fn(ListenerBind<'t, AppTransport, D>) -> ListenerBind<'t, AppTransport, D>,
        F: Send + Sync + 'static,
        H: IntoService<D, M>,
    {
        let name = name.into();
        let service = self.wrap(LayerRole::Listener, &name, handler.into_service(dialect.clone()));
        self.0.endpoints.add(Arc::new(ListenerEndpoint { name, dialect, options, service })).await
    }

    /// Puts the layers of the component around a service.
    fn wrap(&self, role: LayerRole, name: &str, service: impl Service) -> Arc<impl Service> {
        Arc::new(self.0.layers.wrap(role, name, service))
    }

    /// Runs a task of the program. If the task fails or panics, the component ends with
    /// [`Exit::Failed`]; if it succeeds, the component goes on.
    ///
    /// When the component stops, the task is dropped at its next await, after all handlers have
    /// ended and the transport is closed. A task that awaits [`stopping`](Self::stopping) learns of
    /// the stop before that.
    pub fn spawn<T>(&self, name: impl Into<String>, task: T)
    where
        T: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.0.tasks.spawn(name.into(), task);
    }

    /// Drains all servers, workers and listeners, and keeps them for
    /// [`resume_consuming`](Self::resume_consuming). Clients, pushers and publishers go on. The
    /// component is not ready meanwhile.
    ///
    /// Deliveries that have not begun go to other processes, as in any drain. A handler of the
    /// component must not await the method, which waits for the handler. If the future is dropped,
    /// the drain goes on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::DeadlineExceeded`] if handlers still run after the grace period. They go on.
    pub async fn stop_consuming(&self) -> Result<()> {
        timeout(self.0.grace, self.0.endpoints.stop_consuming()).await.map_err(|_| {
            let text = "cannot stop consuming within the grace period: handlers still run";
            Error::new(ErrorKind::DeadlineExceeded, text)
        })
    }

    /// Binds again what [`stop_consuming`](Self::stop_consuming) has drained, and what was added
    /// since.
    ///
    /// Waits first until the handlers of an unfinished stop have ended. If the future is dropped,
    /// or fails, some endpoints are bound and others are not; a second call binds the rest.
    ///
    /// # Errors
    ///
    /// Those of binding an endpoint; [`ErrorKind::DeadlineExceeded`] if handlers still run after
    /// the grace period; [`ErrorKind::Closed`] if the component is stopping, or consuming is
    /// stopped again meanwhile.
    pub async fn resume_consuming(&self) -> Result<()> {
        self.0.endpoints.resume_consuming(self.0.grace).await
    }

    /// Refuses each further call, job and event of the component's [transport](Self::transport)
    /// with [`ErrorKind::Closed`]. Handlers go on, and their replies are sent.
    pub fn stop_publishing(&self) {
        self.0.transport.set_publishing(false);
    }

    /// Takes [`stop_publishing`](Self::stop_publishing) back.
    pub fn resume_publishing(&self) {
        self.0.transport.set_publishing(true);
    }

    /// Returns whether the component can do its work: the setup has ended, no stop was requested,
    /// every endpoint is bound, and the transport is
    /// [ready](polywire_core::health::Health::is_ready) where it reports its health. `/ready`
    /// answers the same.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.unreadiness().is_none()
    }

    /// Requests the end of the component, and returns at once: readiness turns off, all endpoints
    /// drain within the grace period, which counts from now, and the transport is closed. A further
    /// request changes nothing.
    pub fn request_stop(&self) {
        self.0.lifecycle.request_stop(None);
    }

    /// Requests the end as [`request_stop`](Self::request_stop) does, and waits for it.
    ///
    /// A handler or a task of the component must not await it, since the component waits for the
    /// handler: it would end when the grace period does. If the future is dropped, the component
    /// stops in any case.
    pub async fn stop(&self) -> Exit {
        self.request_stop();
        self.ended().await
    }

    /// Waits until a stop is requested, by a signal, by the program, or because an endpoint failed.
    /// If the future is dropped, nothing is lost.
    pub async fn stopping(&self) {
        self.0.lifecycle.stop_requested().await;
    }

    /// Waits for the end of the component, and returns the reason. If the future is dropped,
    /// nothing is lost.
    pub async fn ended(&self) -> Exit {
        self.0.lifecycle.ended().await
    }

    /// Returns the reason for which the component is not ready.
    pub(crate) fn unreadiness(&self) -> Option<String> {
        match self.0.lifecycle.current() {
            Phase::Starting => Some("starting".to_owned()),
            Phase::Stopping(_) => Some("stopping".to_owned()),
            Phase::Ended(exit) => Some(format!("ended: {exit}")),
            Phase::Serving => {
                let unbound = self.0.endpoints.unbound();
                if !unbound.is_empty() {
                    return Some(format!("not consuming: {}", unbound.join(", ")));
                }
                self.0.transport.unready()
            }
        }
    }

    /// Returns the grace period.
    pub(crate) fn grace(&self) -> Duration {
        self.0.grace
    }

    /// Returns the lifecycle.
    pub(crate) fn lifecycle(&self) -> &ComponentLifecycle {
        &self.0.lifecycle
    }

    /// Drains all endpoints.
    pub(crate) async fn drain(&self) {
        self.0.endpoints.drain().await;
    }

    /// Drops the handlers that still run, and returns the names of their endpoints. No endpoint is
    /// added any more.
    pub(crate) fn abort_handlers(&self) -> Vec<String> {
        self.0.endpoints.abort()
    }

    /// Drops all tasks, and all services with the clients and pushers that they hold.
    pub(crate) fn clear(&self) {
        self.0.tasks.abort();
        self.0.endpoints.clear();
    }

    /// Records the counters of all endpoints through the `metrics` facade.
    #[cfg(feature = "metrics")]
    pub(crate) fn record(&self) {
        self.0.endpoints.record();
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.0.name)
            .field("phase", &self.0.lifecycle.current())
            .finish_non_exhaustive()
    }
}
