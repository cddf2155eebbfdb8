//! Open endpoint handles of a transport.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Weak};

use super::lock::lock;
use crate::error::{Error, ErrorKind, Result};

/// Endpoint handle that its transport can close.
pub(super) trait ManagedHandle: Send + Sync {
    /// Closes the endpoint handle. A second call has no effect.
    fn close(&self);
}

/// Endpoint handles that one transport has opened and closes with itself.
#[derive(Default)]
pub(super) struct OpenHandles {
    closed: AtomicBool,
    opened: Mutex<Vec<Weak<dyn ManagedHandle>>>,
}

impl OpenHandles {
    /// Checks that the transport is open.
    ///
    /// # Errors
    ///
    /// `Closed` after [`close`](Self::close).
    pub(super) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    /// Registers an endpoint handle, and closes it if the transport was closed meanwhile.
    pub(super) fn register(&self, handle: Weak<dyn ManagedHandle>) {
        let mut opened = lock(&self.opened);
        opened.retain(|handle| handle.strong_count() > 0);
        opened.push(handle);
        if self.check_open().is_err() {
            drop(opened);
            self.close();
        }
    }

    /// Closes the transport and every endpoint handle that is still open. A second call has no
    /// effect.
    pub(super) fn close(&self) {
        let opened = {
            let mut opened = lock(&self.opened);
            self.closed.store(true, Ordering::Release);
            std::mem::take(&mut *opened)
        };
        for handle in opened.iter().filter_map(Weak::upgrade) {
            handle.close();
        }
    }
}

/// Returns the error of a closed endpoint handle or transport.
pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the transport is closed").unsent()
}
