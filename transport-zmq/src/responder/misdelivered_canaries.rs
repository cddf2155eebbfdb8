//! Canaries that were taken by another consumer than the one that has sent them.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use polywire_core::Message;
use rustc_hash::FxHashMap;

use crate::lock::lock;

/// The latest canary for each consumer of a server socket.
///
/// A canary passes the socket and the queue, where any consumer of the service may take it. The
/// taker passes it to the consumer that has sent it, which answers when it is polled.
#[derive(Default)]
pub(super) struct MisdeliveredCanaries {
    /// An entry for each consumer, with or without a canary.
    canaries: Mutex<FxHashMap<u64, Option<Message>>>,
    /// Set if there may be a canary, so that a delivery costs no lock.
    is_any: AtomicBool,
}

impl MisdeliveredCanaries {
    /// Adds a consumer.
    pub(super) fn add_consumer(&self, consumer: u64) {
        lock(&self.canaries).insert(consumer, None);
    }

    /// Removes a consumer, with its canary.
    pub(super) fn remove_consumer(&self, consumer: u64) {
        lock(&self.canaries).remove(&consumer);
    }

    /// Passes a canary to a consumer, in place of an earlier one. Returns whether the consumer
    /// exists. It has to be woken then.
    pub(super) fn pass(&self, consumer: u64, canary: Message) -> bool {
        let mut canaries = lock(&self.canaries);
        let Some(place) = canaries.get_mut(&consumer) else { return false };
        *place = Some(canary);
        self.is_any.store(true, Ordering::Release);
        true
    }

    /// Takes the canary of a consumer. Called after each poll of its queue, so the usual case takes
    /// no lock.
    pub(super) fn take(&self, consumer: u64) -> Option<Message> {
        if !self.is_any.load(Ordering::Acquire) {
            return None;
        }
        let mut canaries = lock(&self.canaries);
        let canary = canaries.get_mut(&consumer)?.take();
        let is_any = canaries.values().any(Option::is_some);
        // Under the lock, so that no canary is passed in between.
        self.is_any.store(is_any, Ordering::Release);
        canary
    }
}
