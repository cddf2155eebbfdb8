//! The endpoints of a component.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use polywire_core::worker::Ended;
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

#[cfg(feature = "metrics")]
use super::counts::{Counts, keep};
use super::endpoint::{Endpoint, EndpointHandle};
use super::lifecycle::ComponentLifecycle;
use crate::exit::Exit;
use crate::transport::AppTransport;

/// All endpoints, each bound or not. Only this file changes the list.
pub(super) struct Endpoints {
    transport: AppTransport,
    lifecycle: Arc<ComponentLifecycle>,
    /// Serializes the methods that bind. Drains never take it.
    binding: tokio::sync::Mutex<()>,
    entries: Arc<Mutex<Entries>>,
}

struct Entries {
    all: Vec<Entry>,
    /// Set while endpoints that are added are bound at once.
    is_consuming: bool,
    /// The number of stops so far. A bind during which it changes comes too late.
    stops: u64,
    /// Set when the component has ended: nothing is added any more.
    is_closed: bool,
}

struct Entry {
    endpoint: Arc<dyn Endpoint>,
    bound: Option<Bound>,
}

#[derive(Clone)]
struct Bound {
    handle: EndpointHandle,
    task: AbortHandle,
    /// Set once consuming was stopped since: handlers may still run, and none begins.
    is_draining: bool,
    /// Closed when the task has ended, and its entry says so.
    done: watch::Receiver<()>,
}

/// Outcome of a bind.
#[derive(PartialEq)]
enum Binding {
    Bound,
    /// Consuming was stopped meanwhile. What was bound is dropped.
    Late,
}

impl Endpoints {
    /// Creates an empty list.
    pub(super) fn new(transport: AppTransport, lifecycle: Arc<ComponentLifecycle>) -> Self {
        let entries = Entries { all: Vec::new(), is_consuming: true, stops: 0, is_closed: false };
        let entries = Arc::new(Mutex::new(entries));
        Self { transport, lifecycle, binding: tokio::sync::Mutex::default(), entries }
    }

    /// Adds an endpoint, and binds it unless consuming is stopped. If the future is dropped, the
    /// endpoint is not added.
    pub(super) async fn add(&self, endpoint: Arc<dyn Endpoint>) -> Result<()> {
        let _turn = self.binding.lock().await;
        let (is_consuming, stops) = {
            let entries = self.entries();
            (entries.is_consuming, entries.stops)
        };
        if is_consuming && self.bind(&endpoint, stops).await? == Binding::Bound {
            return Ok(());
        }
        let mut entries = self.entries();
        if entries.is_closed || !self.lifecycle.is_open() {
            return Err(stopping(endpoint.name()));
        }
        entries.all.push(Entry { endpoint, bound: None });
        Ok(())
    }

    /// Drains all endpoints, which stay in the list.
    pub(super) async fn stop_consuming(&self) {
        {
            let mut entries = self.entries();
            entries.is_consuming = false;
            entries.stops += 1;
            for bound in entries.all.iter_mut().filter_map(|entry| entry.bound.as_mut()) {
                bound.is_draining = true;
            }
        }
        self.drain().await;
    }

    /// Binds all endpoints that are not bound. Waits at most for `limit` until the handlers of
    /// those that drain have ended.
    pub(super) async fn resume_consuming(&self, limit: Duration) -> Result<()> {
        let _turn = self.binding.lock().await;
        let stops = self.entries().stops;
        timeout(limit, self.drained()).await.map_err(|_| {
            let text = "cannot resume consuming within the grace period: handlers still run";
            Error::new(ErrorKind::DeadlineExceeded, text)
        })?;
        loop {
            let unbound = {
                let mut entries = self.entries();
                let unbound = entries.all.iter().find(|entry| entry.bound.is_none());
                let unbound = unbound.map(|entry| entry.endpoint.clone());
                if unbound.is_none() && entries.stops == stops {
                    entries.is_consuming = true;
                    return Ok(());
                }
                unbound
            };
            let binding = match unbound {
                Some(endpoint) => self.bind(&endpoint, stops).await?,
                None => Binding::Late,
            };
            if binding == Binding::Late {
                let text = "cannot resume consuming: it was stopped again meanwhile";
                return Err(Error::new(ErrorKind::Closed, text));
            }
        }
    }

    /// Waits until no endpoint drains.
    async fn drained(&self) {
        let draining: Vec<_> = {
            let entries = self.entries();
            let bound = entries.all.iter().filter_map(|entry| entry.bound.as_ref());
            bound.filter(|bound| bound.is_draining).map(|bound| bound.done.clone()).collect()
        };
        for mut done in draining {
            // Nothing is ever sent: the error is the end.
            let _ = done.changed().await;
        }
    }

    /// Drains all endpoints at the same time, and waits until their handlers have ended.
    pub(super) async fn drain(&self) {
        let bound: Vec<_> =
            self.entries().all.iter().filter_map(|entry| entry.bound.clone()).collect();
        join_all(bound.into_iter().map(|mut bound| async move {
            bound.handle.drain().await;
            // Nothing is ever sent: the error is the end.
            let _ = bound.done.changed().await;
        }))
        .await;
    }

    /// Drops the handlers that still run, and returns the names of their endpoints. No endpoint is
    /// added any more. The services stay: a pusher in one of them may still have to send, and does
    /// so while the transport closes.
    pub(super) fn abort(&self) -> Vec<String> {
        let mut entries = self.entries();
        entries.is_closed = true;
        let running = entries.all.iter().filter_map(|entry| {
            let bound = entry.bound.as_ref()?;
            bound.task.abort();
            (!bound.task.is_finished()).then(|| entry.endpoint.name().to_owned())
        });
        running.collect()
    }

    /// Removes all endpoints. Their services may hold the component, which holds this list.
    pub(super) fn clear(&self) {
        let mut all = std::mem::take(&mut self.entries().all);
        all.iter_mut().for_each(Entry::unbind);
    }

    /// Returns the names of the endpoints that do not consume.
    pub(super) fn unbound(&self) -> Vec<String> {
        let entries = self.entries();
        let consumes = |bound: &Bound| !bound.is_draining;
        let unbound =
            entries.all.iter().filter(|entry| !entry.bound.as_ref().is_some_and(consumes));
        unbound.map(|entry| entry.endpoint.name().to_owned()).collect()
    }

    /// Records the counters of all endpoints as metrics.
    #[cfg(feature = "metrics")]
    pub(super) fn record(&self) {
        let mut counts = Counts::default();
        let entries = self.entries();
        for entry in &entries.all {
            if let Some(bound) = &entry.bound {
                bound.handle.add_to(&mut counts, entry.endpoint.name());
            }
        }
        // The lock is held: an endpoint that ends meanwhile would be counted twice.
        counts.record();
    }

    /// Binds an endpoint, and serves it in a task of its own, unless consuming is stopped
    /// meanwhile: then the number of stops is no longer `stops`.
    async fn bind(&self, endpoint: &Arc<dyn Endpoint>, stops: u64) -> Result<Binding> {
        if !self.lifecycle.is_open() {
            return Err(stopping(endpoint.name()));
        }
        let (handle, serving) = endpoint.bind(&self.transport).await?;
        let mut entries = self.entries();
        // A drain that began meanwhile has not seen this endpoint. Dropping it requeues.
        if entries.is_closed || !self.lifecycle.is_open() {
            return Err(stopping(endpoint.name()));
        }
        if entries.stops != stops {
            return Ok(Binding::Late);
        }
        tracing::info!(name = endpoint.name(), kind = endpoint.kind(), "bound");
        // The task is spawned under the lock, so that it finds its entry when it ends.
        let (list, lifecycle, ending) =
            (Arc::downgrade(&self.entries), self.lifecycle.clone(), endpoint.clone());
        let (ends, done) = watch::channel(());
        let task = tokio::spawn(async move {
            let _ends = ends;
            let ended = serving.await;
            if let Some(list) = list.upgrade() {
                let mut entries = list.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(entry) = entries.of(&ending) {
                    entry.unbind();
                }
            }
            match ended {
                Ok(Ended::Closed) => lifecycle.request_stop(None),
                Ok(_) => {}
                Err(error) => {
                    lifecycle.request_stop(Some(Exit::of_endpoint(ending.name(), error)));
                }
            }
        });
        let bound = Some(Bound { handle, task: task.abort_handle(), is_draining: false, done });
        match entries.of(endpoint) {
            Some(entry) => entry.bound = bound,
            None => entries.all.push(Entry { endpoint: endpoint.clone(), bound }),
        }
        Ok(Binding::Bound)
    }

    // No code panics while it holds the lock.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Forgets the handle, and keeps its counts.
    fn unbind(&mut self) {
        #[cfg(feature = "metrics")]
        if let Some(bound) = &self.bound {
            keep(|counts| bound.handle.add_to(counts, self.endpoint.name()));
        }
        self.bound = None;
    }
}

impl Entries {
    fn of(&mut self, endpoint: &Arc<dyn Endpoint>) -> Option<&mut Entry> {
        self.all.iter_mut().find(|entry| Arc::ptr_eq(&entry.endpoint, endpoint))
    }
}

/// Returns the error of an endpoint that comes too late.
fn stopping(name: &str) -> Error {
    let text = "cannot add the endpoint: the component is stopping";
    Error::new(ErrorKind::Closed, text).with("endpoint", name).unsent()
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures_util::FutureExt;
    use polywire_codec::MessagePack;
    use polywire_core::rpc::ServerBind;
    use polywire_core::worker::Serving;
    use polywire_core::{AnyTransport, Memory, Router};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::component::endpoint::ServerEndpoint;
    use crate::routes::Routes;

    /// An endpoint that is bound when it gets a permit.
    struct Slow<E> {
        endpoint: E,
        permits: Arc<Semaphore>,
    }

    #[async_trait]
    impl<E: Endpoint> Endpoint for Slow<E> {
        fn name(&self) -> &str {
            self.endpoint.name()
        }

        fn kind(&self) -> &'static str {
            self.endpoint.kind()
        }

        async fn bind(&self, transport: &AppTransport) -> Result<(EndpointHandle, Serving)> {
            self.permits.acquire().await.unwrap().forget();
            self.endpoint.bind(transport).await
        }
    }

    fn same(bind: ServerBind<'_, AppTransport>) -> ServerBind<'_, AppTransport> {
        bind
    }

    #[tokio::test(start_paused = true)]
    async fn stop_does_not_wait_for_a_bind_which_comes_too_late_then() {
        let mut routes = Routes::new();
        routes.add(None, AnyTransport::new(Memory::new()));
        let endpoints =
            Endpoints::new(AppTransport::new(routes), Arc::new(ComponentLifecycle::new()));
        let permits = Arc::new(Semaphore::new(0));
        let endpoint = ServerEndpoint {
            name: "a".to_owned(),
            options: same,
            service: Arc::new(Router::new(MessagePack)),
        };
        let slow = Arc::new(Slow { endpoint, permits: permits.clone() });
        let mut adding = Box::pin(endpoints.add(slow));
        assert!((&mut adding).now_or_never().is_none());
        endpoints.stop_consuming().now_or_never().expect("no wait for the bind");
        permits.add_permits(1);
        adding.await.unwrap();
        assert_eq!(endpoints.unbound(), ["a"]);

        let limit = Duration::from_secs(1);
        let mut resuming = Box::pin(endpoints.resume_consuming(limit));
        assert!((&mut resuming).now_or_never().is_none());
        endpoints.stop_consuming().await;
        permits.add_permits(1);
        assert_eq!(resuming.await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(endpoints.unbound(), ["a"]);

        permits.add_permits(1);
        endpoints.resume_consuming(limit).await.unwrap();
        assert!(endpoints.unbound().is_empty());
    }
}
