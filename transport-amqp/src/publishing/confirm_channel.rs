//! A channel in confirm mode.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation, ConnectionStatus};
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::confirm_task::ConfirmTask;
use super::publish_request::PublishRequest;
use super::return_matcher::ReturnKey;
use super::submitted_queue::{Confirming, SubmittedQueue, UnconfirmedPublish};
use super::unconfirmed_limit::UnconfirmedLimit;
use super::verified_user_id::VerifiedUserId;
use crate::buffer_bounds::Bounds;
use crate::connection::supervised::SupervisedConnection;
use crate::error::failed;
use crate::wire::OutgoingMessage;

/// A channel in confirm mode. A lost channel stays lost: the supervisor opens another one.
///
/// Dropping it aborts its reader. Its task ends when all published messages are confirmed or lost.
///
/// The publish queue and its supervisor share the channel, and drop it after a loss. Publisher
/// [confirms](https://www.rabbitmq.com/docs/confirms) are an extension of RabbitMQ.
pub(super) struct ConfirmChannel {
    /// The engine's channel, which the task of this channel keeps open, too.
    channel: Arc<Channel>,
    /// Status of the connection, which says whether the broker blocks it.
    connection: ConnectionStatus,
    /// Largest frame that the broker accepts, in bytes.
    frame_max: usize,
    /// Written messages, on their way to the task that reads confirms.
    submitted: Arc<SubmittedQueue>,
    /// Limit that the task relaxes when outcomes are known.
    unconfirmed: Arc<UnconfirmedLimit>,
    /// Unset until the setup of the channel is complete.
    user_id: OnceLock<VerifiedUserId>,
    /// Last number that [`OutgoingMessage::stamp`] gave to a message.
    last_id: AtomicU64,
    /// Set when nothing more may be published on the channel.
    lost: watch::Sender<bool>,
    /// The task that consumes direct replies on this channel, if there is one.
    reader: OnceLock<AbortHandle>,
}

/// The readiness of a channel for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// The channel accepts the message.
    Ready,
    /// The channel accepts no messages at the moment, for this reason.
    Stopped(&'static str),
    /// The channel accepts nothing more.
    Lost,
}

impl ConfirmChannel {
    /// Opens a channel for one exchange, with a limit on unconfirmed messages. It notifies `room`
    /// when messages are confirmed, and publishes nothing before
    /// [`set_user_id`](Self::set_user_id).
    ///
    /// # Errors
    ///
    /// Those of opening a channel, or if the broker refuses publisher confirms.
    pub(super) async fn open(
        session: &SupervisedConnection,
        exchange: ShortString,
        unconfirmed: Bounds,
        room: Arc<Notify>,
    ) -> Result<Arc<Self>> {
        let (channel, connection) = session.channel_with_status().await?;
        let frame_max = session.frame_max();
        let confirms = channel.confirm_select(ConfirmSelectOptions::default()).await;
        confirms.map_err(|error| failed("cannot turn on publisher confirms", &error))?;
        let (channel, submitted) = (Arc::new(channel), Arc::<SubmittedQueue>::default());
        let unconfirmed = Arc::new(UnconfirmedLimit::new(unconfirmed));
        let lost = watch::Sender::new(false);
        let task = ConfirmTask::new(
            channel.clone(),
            exchange,
            submitted.clone(),
            unconfirmed.clone(),
            room,
        );
        // It ends after the channel is dropped, once nothing is unconfirmed.
        tokio::spawn(task.run(lost.clone()));
        Ok(Arc::new(Self {
            channel,
            connection,
            frame_max,
            submitted,
            unconfirmed,
            user_id: OnceLock::new(),
            last_id: AtomicU64::new(0),
            lost,
            reader: OnceLock::new(),
        }))
    }

    /// Returns the channel, for operations that have to use the same one.
    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Hands over the one task that reads from the channel. It is aborted when this is dropped.
    pub(super) fn set_reader(&self, reader: AbortHandle) {
        let _ = self.reader.set(reader);
    }

    /// Sets the user that messages name as their sender. Called once.
    pub(super) fn set_user_id(&self, user_id: VerifiedUserId) {
        let _ = self.user_id.set(user_id);
    }

    /// Returns whether the channel accepts a message of `size` bytes now.
    ///
    /// The answer `Ready` holds for a caller with the lock of the publish queue: no other thread
    /// publishes then.
    pub(super) fn readiness(&self, size: usize) -> Readiness {
        if *self.lost.borrow() || !self.is_open() {
            Readiness::Lost
        } else if self.connection.blocked() {
            Readiness::Stopped("the broker is short of memory or disk")
        } else if !self.user_id.get().is_some_and(VerifiedUserId::is_known) {
            Readiness::Stopped("waiting for the broker to validate the user id")
        } else if !self.unconfirmed.has_room(size) {
            Readiness::Stopped("too many messages are unconfirmed")
        } else {
            Readiness::Ready
        }
    }

    /// A lost connection is known a moment before its channels are.
    fn is_open(&self) -> bool {
        self.connection.connected() && self.channel.status().connected()
    }

    /// Writes a message. The channel has to be [ready](Readiness::Ready).
    ///
    /// The waiter is resolved when the message is confirmed, returned or lost, or at once if its
    /// header is too large.
    ///
    /// The call does not wait. The broker gets the messages in the order of the calls, which the
    /// lock of the publish queue serializes.
    pub(super) fn publish(&self, request: PublishRequest) {
        let PublishRequest { mut message, waiter } = request;
        let user = self.user_id.get().and_then(VerifiedUserId::name);
        message.stamp(user, || self.last_id.fetch_add(1, Ordering::Relaxed));
        if let Err(error) = self.check_header(&message) {
            return waiter.resolve(Err(error));
        }
        let (return_key, body_len) = (ReturnKey::of(&message), message.body.len());
        self.unconfirmed.enter(waiter.size);
        self.submitted.push(|| {
            let confirming = begun(Box::pin(write(self.channel.clone(), message)));
            UnconfirmedPublish { return_key, body_len, waiter, confirming }
        });
    }

    /// Checks that the header fits into a frame. Otherwise the broker would close the connection,
    /// and all unconfirmed messages would be lost.
    fn check_header(&self, message: &OutgoingMessage) -> Result<()> {
        let size = message.header_len();
        if size <= self.frame_max {
            return Ok(());
        }
        let error = Error::new(
            ErrorKind::TooLarge,
            "cannot publish the message: its headers, or the fault in them, do not fit into a frame",
        );
        Err(error.with("size", size).with("limit", self.frame_max).unsent())
    }

    /// Marks the channel as lost, which wakes [`lost`](Self::lost).
    pub(super) fn mark_lost(&self) {
        self.lost.send_replace(true);
    }

    /// Waits until the channel is lost. Dropping the future has no effect.
    ///
    /// A loss that the engine knows is noticed within 200 ms, even if the channel is idle.
    pub(super) async fn lost(&self) {
        let mut lost = self.lost.subscribe();
        let noticed = lost.wait_for(|lost| *lost);
        tokio::pin!(noticed);
        // An idle channel is marked by no confirm.
        while timeout(CHECK_INTERVAL, &mut noticed).await.is_err() && self.is_open() {}
    }
}

/// Interval at which an idle channel is checked.
const CHECK_INTERVAL: Duration = Duration::from_millis(200);

impl Drop for ConfirmChannel {
    fn drop(&mut self) {
        self.submitted.close();
        if let Some(reader) = self.reader.get() {
            reader.abort();
        }
    }
}

/// Polls a confirmation for the first time, which numbers the message and queues its frames.
///
/// The waker does nothing: the task that reads the confirms polls again.
fn begun(mut confirming: Confirming) -> Confirming {
    match confirming.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Box::pin(std::future::ready(done)),
        Poll::Pending => confirming,
    }
}

/// Writes a message and waits for its confirm. It is numbered and queued in the first poll.
async fn write(channel: Arc<Channel>, message: OutgoingMessage) -> lapin::Result<Confirmation> {
    let OutgoingMessage { exchange, routing_key, mandatory, properties, body, .. } = message;
    let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
    channel.basic_publish(exchange, routing_key, options, &body, properties).await?.await
}
