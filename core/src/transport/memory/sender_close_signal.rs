//! Close signal of a sending endpoint handle.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use super::open_handles::{ManagedHandle, closed};
use crate::error::Result;
use crate::message::{Limits, Message};

/// Close signal of a sending endpoint handle: later sends fail, and waiting sends wake up.
#[derive(Default)]
pub(super) struct CloseSignal {
    closed: AtomicBool,
    closing: Notify,
}

impl CloseSignal {
    /// Checks that the handle is open and that `message` is within `limits`.
    pub(super) fn check(&self, message: &Message, limits: &Limits) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { limits.check(message) }
    }

    /// Runs `sending` until the handle is closed.
    pub(super) async fn unless_closed(
        &self,
        sending: impl Future<Output = Result<()>>,
    ) -> Result<()> {
        let closing = self.closing.notified();
        tokio::pin!(closing);
        // Registered before the check, so that no notification is missed in between.
        closing.as_mut().enable();
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        tokio::select! {
            biased;
            () = closing => Err(closed()),
            sent = sending => sent,
        }
    }
}

impl ManagedHandle for CloseSignal {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.closing.notify_waiters();
    }
}
