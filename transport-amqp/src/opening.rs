//! A channel that is being set up.

use lapin::Channel;
use lapin::protocol::constants::REPLY_SUCCESS;

use crate::seat::write;

/// A channel over which one is about to consume. Given up half-way, it is closed: the broker may
/// consider it a consumer already, and would keep a window of deliveries for it that nobody
/// settles. lapin holds such a channel open.
pub(crate) struct Opening {
    channel: Channel,
    is_done: bool,
}

impl Opening {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel, is_done: false }
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The channel, on which one consumes now.
    pub(crate) fn done(mut self) -> Channel {
        self.is_done = true;
        self.channel.clone()
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if !self.is_done {
            write(self.channel.close(REPLY_SUCCESS, "given up".into()));
        }
    }
}
