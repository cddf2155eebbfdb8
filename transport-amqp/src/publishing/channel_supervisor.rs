//! The task that replaces lost channels.

use std::sync::Arc;
use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::Result;
use polywire_core::transport::LogThrottle;
use tokio::task::coop::consume_budget;

use super::confirm_channel::ConfirmChannel;
use super::publish_queue::PublishQueue;
use super::size_limits::SizeLimits;
use super::verified_user_id::VerifiedUserId;
use crate::buffer_bounds::BufferBounds;
use crate::common_errors::closed;
use crate::connection::backoff::ReconnectBackoff;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::consuming::reply_consumer::ReplyConsumer;

/// Keeps a channel open for the queue, until the broker refuses the connection for good.
///
/// A publisher has one for its own queue, and another one for large messages. Each runs as a task,
/// which is aborted when the publisher is closed or dropped.
pub(super) struct ChannelSupervisor {
    /// The publishing connection, which reconnects by itself.
    pub(super) connection: Arc<SupervisedConnection>,
    /// The queue that publishes on the channel.
    pub(super) queue: Arc<PublishQueue>,
    /// Exchange of all messages.
    pub(super) exchange: ShortString,
    /// Consumer of the replies that arrive over each channel.
    pub(super) direct_replies: Option<Arc<ReplyConsumer>>,
    /// Time that the broker has to validate the user id; `None` if messages do not name a user.
    pub(super) verify_user_id: Option<Duration>,
    /// Limit on unconfirmed messages.
    pub(super) unconfirmed: BufferBounds,
    /// Limit of the wait for a confirm.
    pub(super) confirm_timeout: Duration,
    /// Sizes that the broker accepts, as its confirms and refusals show.
    pub(super) sizes: Arc<SizeLimits>,
}

/// Closes the queue, unless it is closed, when the task is dropped: its runtime has ended.
struct CloseOnDrop(Arc<PublishQueue>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(&closed());
    }
}

/// Throttle for the log line of channels that the broker refuses.
static REFUSED: LogThrottle = LogThrottle::new();

impl ChannelSupervisor {
    /// Serves a channel, or opens one, and replaces it whenever it is lost. Closes the queue if the
    /// broker refuses the connection for good.
    ///
    /// A channel that cannot be opened is tried again with growing pauses, also if the error is not
    /// transient: its cause may be removed at the broker. Calls with direct replies fail with the
    /// channel, since their replies would have arrived over it.
    pub(super) fn run(
        self,
        channel: Option<Arc<ConfirmChannel>>,
    ) -> impl Future<Output = ()> + Send {
        // Not within the future, which may be dropped before it is polled.
        let closing = CloseOnDrop(self.queue.clone());
        async move {
            let _closing = closing;
            self.serve(channel).await;
        }
    }

    /// Serves one channel after the other. The pauses between attempts grow from 0.1 to 5 seconds,
    /// and begin anew with each lost channel.
    async fn serve(self, mut channel: Option<Arc<ConfirmChannel>>) {
        loop {
            if let Some(channel) = channel.take() {
                self.flush_until_lost(&channel).await;
                tracing::debug!(exchange = %self.exchange, "the channel to publish on is lost");
                self.queue.remove_channel();
                if let Some(replies) = &self.direct_replies {
                    replies.fail_direct_calls();
                }
                drop(channel);
                self.connection.check_now();
            }
            let mut backoff = ReconnectBackoff::new();
            let opened = loop {
                match self.connection.unless_lost(self.open()).await {
                    Ok(channel) => break channel,
                    // The cause may stay, as the limit on channels does.
                    Err(error) if !error.is_transient() => {
                        if let Some(count) = REFUSED.note() {
                            tracing::warn!(?error, exchange = %self.exchange, count, "cannot open a channel to publish on");
                        }
                    }
                    Err(error) => {
                        tracing::debug!(?error, "cannot open a channel to publish on yet");
                    }
                }
                if let Some(refusal) = self.connection.refusal() {
                    return self.queue.close(&refusal);
                }
                backoff.wait().await;
            };
            self.queue.set_channel(&opened);
            channel = Some(opened);
        }
    }

    /// Opens a channel, with its consumer of direct replies and its user id.
    ///
    /// The channel publishes nothing before this is complete. If the future is dropped, so is the
    /// channel.
    ///
    /// # Errors
    ///
    /// Those of the connection, or the broker's refusal of the channel or of the reply consumer.
    pub(super) async fn open(&self) -> Result<Arc<ConfirmChannel>> {
        let room = self.queue.room();
        let (exchange, unconfirmed) = (self.exchange.clone(), self.unconfirmed);
        let (sizes, timeout) = (self.sizes.clone(), self.confirm_timeout);
        let opening = ConfirmChannel::open(
            &self.connection,
            exchange,
            unconfirmed,
            timeout,
            room.clone(),
            sizes,
        );
        let channel = opening.await?;
        if let Some(replies) = &self.direct_replies {
            let reading = replies.consume_direct(channel.channel()).await?;
            let served = Arc::downgrade(&channel);
            let reader = tokio::spawn(async move {
                reading.await;
                if let Some(channel) = served.upgrade() {
                    channel.mark_lost();
                }
            });
            channel.set_reader(reader.abort_handle());
        }
        // Last: a broker under an alarm blocks the whole connection after its first message.
        channel.set_user_id(match self.verify_user_id {
            Some(limit) => VerifiedUserId::verify(self.connection.clone(), limit, room.clone()),
            None => VerifiedUserId::none(),
        });
        Ok(channel)
    }

    /// Publishes buffered messages whenever there is room, until the channel is lost.
    ///
    /// Room appears when messages are confirmed or withdrawn, when the user id is known, and when
    /// the broker unblocks the connection.
    pub(super) async fn flush_until_lost(&self, channel: &ConfirmChannel) {
        let mut flow = self.connection.flow_changes();
        let lost = channel.lost();
        tokio::pin!(lost);
        loop {
            tokio::select! {
                () = &mut lost => return,
                () = self.queue.room().notified() => {}
                // Fails when the connection is closed, which loses the channel as well.
                Ok(()) = flow.changed() => {}
            }
            consume_budget().await;
            self.queue.flush();
        }
    }
}
