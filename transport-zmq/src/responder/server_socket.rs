//! Server socket of a transport, opened with the first responder and shared by all of them.

use std::sync::Arc;

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use futures_util::future::Shared;
use polywire_core::Result;

use super::dispatcher::Dispatcher;
use super::misdelivered_canaries::MisdeliveredCanaries;
use crate::common_errors::config;
use crate::config::Settings;
use crate::endpoint::{
    BindGuard, BoundEndpoints, EndpointChange, EndpointSet, ManagedHandle, Side,
};
use crate::engine;
use crate::runtime_watch::RuntimeWatch;

/// A ROUTER socket, its dispatcher, and the task that reads requests when no responder does.
///
/// Each half of a responder holds the socket, as does the transport. Dropping the last reference
/// closes the socket as [`ManagedHandle::close`] does, in the task, as long as the runtime lives.
pub(crate) struct ServerSocket {
    /// The reader of the socket, which owns it.
    dispatcher: Arc<Dispatcher>,
    /// Resolves with the end of the task of [`Dispatcher::run`], which closes the socket.
    ended: Shared<BoxFuture<'static, ()>>,
    /// The bound endpoints, as the transport reports them.
    bound: BindGuard,
    /// The runtime of the socket.
    runtime: RuntimeWatch,
    /// The configuration, for canaries.
    settings: Settings,
    /// Canaries that another consumer has taken.
    canaries: MisdeliveredCanaries,
}

impl ServerSocket {
    /// Opens the socket at all endpoints of a set, and starts the task. If the future is dropped,
    /// the socket is closed. Requires a tokio runtime, and works as long as that runtime.
    ///
    /// # Errors
    ///
    /// `Config` if the set is empty, and the errors of the socket.
    pub(crate) async fn open(
        settings: &Settings,
        endpoints: &EndpointSet,
        bound: &BoundEndpoints,
    ) -> Result<Arc<Self>> {
        if endpoints.is_empty() {
            return Err(config(
                "cannot open the serving side: no endpoint is given for it, bind one or connect \
                 to one",
            ));
        }
        let (router, real) = engine::bind_router(settings, endpoints).await?;
        let bound = BindGuard::new(bound);
        bound.add(real);
        if !endpoints.connect.is_empty() {
            bound.watch_peers(&router.refusals(), || router.peer_counts());
        }
        let dispatcher = Arc::new(Dispatcher::new(router, settings));
        let task = tokio::spawn(dispatcher.clone().run(settings.linger));
        // An error means that the runtime has ended, and the task with it.
        let ended = task.map(drop).boxed().shared();
        let (runtime, settings) = (RuntimeWatch::start(), settings.clone());
        let canaries = MisdeliveredCanaries::default();
        Ok(Arc::new(Self { dispatcher, ended, bound, runtime, settings, canaries }))
    }

    /// Returns whether no reply can be sent any more: the socket has taken leave, or its runtime
    /// has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.dispatcher.has_left() || self.runtime.has_ended()
    }

    /// The configuration of the transport.
    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Canaries that another consumer has taken, for the consumers that have sent them.
    pub(super) fn canaries(&self) -> &MisdeliveredCanaries {
        &self.canaries
    }

    /// The endpoints that the socket has bound.
    pub(super) fn bound(&self) -> &BindGuard {
        &self.bound
    }

    /// The dispatcher, for the halves of a responder.
    pub(super) fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }
}

#[async_trait]
impl ManagedHandle for ServerSocket {
    /// Makes an endpoint change. From the first endpoint to connect to, the number of peers counts
    /// for the health of the transport.
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        let real = engine::change_endpoint(self.dispatcher.socket(), change).await?;
        self.bound.note(change, real.as_ref());
        if (change.side, change.adds) == (Side::Connect, true) {
            let socket = self.dispatcher.socket();
            self.bound.watch_peers(&socket.refusals(), || socket.peer_counts());
        }
        Ok(real)
    }

    /// Closes all queues. The task then takes leave, and closes the socket. Each of the two takes
    /// up to the linger time.
    ///
    /// The task goes on if the future is dropped. All calls wait for the same end.
    fn close(&self) -> BoxFuture<'static, ()> {
        self.bound.clear();
        self.dispatcher.close();
        self.ended.clone().boxed()
    }
}

impl Drop for ServerSocket {
    fn drop(&mut self) {
        // The task holds the socket, and ends.
        self.dispatcher.close();
    }
}
