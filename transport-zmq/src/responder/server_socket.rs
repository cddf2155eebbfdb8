//! Server socket of a transport.

use std::sync::Arc;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use polywire_core::Result;
use tokio::task::AbortHandle;

use super::dispatcher::Dispatcher;
use crate::config::Settings;
use crate::engine;
use crate::error::config;
use crate::plan::{Change, Plan};
use crate::transport::{Bound, End, Listening};

/// A ROUTER socket, its dispatcher, and the task that reads requests when no responder does.
pub(crate) struct ServerSocket {
    dispatcher: Arc<Dispatcher>,
    task: AbortHandle,
    bound: Listening,
}

impl ServerSocket {
    /// Opens the socket at the endpoints of a plan.
    ///
    /// # Errors
    ///
    /// `Config` if the plan is empty, and the errors of the socket.
    pub(crate) async fn open(settings: &Settings, plan: &Plan, bound: &Bound) -> Result<Arc<Self>> {
        if plan.is_empty() {
            return Err(config(
                "cannot open the serving side: no endpoint is given for it, bind one or connect \
                 to one",
            ));
        }
        let (router, real) = engine::bind_router(settings, plan).await?;
        let bound = Listening::new(bound);
        bound.add(real);
        let dispatcher = Arc::new(Dispatcher::new(router, settings.limits));
        let task = tokio::spawn(dispatcher.clone().run()).abort_handle();
        Ok(Arc::new(Self { dispatcher, task, bound }))
    }

    pub(super) fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.dispatcher
    }
}

impl End for ServerSocket {
    fn change<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Option<String>>> {
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
