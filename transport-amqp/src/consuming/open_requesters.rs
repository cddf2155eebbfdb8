//! The open requesters of a transport, to which its reply consumer routes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use polywire_core::message::CallId;
use polywire_core::transport::{Delivery, ServerNotice};
use polywire_core::{Error, Message, Result};
use rustc_hash::FxHashMap;

use crate::common_errors::closed;
use crate::consuming::requester_streams::{
    BatchEvents, RequesterReplies, RequesterStreams, ServerNotices,
};
use crate::lock::lock;

/// Open requesters by number.
pub(super) struct OpenRequesters {
    streams: Mutex<FxHashMap<u64, RequesterStreams>>,
    /// Number of the next requester.
    next: AtomicU64,
    /// Set on close, under the lock of `streams`, so that no requester registers afterwards.
    closed: AtomicBool,
    /// Number of replies to requesters that are closed, or of an earlier process.
    unknown: AtomicU64,
}

impl OpenRequesters {
    /// Creates the table, whose first requester gets the number `first`.
    pub(super) fn new(first: u64) -> Self {
        Self {
            streams: Mutex::default(),
            next: AtomicU64::new(first),
            closed: AtomicBool::new(false),
            unknown: AtomicU64::new(0),
        }
    }

    /// Registers a requester. Returns its number, its replies, and the notices about its servers.
    ///
    /// # Errors
    ///
    /// [`Closed`](polywire_core::ErrorKind::Closed) after close.
    pub(super) fn register(&self) -> Result<(u64, RequesterReplies, ServerNotices)> {
        let (streams, replies, notices) = RequesterStreams::open();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut open = lock(&self.streams);
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        open.insert(number, streams);
        Ok((number, replies, notices))
    }

    /// Sets the sender of batches of a requester.
    pub(super) fn set_batches(&self, requester: u64, batches: Weak<dyn BatchEvents>) {
        if let Some(streams) = lock(&self.streams).get_mut(&requester) {
            streams.batches = Some(batches);
        }
    }

    /// Notifies a requester that a server reads batches of up to `calls` calls.
    pub(super) fn announced(&self, requester: u64, calls: usize) {
        if let Some(batches) = self.batches(requester) {
            batches.announced(calls);
        }
    }

    /// Notifies a requester that a batch with this call has come back.
    pub(super) fn returned(&self, requester: u64, call: CallId, message: Message) {
        if let Some(batches) = self.batches(requester) {
            batches.returned(call, message);
        }
    }

    fn batches(&self, requester: u64) -> Option<Arc<dyn BatchEvents>> {
        lock(&self.streams).get(&requester)?.batches.as_ref()?.upgrade()
    }

    /// Removes a requester. Later replies to its calls are dropped.
    pub(super) fn unregister(&self, requester: u64) {
        lock(&self.streams).remove(&requester);
    }

    /// Ends the streams of all requesters.
    pub(super) fn close(&self) {
        let mut open = lock(&self.streams);
        self.closed.store(true, Ordering::Release);
        open.clear();
    }

    /// Sends a reply, or the error of one call, to a requester.
    pub(super) fn send(&self, requester: u64, item: Result<Delivery>) {
        let open = lock(&self.streams);
        let streams = open.get(&requester);
        if let Some(batches) = streams.and_then(|streams| streams.batches.as_ref()?.upgrade())
            && let Some(call) = call_of(&item)
        {
            batches.ended(call);
        }
        let is_sent = streams.is_some_and(|streams| streams.replies.send(item).is_ok());
        if !is_sent {
            let count = self.unknown.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::debug!(requester, count, "dropped a reply: its requester is closed");
        }
    }

    /// Notifies a requester. Returns false if it is closed, or was of an earlier process.
    ///
    /// Beyond 1,024 notices that the requester has not read, further ones are dropped: servers
    /// repeat their questions, and core its checks.
    pub(super) fn notify(&self, requester: u64, notice: ServerNotice) -> bool {
        let open = lock(&self.streams);
        let Some(streams) = open.get(&requester) else { return false };
        if streams.notices.try_send(notice).is_err() {
            tracing::debug!(requester, "dropped a notice: too many are queued");
        }
        true
    }

    /// Fails the in-flight calls of all requesters.
    pub(super) fn fail_all(&self, error: &Error) {
        for requester in lock(&self.streams).values() {
            // A requester that is closed has no calls.
            let _ = requester.replies.send(Err(error.clone()));
            if let Some(batches) = requester.batches.as_ref().and_then(Weak::upgrade) {
                batches.all_ended();
            }
        }
    }
}

/// Returns the call that an item ends.
fn call_of(item: &Result<Delivery>) -> Option<CallId> {
    match item {
        Ok(delivery) => delivery.message.id,
        Err(error) => error.call(),
    }
}
