//! The publisher, and the task that answers the sync markers of subscribers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use polywire_core::transport::{Outbound, Sender, Sending};
use polywire_core::{Address, Limits, Message, Result};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::common_errors::{closed, config};
use crate::config::Settings;
use crate::endpoint::{
    BindGuard, BoundEndpoints, EndpointChange, EndpointSet, ManagedHandle, Side,
};
use crate::engine::{self, XPub};
use crate::runtime_watch::RuntimeWatch;
use crate::wire::{self, Channel, Frames, MessageRole, SyncMarker, unique};

/// Opens a publisher of `channel`.
///
/// When the future resolves, the publisher has the subscriptions of all subscribers that listen at
/// the endpoints that it connects to.
///
/// The wait for them takes the connect timeout at most. If the future is dropped, the socket is
/// dropped with it.
///
/// # Errors
///
/// `Config` if no endpoint is for servers, or one cannot be bound; `Unsupported` if the engine is
/// not compiled in.
pub(crate) async fn open(
    settings: &Settings,
    endpoints: &EndpointSet,
    channel: &Address,
    bound: &BoundEndpoints,
) -> Result<(Arc<dyn ManagedHandle>, Sender)> {
    if endpoints.is_empty() {
        return Err(config("cannot open a publisher: the transport has no endpoint for servers"));
    }
    let socket = engine::open_xpub(settings)?;
    let answering =
        tokio::spawn(answer_sync_markers(socket.clone(), socket.sync_markers())).abort_handle();
    let publisher = Arc::new(Publisher {
        socket,
        answering,
        connect_timeout: settings.connect_timeout,
        closed: AtomicBool::new(false),
        has_published: AtomicBool::new(false),
        name: channel.clone(),
        runtime: RuntimeWatch::start(),
        bind_guard: BindGuard::new(bound),
    });
    for change in endpoints.changes() {
        publisher.apply(&change).await?;
    }
    publisher.wait_for_subscriptions().await;
    let sender = EventSender {
        publisher: publisher.clone(),
        channel: Channel::new(channel),
        limits: settings.limits,
    };
    Ok((publisher, Sender::new(sender)))
}

/// The socket of a publisher, and the task that answers sync markers.
///
/// The transport holds the publisher weakly, and the sender strongly.
struct Publisher {
    /// The socket, which the answering task holds as well.
    socket: Arc<dyn XPub>,
    /// The task of [`answer_sync_markers`].
    answering: AbortHandle,
    /// The time that an endpoint change waits for subscriptions.
    connect_timeout: Duration,
    /// Set by the first close, so that later events fail.
    closed: AtomicBool,
    /// Set with the first event, for a log line when the publisher is dropped.
    has_published: AtomicBool,
    /// Name of the channel, for the same line.
    name: Address,
    /// The runtime of the socket, which accepts events without it.
    runtime: RuntimeWatch,
    /// The endpoints that the socket has bound, as the transport reports them.
    bind_guard: BindGuard,
}

impl Publisher {
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

    /// Waits until the subscribers at connected endpoints have sent their subscriptions, for the
    /// connect timeout at most.
    async fn wait_for_subscriptions(&self) {
        // A subscriber whose subscriptions take longer misses the first events.
        let _ = timeout(self.connect_timeout, self.socket.ready()).await;
    }
}

#[async_trait]
impl ManagedHandle for Publisher {
    /// Changes an endpoint, and waits for the subscriptions of the subscribers there.
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        let real = self.apply(change).await?;
        self.wait_for_subscriptions().await;
        Ok(real)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.closed.store(true, Ordering::Release);
        self.answering.abort();
        self.bind_guard.clear();
        self.socket.close()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        if !self.closed.load(Ordering::Acquire) && self.has_published.load(Ordering::Relaxed) {
            tracing::warn!(
                channel = %self.name,
                "a publisher was dropped before its transport was closed: if the runtime ends now, \
                 events that are not sent yet are lost"
            );
        }
        // The task holds the socket.
        self.answering.abort();
    }
}

/// Answers sync markers until the socket is closed.
///
/// All answers of one call name the same publisher. An answer waits 100 ms for room at most, and
/// the next one waits behind it.
pub(crate) async fn answer_sync_markers(
    socket: Arc<dyn XPub>,
    mut markers: BoxStream<'static, (SyncMarker, u32)>,
) {
    let own = unique();
    while let Some((marker, connections)) = markers.next().await {
        let body = socket.subscriptions_max().map(SyncMarker::accepted_max);
        let frames = Frames { head: SyncMarker::answer(&own, connections), body };
        // A subscriber whose queue of the engine is full gets no answer, since other subscribers
        // must not wait. It sends another marker later.
        let _ = timeout(ANSWER_PATIENCE, socket.send(marker.frame().clone(), frames)).await;
    }
}

/// The time that an answer waits for room.
const ANSWER_PATIENCE: Duration = Duration::from_millis(100);

/// The sender of a publisher.
struct EventSender {
    publisher: Arc<Publisher>,
    channel: Channel,
    /// Limits on the size of an event, checked before encoding.
    limits: Limits,
}

impl EventSender {
    /// Encodes an event: its first frame, and the others.
    ///
    /// # Errors
    ///
    /// `Closed` if the publisher is closed or its runtime has ended, `Config` without a topic, and
    /// `TooLarge` beyond the limits.
    fn encode(&self, mut message: Message) -> Result<(Bytes, Frames)> {
        if self.publisher.closed.load(Ordering::Acquire) || self.publisher.runtime.has_ended() {
            return Err(closed());
        }
        self.limits.check(&message)?;
        // Read first: a write per event would take the cache line from other cores.
        if !self.publisher.has_published.load(Ordering::Relaxed) {
            self.publisher.has_published.store(true, Ordering::Relaxed);
        }
        let topic = message
            .topic
            .take()
            .ok_or_else(|| config("cannot publish a message without a topic"))?;
        Ok((self.channel.frame(&topic), wire::encode(&MessageRole::Event, message, &self.limits)?))
    }
}

impl Outbound for EventSender {
    /// Encodes and sends an event, after waiting for the slowest subscriber.
    ///
    /// Dropping the returned value may drop the event. An event without subscribers succeeds.
    fn send(&self, message: Message) -> Sending<'_> {
        match self.encode(message) {
            Ok((first, frames)) => self.publisher.socket.send(first, frames),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}
