//! The endpoints of a component.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use polywire_core::worker::Ended;
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::endpoint::{Endpoint, EndpointHandle};
use super::lifecycle::Lifecycle;
use crate::exit::Exit;
use crate::transport::AppTransport;

/// All endpoints, each bound or not. Only this file changes the list.
pub(super) struct Endpoints {
    transport: AppTransport,
    lifecycle: Arc<Lifecycle>,
    /// Serializes the methods that bind. Drains never take it.
    consuming: tokio::sync::Mutex<bool>,
    entries: Arc<Mutex<Entries>>,
}

#[derive(Default)]
struct Entries {
    all: Vec<Entry>,
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
    /// Closed when the task has ended, and its entry says so.
    done: watch::Receiver<()>,
}

impl Endpoints {
    /// Creates an empty list.
    pub(super) fn new(transport: AppTransport, lifecycle: Arc<Lifecycle>) -> Self {
        let consuming = tokio::sync::Mutex::new(true);
        Self { transport, lifecycle, consuming, entries: Arc::default() }
    }

    /// Adds an endpoint, and binds it unless consuming is stopped. If the future is dropped, the
    /// endpoint is not added.
    pub(super) async fn add(&self, endpoint: Arc<dyn Endpoint>) -> Result<()> {
        let consuming = self.consuming.lock().await;
        if *consuming {
            return self.bind(&endpoint).await;
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
        *self.consuming.lock().await = false;
        self.drain().await;
    }

    /// Binds all endpoints that are not bound.
    pub(super) async fn resume_consuming(&self) -> Result<()> {
        let mut consuming = self.consuming.lock().await;
        loop {
            let unbound = self
                .entries()
                .all
                .iter()
                .find_map(|entry| entry.bound.is_none().then(|| entry.endpoint.clone()));
            let Some(endpoint) = unbound else { break };
            self.bind(&endpoint).await?;
        }
        *consuming = true;
        Ok(())
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
        let all = std::mem::take(&mut self.entries().all);
        drop(all);
    }

    /// Returns the names of the endpoints that are not bound.
    pub(super) fn unbound(&self) -> Vec<String> {
        let entries = self.entries();
        let unbound = entries.all.iter().filter(|entry| entry.bound.is_none());
        unbound.map(|entry| entry.endpoint.name().to_owned()).collect()
    }

    /// Records the counters of all endpoints as metrics.
    #[cfg(feature = "metrics")]
    pub(super) fn record(&self) {
        for entry in &self.entries().all {
            if let Some(bound) = &entry.bound {
                bound.handle.record(entry.endpoint.name());
            }
        }
    }

    /// Binds an endpoint, and serves it in a task of its own.
    async fn bind(&self, endpoint: &Arc<dyn Endpoint>) -> Result<()> {
        if !self.lifecycle.is_open() {
            return Err(stopping(endpoint.name()));
        }
        let (handle, serving) = endpoint.bind(&self.transport).await?;
        let mut entries = self.entries();
        // A drain that began meanwhile has not seen this endpoint. Dropping it requeues.
        if entries.is_closed || !self.lifecycle.is_open() {
            return Err(stopping(endpoint.name()));
        }
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
                    entry.bound = None;
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
        let bound = Some(Bound { handle, task: task.abort_handle(), done });
        match entries.of(endpoint) {
            Some(entry) => entry.bound = bound,
            None => entries.all.push(Entry { endpoint: endpoint.clone(), bound }),
        }
        Ok(())
    }

    // No code panics while it holds the lock.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
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
