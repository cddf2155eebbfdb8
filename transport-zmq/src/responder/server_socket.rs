//! Server socket of a transport, opened with the first responder and shared by all of them.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use polywire_core::Result;
use tokio::task::AbortHandle;

use super::dispatcher::Dispatcher;
use crate::config::Settings;
use crate::endpoint::{BindGuard, BoundEndpoints, EndpointChange, EndpointSet, ManagedEndpoint};
use crate::engine;
use crate::error::config;

/// A ROUTER socket, its dispatcher, and the task that reads requests when no responder does.
///
/// Each half of a responder holds the socket, as does the transport. Dropping the last reference
/// stops the task and drops the socket; [`ManagedEndpoint::close`] also lingers.
pub(crate) struct ServerSocket {
    /// The reader of the socket, which owns it.
    dispatcher: Arc<Dispatcher>,
    /// The task of [`Dispatcher::run`], which holds the dispatcher and with it the socket.
    task: AbortHandle,
    /// The bound endpoints, as the transport reports them.
    bound: BindGuard,
}

impl ServerSocket {
    /// Opens the socket at all endpoints of a set, and starts the task. If the future is dropped,
    /// the socket is closed.
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
        let dispatcher = Arc::new(Dispatcher::new(router, settings.limits));
        let task = tokio::spawn(dispatcher.clone().run()).abort_handle();
        Ok(Arc::new(Self { dispatcher, task, bound }))
    }

    /// The dispatcher, for the halves of a responder.
    pub(super) fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }
}

impl ManagedEndpoint for ServerSocket {
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        let changed = async {
            let real = engine::change_endpoint(self.dispatcher.socket(), change).await?;
            self.bound.note(change, real.as_ref());
            Ok(real)
        };
        changed.boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.task.abort();
        self.bound.clear();
        self.dispatcher.close()
    }
}

impl Drop for ServerSocket {
    fn drop(&mut self) {
        // The task holds the socket.
        self.task.abort();
    }
}
