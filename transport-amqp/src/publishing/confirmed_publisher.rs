//! The publisher that all endpoint handles of a transport share.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::transport::{GetOnSent, Sending};
use polywire_core::{Deadline, Result};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::channel_supervisor::ChannelSupervisor;
use super::confirm_channel::ConfirmChannel;
use super::confirm_outcome::unconfirmed;
use super::large_messages::LargeMessages;
use super::outcome_slot::OutcomeReceiver;
use super::publish_queue::{BufferGuard, BufferState, PublishQueue, Submitted};
use super::size_limits::SizeLimits;
use crate::common_errors::closed;
use crate::config::Config;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::consuming::reply_consumer::ReplyConsumer;
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
            confirm_timeout: config.confirm_timeout,
            sizes: Arc::new(SizeLimits::new()),
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
    /// A message that is larger than 1 MiB and than all confirmed ones, or than the limit that the
    /// broker has named, is published alone, on another channel. So later messages may overtake it.
    /// It waits in a buffer of its own, with the same bounds. A request with direct replies goes
    /// over the channel of the others, and is refused at once over a limit that the broker has
    /// named in the last ten minutes.
    ///
    /// If the future is dropped while the message is buffered, it is not sent. If the future is
    /// dropped later, the message is sent and its outcome discarded.
    ///
    /// # Errors
    ///
    /// Unsent:
    ///
    /// - `ErrorKind::Disconnected`: there was no connection.
    /// - `ErrorKind::DeadlineExceeded`: the broker accepted no messages in time.
    /// - `ErrorKind::Unroutable`: the broker returned the message.
    /// - `ErrorKind::TooLarge`: the header does not fit into a frame, or the broker has refused
    ///   the size of the body.
    /// - `ErrorKind::Closed` or `ErrorKind::Denied`: nothing more is published.
    ///
    /// With an unknown outcome:
    ///
    /// - `ErrorKind::Disconnected`: the connection was lost before the confirm.
    /// - `ErrorKind::DeadlineExceeded`: no confirm arrived in time.
    /// - `ErrorKind::Rejected`: a queue rejected the message. Others may have accepted it.
    pub(crate) fn publish(&self, message: OutgoingMessage) -> Sending<'_> {
        self.submit(message, false, None)
    }

    /// Publishes a message like [`publish`](Self::publish), whose sender waits for more than the
    /// confirm: a success does not wake its task.
    pub(crate) fn publish_quietly(&self, message: OutgoingMessage) -> Sending<'_> {
        self.submit(message, true, None)
    }

    /// Publishes a message like [`publish`](Self::publish). If the message is written at once,
    /// calls the function of `then` with the outcome, on any thread; the future is ready then.
    pub(crate) fn publish_then<'a>(
        &'a self,
        message: OutgoingMessage,
        then: GetOnSent<'_>,
    ) -> Sending<'a> {
        self.submit(message, false, Some(then))
    }

    /// Returns whether a message of `bytes`, which is not too large for the channel, would be
    /// published at once.
    ///
    /// The answer may be outdated in the next moment: the message is buffered then.
    pub(crate) fn is_ready(&self, bytes: usize) -> bool {
        self.queue.is_ready(bytes)
    }

    /// Submits a message to one of the two queues before the returned future is polled.
    fn submit<'a>(
        &'a self,
        message: OutgoingMessage,
        is_quiet: bool,
        then: Option<GetOnSent<'_>>,
    ) -> Sending<'a> {
        let queue = match self.large.queue_for(&message) {
            Ok(queue) => queue.unwrap_or(&self.queue),
            Err(error) => return Sending::ready(Err(error)),
        };
        let (deadline, since) = (message.deadline, Instant::now());
        match queue.submit(message, is_quiet, then) {
            Submitted::Taken => Sending::ready(Ok(())),
            Submitted::Written { outcome, is_limited: true } => Sending::later(outcome),
            Submitted::Written { outcome, is_limited: false } => {
                Sending::later(self.confirmed(outcome, since))
            }
            Submitted::Buffered { guard, outcome } => {
                Sending::later(self.outcome(guard, outcome, deadline, since))
            }
            Submitted::Refused(error) => Sending::ready(Err(error)),
        }
    }

    /// Fails all buffered and later messages as `ErrorKind::Closed`. Messages on their way may
    /// still be confirmed.
    pub(crate) fn close(&self) {
        self.supervisor.abort();
        self.queue.close(&closed());
        self.large.close();
    }

    /// Waits for the outcome of a message that was buffered at `since`.
    ///
    /// If it is buffered until its limit, the confirm timeout begins at that limit.
    async fn outcome(
        &self,
        guard: BufferGuard<'_>,
        mut outcome: OutcomeReceiver,
        deadline: Option<Deadline>,
        since: Instant,
    ) -> Result<()> {
        let buffered = self.while_buffered(&guard, &mut outcome, deadline, since).await;
        match buffered {
            Some(outcome) => outcome,
            None => self.confirmed(outcome, Instant::now()).await,
        }
    }

    /// Waits for the outcome of a message. The confirm timeout begins at `since`.
    async fn confirmed(&self, outcome: OutcomeReceiver, since: Instant) -> Result<()> {
        let limit = Deadline::since(since, self.confirm_timeout).instant();
        let outcome = before(limit, outcome).await;
        outcome.unwrap_or_else(|| Err(unconfirmed(self.confirm_timeout)))
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
                return Some(outcome);
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
