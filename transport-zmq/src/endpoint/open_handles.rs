//! The endpoint handles that a transport has opened, as far as it manages them: their endpoints
//! change with the transport, and they close with it.
//!
//! The transport holds its handles weakly. A handle that the program drops closes by itself, and
//! its entry is removed when the next handle is opened.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_util::future::join_all;
use polywire_core::{ErrorKind, Result};

use super::endpoint::Endpoint;
use super::endpoint_set::EndpointChange;
use super::side::Side;
use crate::common_errors::closed;
use crate::lock::lock;

/// An open endpoint handle, as its transport sees it.
#[async_trait]
pub(crate) trait ManagedHandle: Send + Sync {
    /// Binds, unbinds, connects or disconnects an endpoint. Returns the real endpoint, or `None` if
    /// there was nothing to change.
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>>;

    /// Closes the handle at once. The future lasts as long as the sockets linger.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// The endpoint handles that a transport has opened and that still exist.
#[derive(Default)]
pub(crate) struct OpenHandles {
    /// Set by the first call of `close`.
    closed: AtomicBool,
    /// The handles, in the order in which they were opened.
    opened: Mutex<Vec<Weak<dyn ManagedHandle>>>,
}

impl OpenHandles {
    /// Fails with `Closed` once the transport is closed.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    /// Adds a handle. If the transport was closed while the handle was being opened, closes the
    /// handle and fails.
    ///
    /// # Errors
    ///
    /// `Closed`, after the handle has lingered.
    pub(crate) async fn remember(&self, handle: &Arc<dyn ManagedHandle>) -> Result<()> {
        let remembered = {
            let mut opened = lock(&self.opened);
            opened.retain(|handle| handle.strong_count() > 0);
            opened.push(Arc::downgrade(handle));
            self.check_open()
        };
        if remembered.is_err() {
            handle.close().await;
        }
        remembered
    }

    /// Changes every open handle, one after the other. Returns the real endpoints that changed.
    ///
    /// If an addition fails at one handle, the additions before it are undone. Removals before a
    /// failed one stay. A handle that was closed meanwhile is skipped.
    ///
    /// If the future is dropped, some handles may be changed and others not.
    pub(crate) async fn change(&self, change: &EndpointChange) -> Result<Vec<String>> {
        let handles: Vec<_> = lock(&self.opened).iter().filter_map(Weak::upgrade).collect();
        let mut changed = Vec::<(Arc<dyn ManagedHandle>, String)>::new();
        for handle in handles {
            match handle.change(change).await {
                Ok(real) => changed.extend(real.map(|real| (handle, real))),
                // This handle alone was closed meanwhile, which does not concern the others.
                Err(error) if error.kind() == ErrorKind::Closed && self.check_open().is_ok() => {}
                Err(error) => {
                    if change.adds {
                        undo(change.side, changed).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(changed.into_iter().map(|(_, real)| real).collect())
    }

    /// Closes every open handle and waits until all have lingered.
    ///
    /// If the future is dropped, queued messages may be lost. A second call finds no handle.
    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let opened = std::mem::take(&mut *lock(&self.opened));
        // Every handle starts to close before the first one is awaited.
        let closing: Vec<_> =
            opened.iter().filter_map(Weak::upgrade).map(|handle| handle.close()).collect();
        join_all(closing).await;
    }
}

impl fmt::Debug for OpenHandles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenHandles").field("closed", &self.closed).finish_non_exhaustive()
    }
}

/// Removes endpoints that were added.
async fn undo(side: Side, changed: Vec<(Arc<dyn ManagedHandle>, String)>) {
    for (handle, real) in changed {
        if let Ok(endpoint) = Endpoint::parse(&real) {
            // The caller gets the error that led here; a failure to undo adds nothing to it.
            let _ = handle.change(&EndpointChange { side, adds: false, endpoint }).await;
        }
    }
}
