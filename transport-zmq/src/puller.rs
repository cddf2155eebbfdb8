//! The puller: a PULL socket, and the receiver that decodes its jobs.
//!
//! ZeroMQ does not settle, so every delivery counts as settled when it is yielded. The routing
//! identity of the socket names the queue to each pusher. A job of another queue can still arrive,
//! from a pusher that does not check the identity, and is dropped with a warning.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use polywire_core::health::{
    CanaryEcho, CanaryReceiver, EndpointProbe, EndpointReporter, EndpointRole, PendingCanaries,
};
use polywire_core::transport::{
    Delivery, Inbound, LogThrottle, Receiver, WaitingTimes, async_trait,
};
use polywire_core::{Address, Limits, Message, Result, Window};

use crate::common_errors::{closed, config};
use crate::config::Settings;
use crate::endpoint::{
    BindGuard, BoundEndpoints, EndpointChange, EndpointSet, ManagedHandle, OwnClient, Side,
};
use crate::engine::{self, Pull, Traffic};
use crate::wire::{self, DecodeFailure, Frames, MessageRole};

/// Opens a puller of `queue`.
///
/// Pushers need not be there: the socket accepts them at any time. If the future is dropped, the
/// socket is dropped with it.
///
/// # Errors
///
/// `Config` if no endpoint is for servers, or one cannot be bound; `Unsupported` if the engine is
/// not compiled in.
pub(crate) async fn open(
    settings: &Settings,
    endpoints: &EndpointSet,
    queue: &Address,
    window: Window,
    bound: &BoundEndpoints,
) -> Result<(Arc<dyn ManagedHandle>, Receiver)> {
    if endpoints.is_empty() {
        return Err(config("cannot open a puller: the transport has no endpoint for servers"));
    }
    let socket = engine::open_pull(settings, Some(queue), window)?;
    let jobs = socket.jobs();
    let real = engine::add_endpoints(&*socket, endpoints).await?;
    let bind_guard = BindGuard::new(bound);
    bind_guard.add(real);
    if !endpoints.connect.is_empty() {
        bind_guard.watch_peers(&socket.refusals(), || socket.peer_counts());
    }
    let puller = Arc::new(Puller { socket, bind_guard, closed: AtomicBool::new(false) });
    let canaries = PendingCanaries::default();
    let probe = PullerProbe {
        puller: Arc::downgrade(&puller),
        settings: settings.clone(),
        queue: queue.clone(),
        canaries: canaries.clone(),
    };
    let health = puller.bind_guard.add_handle(EndpointRole::Puller, queue, Arc::new(probe));
    let (queue, limits) = (queue.clone(), settings.limits);
    let receiver = JobReceiver {
        puller: puller.clone(),
        jobs,
        queue,
        limits,
        waiting_times: WaitingTimes::new(),
        foreign: LogThrottle::new(),
        health,
        canaries,
    };
    Ok((puller, Receiver::new(receiver)))
}

/// The socket of a puller.
struct Puller {
    /// The socket, which the transport closes and the receiver stops.
    socket: Arc<dyn Pull>,
    /// The endpoints that the socket has bound.
    bind_guard: BindGuard,
    /// Stopped or closed: the socket has no endpoints any more, and gets none.
    closed: AtomicBool,
}

#[async_trait]
impl ManagedHandle for Puller {
    /// Changes an endpoint. A stopped or closed puller changes nothing.
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        if self.closed.load(Ordering::Acquire) {
            return Ok(None);
        }
        let real = engine::change_endpoint(&*self.socket, change).await?;
        self.bind_guard.note(change, real.as_ref());
        if (change.side, change.adds) == (Side::Connect, true) {
            let refusals = self.socket.refusals();
            self.bind_guard.watch_peers(&refusals, || self.socket.peer_counts());
        }
        Ok(real)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.closed.store(true, Ordering::Release);
        self.bind_guard.clear();
        self.socket.close()
    }
}

/// The receiver of a puller. Dropping it closes the socket, so that pushers see the puller leave.
struct JobReceiver {
    puller: Arc<Puller>,
    /// The messages from the socket, which end when it is stopped or closed.
    jobs: BoxStream<'static, Frames>,
    /// The queue, whose jobs alone are yielded.
    queue: Address,
    /// Limits on the size of a job.
    limits: Limits,
    /// Estimates of the time that jobs with a time to live were on their way.
    waiting_times: WaitingTimes,
    /// Throttle for the log line of messages that are no jobs of this queue.
    foreign: LogThrottle,
    /// Health of the puller.
    health: Arc<EndpointReporter>,
    /// Canaries that the puller has sent to itself.
    canaries: PendingCanaries,
}

impl JobReceiver {
    /// Notes that a canary has arrived. One of another process is dropped.
    ///
    /// The body of a canary is its number in decimal digits.
    fn complete(&self, canary: &Message) {
        let text = canary.body.as_slice().and_then(|body| std::str::from_utf8(body).ok());
        if let Some(number) = text.and_then(|text| text.parse().ok()) {
            self.canaries.complete(number, CanaryReceiver::ThisEndpoint);
        }
    }

    /// Decodes a job. Returns `None` for a message that is no job of this queue, and an error for a
    /// malformed message that may be one.
    ///
    /// The stream goes on after an error. A canary completes its sender's wait, and is not yielded.
    fn read(&self, frames: Frames) -> Option<Result<Delivery>> {
        let sent = wire::sent_at(&frames);
        match wire::decode(frames, &self.limits) {
            Ok((MessageRole::Job(queue), message))
                if queue == self.queue && wire::is_canary(&message) =>
            {
                self.complete(&message);
                None
            }
            Ok((MessageRole::Job(queue), mut message)) if queue == self.queue => {
                self.health.count_received();
                // A job has no reply.
                message.id = None;
                // Nothing removes a job that has expired, so its age may exceed its time to live.
                message.keep_expired = true;
                self.waiting_times.shorten(&mut message, sent);
                message.keep_expired = false;
                Some(Ok(Delivery::settled(message)))
            }
            Ok((role, _)) => {
                if let Some(count) = self.foreign.note() {
                    tracing::warn!(?role, queue = %self.queue, count, "dropped messages that are no jobs of this queue");
                }
                None
            }
            Err(DecodeFailure { service: Some(other), error, .. }) if other != self.queue => {
                if let Some(count) = self.foreign.note() {
                    tracing::warn!(%other, ?error, queue = %self.queue, count, "dropped messages that are no jobs of this queue");
                }
                None
            }
            Err(DecodeFailure { error, .. }) => Some(Err(error)),
        }
    }
}

impl Stream for JobReceiver {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(frames) = ready!(self.jobs.as_mut().poll_next(cx)) else {
                self.health.set_consuming(false);
                return Poll::Ready(None);
            };
            if let Some(item) = self.read(frames) {
                return Poll::Ready(Some(item));
            }
        }
    }
}

impl Inbound for JobReceiver {
    /// Stops receiving from pushers. Jobs that have arrived are still yielded.
    fn stop(self: Pin<&mut Self>) {
        self.health.end();
        self.puller.closed.store(true, Ordering::Release);
        self.puller.bind_guard.clear();
        self.puller.socket.stop();
    }
    fn health(&self) -> Option<EndpointReporter> {
        Some((*self.health).clone())
    }
}

impl Drop for JobReceiver {
    fn drop(&mut self) {
        self.health.end();
    }
}

/// Sender of canaries to the socket of a puller, from a socket of their own.
struct PullerProbe {
    puller: Weak<Puller>,
    settings: Settings,
    queue: Address,
    canaries: PendingCanaries,
}

#[async_trait]
impl EndpointProbe for PullerProbe {
    async fn canary(&self, _: Duration) -> Result<CanaryEcho> {
        let client = {
            let puller = self.puller.upgrade().ok_or_else(closed)?;
            OwnClient::of(&puller.bind_guard, &self.settings)?
        };
        let OwnClient { endpoint, settings, .. } = &client;
        let dealer =
            engine::connect_dealer(settings, &Traffic::Jobs(self.queue.clone()), endpoint)?;
        dealer.up().await?;
        let number = u128::from_be_bytes(wire::unique());
        let mut pending = self.canaries.begin(number);
        let canary = wire::canary(number.to_string());
        let frames =
            wire::encode(&MessageRole::Job(self.queue.clone()), canary, &self.settings.limits)?;
        dealer.try_send(frames).map_err(|_| closed())?;
        let echo = pending.echo().await;
        dealer.close().await;
        echo
    }
}
