//! The puller: a PULL socket, and the receiver that decodes its jobs.
//!
//! ZeroMQ does not settle, so every delivery counts as settled when it is yielded. The routing
//! identity of the socket names the queue to each pusher. A job of another queue can still arrive,
//! from a pusher that does not check the identity, and is dropped with a warning.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::FutureExt;
use polywire_core::transport::{Delivery, Inbound, LogThrottle, Receiver};
use polywire_core::{Address, Limits, Result, Window};

use crate::config::Settings;
use crate::endpoint::{BindGuard, BoundEndpoints, EndpointChange, EndpointSet, ManagedEndpoint};
use crate::engine::{self, Pull};
use crate::error::config;
use crate::wire::{self, DecodeFailure, Frames, Role};

/// Opens a puller of `queue`.
///
/// # Errors
///
/// `Config` if no endpoint is for servers, or one cannot be bound; `Unsupported` if the engine has
/// no pipelines.
pub(crate) async fn open(
    settings: &Settings,
    endpoints: &EndpointSet,
    queue: &Address,
    window: Window,
    bound: &BoundEndpoints,
) -> Result<(Arc<dyn ManagedEndpoint>, Receiver)> {
    if endpoints.is_empty() {
        return Err(config("cannot open a puller: the transport has no endpoint for servers"));
    }
    let socket = engine::open_pull(settings, Some(queue), window)?;
    let jobs = socket.jobs();
    let real = engine::add_endpoints(&*socket, endpoints).await?;
    let bind_guard = BindGuard::new(bound);
    bind_guard.add(real);
    let puller = Arc::new(Puller { socket, bind_guard, closed: AtomicBool::new(false) });
    let receiver = JobReceiver {
        puller: puller.clone(),
        jobs,
        queue: queue.clone(),
        limits: settings.limits,
        foreign: LogThrottle::new(),
    };
    Ok((puller, Receiver::new(receiver)))
}

/// The socket of a puller.
struct Puller {
    socket: Arc<dyn Pull>,
    /// The endpoints that the socket has bound.
    bind_guard: BindGuard,
    /// Stopped or closed: the socket has no endpoints any more, and gets none.
    closed: AtomicBool,
}

impl ManagedEndpoint for Puller {
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        let changed = async {
            if self.closed.load(Ordering::Acquire) {
                return Ok(None);
            }
            let real = engine::change_endpoint(&*self.socket, change).await?;
            self.bind_guard.note(change, real.as_ref());
            Ok(real)
        };
        changed.boxed()
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
    queue: Address,
    limits: Limits,
    /// Throttle for the log line of messages that are no jobs of this queue.
    foreign: LogThrottle,
}

impl JobReceiver {
    /// Decodes a job. Returns `None` for a message that is no job of this queue, and an error for a
    /// malformed message that may be one.
    fn read(&self, frames: Frames) -> Option<Result<Delivery>> {
        match wire::decode(frames, &self.limits) {
            Ok((Role::Job(queue), mut message)) if queue == self.queue => {
                // A job has no reply.
                message.id = None;
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
        self.puller.closed.store(true, Ordering::Release);
        self.puller.bind_guard.clear();
        self.puller.socket.stop();
    }
}
