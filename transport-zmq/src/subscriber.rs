//! The subscriber: a SUB socket, its subscriptions, and the receiver that decodes its events.
//!
//! The receiver and the filters share one [`Subscriber`]. Both read the socket through the
//! [`EventBuffer`]: the receiver to yield events, and [`Subscriptions`] to wait until all
//! publishers have a new filter.

mod accepted_subscriptions;
mod canary_sender;
mod event_buffer;
mod subscriptions;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use futures_core::future::BoxFuture;
use polywire_core::health::{EndpointReporter, EndpointRole};
use polywire_core::transport::{
    Delivery, FilterControl, Filters, Inbound, Receiver, Subscription, WaitingTimes, async_trait,
};
use polywire_core::{Address, Error, Filter, Limits, Result};

use self::canary_sender::SubscriberProbe;
use self::event_buffer::EventBuffer;
use self::subscriptions::Subscriptions;
use crate::common_errors::config;
use crate::config::Settings;
use crate::endpoint::{
    BindGuard, BoundEndpoints, EndpointChange, EndpointSet, ManagedHandle, Side,
};
use crate::engine::{self, Sub};
use crate::wire::{self, Channel, Frames, MessageRole, SyncMarker};

/// Opens a subscriber of `channel`.
///
/// When the future resolves, every publisher that is connected by then has its subscriptions.
///
/// Publishers that do not answer within the connect timeout are not waited for. If the future is
/// dropped, the socket is dropped with it.
///
/// # Errors
///
/// `Config` if no endpoint is for clients, or one cannot be bound; `Unsupported` for a group, and
/// if the engine is not compiled in.
pub(crate) async fn open(
    settings: &Settings,
    endpoints: &EndpointSet,
    channel: &Address,
    subscription: Subscription,
    bound: &BoundEndpoints,
) -> Result<(Arc<dyn ManagedHandle>, Receiver, Filters)> {
    if endpoints.is_empty() {
        return Err(config("cannot open a subscriber: the transport has no endpoint for clients"));
    }
    if subscription.group.is_some() {
        return Err(Error::unsupported("groups"));
    }
    let socket = engine::open_sub(settings, subscription.window)?;
    let buffer = Arc::new(EventBuffer::new(socket.messages()));
    let (name, channel) = (channel, Channel::new(channel));
    let subscriptions = Arc::new(Subscriptions::new(
        socket.clone(),
        buffer.clone(),
        channel.clone(),
        settings.connect_timeout,
    ));
    // Before the first publisher is connected, so that each gets all subscriptions at once.
    let later = subscriptions.begin_with(subscription.filters).await?;
    let subscriber = Arc::new(Subscriber {
        socket,
        subscriptions,
        bind_guard: BindGuard::new(bound),
        closed: AtomicBool::new(false),
    });
    for change in endpoints.changes() {
        subscriber.apply(&change).await?;
    }
    subscriber.subscriptions.settle().await?;
    for filter in later {
        subscriber.subscriptions.add(filter).await?;
    }
    let probe = SubscriberProbe::new(&subscriber.subscriptions);
    let health = subscriber.bind_guard.add_handle(EndpointRole::Subscriber, name, Arc::new(probe));
    let limits = settings.limits;
    let receiver = EventReceiver {
        subscriber: subscriber.clone(),
        buffer,
        channel,
        limits,
        waiting_times: WaitingTimes::new(),
        health,
    };
    let filters = Filters::new(SubscriberFilters(subscriber.clone()));
    Ok((subscriber, Receiver::new(receiver), filters))
}

/// The socket of a subscriber, and its subscriptions.
struct Subscriber {
    /// The socket, which `subscriptions` uses as well.
    socket: Arc<dyn Sub>,
    /// The filters, and their synchronization with the publishers.
    subscriptions: Arc<Subscriptions>,
    /// The endpoints that the socket has bound, as the transport reports them.
    bind_guard: BindGuard,
    /// Stopped, dropped or closed. The filters may outlive the receiver, and hold this value.
    closed: AtomicBool,
}

impl Subscriber {
    /// Changes an endpoint of the socket, and records the result.
    async fn apply(&self, change: &EndpointChange) -> Result<Option<String>> {
        let real = engine::change_endpoint(&*self.socket, change).await?;
        self.bind_guard.note(change, real.as_ref());
        if (change.side, change.adds) == (Side::Connect, true) {
            let refusals = self.socket.refusals();
            self.bind_guard.watch_peers(&refusals, || self.socket.peer_counts());
        }
        Ok(real)
    }
}

#[async_trait]
impl ManagedHandle for Subscriber {
    /// Changes an endpoint, and waits until the connected publishers have all subscriptions. A
    /// closed subscriber changes nothing.
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(None);
        }
        let real = self.apply(change).await?;
        self.subscriptions.settle().await?;
        Ok(real)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.closed.store(true, Ordering::Release);
        self.bind_guard.clear();
        self.socket.close()
    }
}

/// The filters of a subscriber, as core changes them.
struct SubscriberFilters(Arc<Subscriber>);

#[async_trait]
impl FilterControl for SubscriberFilters {
    async fn add(&self, filter: Filter) -> Result<()> {
        self.0.subscriptions.add(filter).await
    }

    async fn remove(&self, filter: Filter) -> Result<()> {
        self.0.subscriptions.remove(filter).await
    }
}

/// The receiver of a subscriber.
///
/// Dropping the receiver closes the socket, although filters may hold it.
struct EventReceiver {
    subscriber: Arc<Subscriber>,
    /// The reader of the socket, shared with the subscriptions.
    buffer: Arc<EventBuffer>,
    /// The channel, whose events alone are yielded.
    channel: Channel,
    /// Limits on the size of an event.
    limits: Limits,
    /// Estimates of the time that events with a time to live were on their way.
    waiting_times: WaitingTimes,
    /// Health of the subscriber.
    health: Arc<EndpointReporter>,
}

impl EventReceiver {
    /// Decodes an event. Returns `None` for an event of another channel, and for a late answer to a
    /// sync marker.
    ///
    /// An event that cannot be decoded is an error, with its topic. So is the answer of a publisher
    /// that accepts fewer subscriptions than there are. The stream goes on after an error. Other
    /// kinds of messages are dropped.
    fn read(&self, first: &Bytes, frames: Frames) -> Option<Result<Delivery>> {
        let topic = match self.channel.topic(first) {
            Some(Ok(topic)) => topic,
            Some(Err(error)) => return Some(Err(error)),
            None => {
                let is_answer = SyncMarker::is_marker(first);
                return is_answer
                    .then(|| self.subscriber.subscriptions.note_answer(&frames))
                    .flatten()
                    .map(Err);
            }
        };
        let sent = wire::sent_at(&frames);
        match wire::decode(frames, &self.limits) {
            Ok((MessageRole::Event, mut message)) => {
                message.topic = Some(topic);
                // An event has no reply.
                message.id = None;
                // Nothing removes an event that has expired: its age may exceed its time to live.
                message.keep_expired = true;
                self.waiting_times.shorten(&mut message, sent);
                message.keep_expired = false;
                self.health.count_received();
                Some(Ok(Delivery::settled(message)))
            }
            Ok((role, _)) => {
                tracing::debug!(?role, "dropped a message that is no event");
                None
            }
            Err(failure) => Some(Err(failure.error.with("topic", topic))),
        }
    }

    /// Closes the socket in a task of its own.
    ///
    /// Without a runtime, the future is dropped, and the socket ends with its last reference.
    fn close_socket(&self) {
        let close = self.subscriber.close();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(close);
        }
    }
}

impl Stream for EventReceiver {
    type Item = Result<Delivery>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let (first, frames) = match ready!(self.buffer.poll_take(cx)) {
                Some(Ok(arrival)) => arrival,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.health.set_consuming(false);
                    return Poll::Ready(None);
                }
            };
            if let Some(item) = self.read(&first, frames) {
                return Poll::Ready(Some(item));
            }
        }
    }
}

impl Inbound for EventReceiver {
    /// Stops receiving. Events that have arrived are still yielded.
    fn stop(self: Pin<&mut Self>) {
        self.health.end();
        self.buffer.stop();
        self.close_socket();
    }

    fn health(&self) -> Option<EndpointReporter> {
        Some((*self.health).clone())
    }
}

impl Drop for EventReceiver {
    fn drop(&mut self) {
        self.health.end();
        // The filters may live on and hold the socket. Nothing would read the socket then, and its
        // publishers would wait.
        self.buffer.clear();
        self.close_socket();
    }
}
