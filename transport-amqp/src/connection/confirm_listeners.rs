//! Listeners to the confirms of channels, which the filter of inbound frames calls.

use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;

use crate::lock::lock;

/// A receiver of the confirms and the returned messages of one channel.
///
/// The methods run on the engine's thread, in the order of the broker's frames, and before the
/// engine reads these. They must not wait.
pub(crate) trait ConfirmListener: Send + Sync {
    /// Notes that the broker has confirmed or rejected messages.
    fn confirmed(&self, confirm: ConfirmFrame);

    /// Notes that the broker has returned the message with this routing key and id. Its confirm
    /// follows.
    fn returned(&self, routing_key: &str, id: &str);
}

/// The broker's answer for one message of a channel, or for all up to that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConfirmFrame {
    /// Number of the message, counted from 1 on each channel. Zero with `multiple` stands for all.
    pub(crate) tag: u64,
    pub(crate) multiple: bool,
    /// False if the broker has rejected the messages.
    pub(crate) is_ack: bool,
}

/// The listeners of one connection, by channel.
///
/// Clones share the listeners. The stream of the connection calls them, and each channel that
/// publishes adds and removes its own. The lock is never held while a listener runs.
#[derive(Clone, Default)]
pub(crate) struct ConfirmListeners(Arc<Mutex<FxHashMap<u16, Arc<dyn ConfirmListener>>>>);

impl ConfirmListeners {
    /// Adds the listener of a channel, before the first confirm. An earlier channel may have had
    /// the same number; its listener is removed.
    pub(crate) fn add(&self, channel: u16, listener: Arc<dyn ConfirmListener>) {
        let replaced = lock(&self.0).insert(channel, listener);
        // Not under the lock: dropping a listener fails its messages, which wakes their senders.
        drop(replaced);
    }

    /// Removes a listener, unless another one has taken its place.
    pub(crate) fn remove(&self, listener: &Arc<dyn ConfirmListener>) {
        lock(&self.0).retain(|_, other| !Arc::ptr_eq(other, listener));
    }

    /// Returns the listener of a channel.
    pub(super) fn get(&self, channel: u16) -> Option<Arc<dyn ConfirmListener>> {
        lock(&self.0).get(&channel).cloned()
    }
}
