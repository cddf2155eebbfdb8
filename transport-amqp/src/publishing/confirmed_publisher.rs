//! The publisher that all endpoint handles of a transport share.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::transport::Sending;
use polywire_core::{Deadline, Error, ErrorKind, Result};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::channel_supervisor::ChannelSupervisor;
use super::confirm_channel::ConfirmChannel;
use super::publish_queue::{BufferGuard, BufferState, PublishQueue};
use super::publish_request::{OutcomeReceiver, PublishRequest};
use super::unproven_size::LargeMessages;
use crate::config::Config;
use crate::connection::supervised::SupervisedConnection;
use crate::consuming::replies::ReplyConsumer;
use crate::error::{closed, lost_unconfirmed};
use crate::wire::OutgoingMessage;

/// Publishes messages and waits for their confirms.
///
/// All its messages go to one exchange, over one channel of the publishing connection.
/// Acknowledgements use the other connection, which the broker does not block under an alarm.
///
/// While there is no channel, or the broker accepts no messages, messages are buffered. Later
/// messages wait behind buffered ones, and each is buffered no longer than its sender waits for it.
///
/// A message counts either for the buffer or for the limit on unconfirmed messages.
pub(crate) struct ConfirmedPublisher {
    /// Queue of all messages but the large ones.
    queue: Arc<PublishQueue>,
    /// Way for messages that the broker may find too large.
    large: LargeMessages,
    /// Limit of the wait for a connection.
    connect_timeout: Duration,
    /// Limit of the wait for a confirm, and for the channel if the message has no deadline.
    confirm_timeout: Duration,
    /// The task that replaces lost channels, aborted on drop.
    supervisor: AbortHandle,
}

impl ConfirmedPublisher {
    /// Opens a channel, and replaces it whenever it is lost. With `direct_replies`, the replies to
    /// published requests arrive over the same channel.
    ///
    /// # Errors
    ///
    /// Those of the first channel. A later channel that cannot be opened is tried again.
    pub(crate) async fn open(
        connection: Arc<SupervisedConnection>,
        config: &Config,
        direct_replies: Option<Arc<ReplyConsumer>>,
    ) -> Result<Self> {
        let supervisor = Self::supervisor(connection, config, "".into(), direct_replies);
        let first = supervisor.open().await?;
        supervisor.queue.set_channel(&first);
        Ok(Self::run(supervisor, config, Some(first)))
    }

    /// Creates a publisher for one exchange. Its channel is opened in the background, and messages
    /// are buffered until then.
    ///
    /// Panics outside of a runtime.
    pub(crate) fn start(
        connection: Arc<SupervisedConnection>,
        config: &Config,
        exchange: ShortString,
    ) -> Self {
        Self::run(Self::supervisor(connection, config, exchange, None), config, None)
    }

    /// Creates the supervisor of a new queue, which has no channel yet.
    fn supervisor(
        connection: Arc<SupervisedConnection>,
        config: &Config,
        exchange: ShortString,
        direct_replies: Option<Arc<ReplyConsumer>>,
    ) -> ChannelSupervisor {
        ChannelSupervisor {
            connection,
            queue: Arc::new(PublishQueue::new(config.publish_buffer)),
            exchange,
            direct_replies,
            verify_user_id: config.sends_user_id().then_some(config.confirm_timeout),
            unconfirmed: config.unconfirmed_max,
        }
    }

    /// Spawns the supervisor, which serves the `first` channel.
    fn run(
        supervisor: ChannelSupervisor,
        config: &Config,
        first: Option<Arc<ConfirmChannel>>,
    ) -> Self {
        Self {
            queue: supervisor.queue.clone(),
            large: LargeMessages::new(&supervisor, config.publish_buffer),
            connect_timeout: config.connect_timeout,
            confirm_timeout: config.confirm_timeout,
            supervisor: tokio::spawn(supervisor.run(first)).abort_handle(),
        }
    }

    /// Publishes a message. Resolves when the broker confirms, returns or rejects it.
    ///
    /// The message is published at once, or after all buffered messages. It is buffered until its
    /// deadline, or for the confirm timeout if it has none; without a connection, at most for the
    /// connect timeout.
    ///
    /// A message that is larger than 1 MiB and than all confirmed ones is published alone, on
    /// another channel, so that later messages may overtake it. It waits in a buffer of its own,
    /// with the same bounds.
    ///
    /// If the future is dropped while the message is buffered, it is not sent. If the future is
    /// dropped later, the message is sent and its outcome discarded.
    ///
    /// # Errors
    ///
    /// Unsent:
    ///
    /// - [`ErrorKind::Disconnected`]: there was no connection.
    /// - [`ErrorKind::DeadlineExceeded`]: the broker accepted no messages in time.
    /// - [`ErrorKind::Unroutable`]: the broker returned the message.
    /// - [`ErrorKind::TooLarge`]: the header does not fit into a frame.
    /// - [`ErrorKind::Closed`] or [`ErrorKind::Denied`]: nothing more is published.
    ///
    /// With an unknown outcome:
    ///
    /// - [`ErrorKind::Disconnected`]: the connection was lost before the confirm.
    /// - [`ErrorKind::DeadlineExceeded`]: no confirm arrived in time.
    /// - [`ErrorKind::Rejected`]: a queue rejected the message. Others may have accepted it.
    pub(crate) fn publish(&self, message: OutgoingMessage) -> Sending<'_> {
        let Some(queue) = self.large.queue_for(&message) else {
            return self.publish_in(&self.queue, message);
        };
        let size = message.body.len();
        let sending = self.publish_in(queue, message);
        Sending::later(async move {
            let published = sending.await;
            if published.is_ok() {
                self.large.prove(size);
            }
            published
        })
    }

    /// Submits a message to one of the two queues before the returned future is polled.
    fn publish_in<'a>(&'a self, queue: &'a PublishQueue, message: OutgoingMessage) -> Sending<'a> {
        let deadline = message.deadline;
        let (request, outcome) = PublishRequest::new(message);
        match queue.submit(request) {
            Ok(guard) => Sending::later(self.outcome(guard, outcome, deadline, Instant::now())),
            Err(error) => Sending::ready(Err(error)),
        }
    }

    /// Fails all buffered and later messages as [`ErrorKind::Closed`]. Messages on their way may
    /// still be confirmed.
    pub(crate) fn close(&self) {
        self.supervisor.abort();
        self.queue.close(&closed());
        self.large.close();
    }

    /// Waits for the outcome of a message that was submitted at `since`.
    ///
    /// The confirm timeout begins when the message is submitted. For a message that was buffered
    /// until its limit, the timeout begins at that limit.
    async fn outcome(
        &self,
        guard: Option<BufferGuard<'_>>,
        mut outcome: OutcomeReceiver,
        deadline: Option<Deadline>,
        mut since: Instant,
    ) -> Result<()> {
        if let Some(guard) = guard {
            let buffered = self.while_buffered(&guard, &mut outcome, deadline, since).await;
            if let Some(outcome) = buffered {
                return outcome;
            }
            since = Instant::now();
        }
        let limit = Deadline::since(since, self.confirm_timeout).instant();
        match before(limit, &mut outcome).await {
            Some(outcome) => outcome.unwrap_or_else(|_| Err(lost_unconfirmed())),
            None => Err(unconfirmed().with("seconds", self.confirm_timeout.as_secs())),
        }
    }

    /// Waits while the message is buffered. Returns `None` once it is published and unconfirmed.
    ///
    /// There are two limits: the connect timeout, which counts only without a channel, and the end
    /// of the wait altogether.
    async fn while_buffered(
        &self,
        guard: &BufferGuard<'_>,
        outcome: &mut OutcomeReceiver,
        deadline: Option<Deadline>,
        since: Instant,
    ) -> Option<Result<()>> {
        let end = deadline.unwrap_or_else(|| Deadline::since(since, self.confirm_timeout));
        let connected = Deadline::since(since, self.connect_timeout);
        let end = end.instant();
        for limit in [end.min(connected.instant()), end] {
            if let Some(outcome) = before(limit, &mut *outcome).await {
                return Some(outcome.unwrap_or_else(|_| Err(lost_unconfirmed())));
            }
            match guard.check(limit == end) {
                BufferState::Buffered => {}
                BufferState::Published => return None,
                BufferState::Withdrawn(error) => return Some(Err(error)),
            }
        }
        None
    }
}

impl Drop for ConfirmedPublisher {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// Returns the error for a message without a confirm, whose outcome is unknown.
fn unconfirmed() -> Error {
    Error::new(
        ErrorKind::DeadlineExceeded,
        "cannot confirm the message: the broker did not answer in time",
    )
}

/// Returns the output of `future`, or `None` from `limit` on.
///
/// The clock decides, not the timer: another task whose timer has the same instant may run first,
/// and both must agree that the limit has passed.
async fn before<F: Future + Unpin>(limit: Instant, mut future: F) -> Option<F::Output> {
    let mut timer = pin!(sleep_until(limit));
    poll_fn(|cx| {
        if let Poll::Ready(output) = Pin::new(&mut future).poll(cx) {
            return Poll::Ready(Some(output));
        }
        if Instant::now() >= limit {
            return Poll::Ready(None);
        }
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}
