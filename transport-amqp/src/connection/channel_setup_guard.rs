//! Guard for a channel that is being set up.

use lapin::Channel;
use lapin::protocol::constants::REPLY_SUCCESS;

use crate::connection::send_unawaited::send_unawaited;

/// A channel on which a consumer is being registered.
///
/// Dropping the guard before [`done`](Self::done) closes the channel. The broker may have
/// registered the consumer already, and would hold back a window of deliveries for a consumer that
/// settles none. The engine keeps such a channel open.
///
/// The frame that closes the channel is queued; the drop does not wait for the broker.
pub(crate) struct ChannelSetupGuard {
    channel: Channel,
    is_done: bool,
}

impl ChannelSetupGuard {
    /// Guards a channel that was just opened.
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel, is_done: false }
    }

    /// Returns the guarded channel.
    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Returns the channel, whose consumer is registered.
    pub(crate) fn done(mut self) -> Channel {
        self.is_done = true;
        self.channel.clone()
    }
}

impl Drop for ChannelSetupGuard {
    fn drop(&mut self) {
        if !self.is_done {
            send_unawaited(self.channel.close(REPLY_SUCCESS, "given up".into()));
        }
    }
}
