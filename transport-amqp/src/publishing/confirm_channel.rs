//! A channel in confirm mode.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use lapin::{Channel, Confirmation, ConnectionStatus, PublisherConfirm};
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::confirm_task::ConfirmTask;
use super::publish_request::PublishRequest;
use super::return_matcher::{ReturnKey, return_id};
use super::size_limits::SizeLimits;
use super::unconfirmed_limit::UnconfirmedLimit;
use super::unconfirmed_queue::{Confirming, UnconfirmedPublish, UnconfirmedQueue};
use super::unconfirmed_table::UnconfirmedTable;
use super::verified_user_id::VerifiedUserId;
use crate::buffer_bounds::BufferBounds;
use crate::connection::confirm_listeners::{ConfirmListener, ConfirmListeners};
use crate::connection::supervised_connection::SupervisedConnection;
use crate::engine_error::failed;
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
    /// Written messages.
    unconfirmed_messages: Unconfirmed,
    /// Limit that is relaxed when outcomes are known.
    limit: Arc<UnconfirmedLimit>,
    /// Unset until the setup of the channel is complete.
    user_id: OnceLock<VerifiedUserId>,
    /// Last number that [`OutgoingMessage::stamp`] gave to a message.
    last_id: AtomicU64,
    /// Set when nothing more may be published on the channel.
    lost: watch::Sender<bool>,
    /// The task that consumes direct replies on this channel, if there is one.
    reader: OnceLock<AbortHandle>,
}

/// The messages of a channel without an outcome.
enum Unconfirmed {
    /// The filter in front of the engine reads the confirms.
    Table(Arc<UnconfirmedTable>),
    /// Written messages, on their way to the task that awaits the engine's confirmations.
    Queue(Arc<UnconfirmedQueue>),
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
    /// Opens a channel for one exchange, with limits on unconfirmed messages. It notifies `room`
    /// when messages are confirmed, notes their `sizes`, and publishes nothing before
    /// [`set_user_id`](Self::set_user_id).
    ///
    /// # Errors
    ///
    /// Those of opening a channel, or if the broker refuses publisher confirms.
    pub(super) async fn open(
        session: &SupervisedConnection,
        exchange: ShortString,
        unconfirmed: BufferBounds,
        confirm_timeout: Duration,
        room: Arc<Notify>,
        sizes: Arc<SizeLimits>,
    ) -> Result<Arc<Self>> {
        let (channel, connection, listeners) = session.channel_with_status().await?;
        let (channel, frame_max) = (Arc::new(channel), session.frame_max());
        let (limit, lost) =
            (Arc::new(UnconfirmedLimit::new(unconfirmed)), watch::Sender::new(false));
        let unconfirmed_messages = match listeners {
            Some(listeners) => {
                let (limit, lost) = (limit.clone(), lost.clone());
                let table =
                    UnconfirmedTable::new(exchange, limit, confirm_timeout, room, sizes, lost);
                Unconfirmed::Table(listen(&channel, &connection, Arc::new(table), listeners)?)
            }
            None => {
                let confirms = channel.confirm_select(ConfirmSelectOptions::default()).await;
                confirms.map_err(|error| failed(NO_CONFIRMS, &error))?;
                let queue = Arc::<UnconfirmedQueue>::default();
                let (engine, queued, limit) = (channel.clone(), queue.clone(), limit.clone());
                let task = ConfirmTask::new(engine, exchange, queued, limit, room, sizes);
                // It ends after the channel is dropped, once nothing is unconfirmed.
                tokio::spawn(task.run(lost.clone()));
                Unconfirmed::Queue(queue)
            }
        };
        Ok(Arc::new(Self {
            channel,
            connection,
            frame_max,
            unconfirmed_messages,
            limit,
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
        } else if !self.limit.has_room(size) {
            Readiness::Stopped("too many messages are unconfirmed")
        } else {
            Readiness::Ready
        }
    }

    /// A lost connection is known a moment before its channels are.
    fn is_open(&self) -> bool {
        self.connection.connected() && self.channel.status().connected()
    }

    /// Returns whether the channel itself limits the wait for a confirm to the timeout.
    pub(super) fn limits_confirms(&self) -> bool {
        matches!(self.unconfirmed_messages, Unconfirmed::Table(_))
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
        let body_len = message.body.len();
        self.limit.enter(waiter.size);
        match &self.unconfirmed_messages {
            Unconfirmed::Table(table) => {
                // First: the confirm may arrive before this call ends.
                table.push(return_id(&message), body_len, waiter);
                // The first poll queues the frames. A channel that takes none is lost, and its task
                // fails the message.
                let writing = pin!(publish(&self.channel, message));
                let _ = writing.poll(&mut Context::from_waker(Waker::noop()));
            }
            Unconfirmed::Queue(queue) => {
                let return_key = ReturnKey::of(&message);
                queue.push(|| {
                    let confirming = begun(Box::pin(write(self.channel.clone(), message)));
                    UnconfirmedPublish { return_key, body_len, waiter, confirming }
                });
            }
        }
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
        match &self.unconfirmed_messages {
            Unconfirmed::Table(table) => table.close(),
            Unconfirmed::Queue(queue) => queue.close(),
        }
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
    publish(&channel, message).await?.await
}

/// Writes a message. Its frames are queued in the first poll.
async fn publish(channel: &Channel, message: OutgoingMessage) -> lapin::Result<PublisherConfirm> {
    let OutgoingMessage { exchange, routing_key, mandatory, properties, body, .. } = message;
    let options = BasicPublishOptions { mandatory, ..BasicPublishOptions::default() };
    channel.basic_publish(exchange, routing_key, options, &body, properties).await
}

/// Puts a channel into confirm mode, without the engine's own confirms: the engine would keep
/// three promises for each message, and attach returned messages to any of them.
///
/// The broker is asked not to answer, so the engine does not turn its confirms on. Its future for
/// the answer then fails when the channel is lost.
fn listen(
    channel: &Arc<Channel>,
    connection: &ConnectionStatus,
    table: Arc<UnconfirmedTable>,
    listeners: ConfirmListeners,
) -> Result<Arc<UnconfirmedTable>> {
    listeners.add(channel.id(), table.clone());
    let asked = channel.clone();
    let mut answer =
        Box::pin(async move { asked.confirm_select(ConfirmSelectOptions { nowait: true }).await });
    // Queues the frame, before those of all messages.
    let early = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    if let Poll::Ready(Err(error)) = early {
        let listener: Arc<dyn ConfirmListener> = table;
        listeners.remove(&listener);
        return Err(failed(NO_CONFIRMS, &error));
    }
    let loss = async move {
        match early {
            Poll::Pending => match answer.await {
                Err(error) => error,
                Ok(()) => std::future::pending().await,
            },
            Poll::Ready(_) => std::future::pending().await,
        }
    };
    // It ends after the channel is dropped, once nothing is unconfirmed.
    let (channel, connection) = (channel.clone(), connection.clone());
    tokio::spawn(table.clone().watch(channel, connection, loss, listeners));
    Ok(table)
}

/// Error of a channel without confirms.
const NO_CONFIRMS: &str = "cannot turn on publisher confirms";
