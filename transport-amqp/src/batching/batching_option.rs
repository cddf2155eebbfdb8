//! The builder method for batches.

use crate::batching::call_batching::CallBatching;
use crate::builder::AmqpBuilder;

impl AmqpBuilder {
    /// Sets if calls and replies are joined under load.
    ///
    /// The default is [`CallBatching::Off`], or the URL parameter `batch` (`auto` or `off`).
    pub fn batching(mut self, batching: CallBatching) -> Self {
        self.config.batching = batching;
        self
    }
}
