//! SUB: subscriptions to all publishers, and their events.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use omq_tokio::{Message, Socket, SocketType};
use polywire_core::{Result, Window};

use super::engine_error::engine_error;
use super::frame_conversion::frames_of;
use super::options::{HIGH_WATER_MARK, open, subscribing};
use super::receive::DrainingReceiver;
use super::socket_endpoints::SocketEndpoints;
use crate::config::Settings;
use crate::engine::{HasEndpoints, Sub};
use crate::wire::Frames;

/// A SUB socket. Its high-water mark is the window, at most 1,000 messages for each publisher.
///
/// The engine repeats all subscriptions to each publisher that connects later.
pub(in crate::engine) struct OmqSub {
    /// The socket, and its endpoints. Shared with the task that stops the receiver.
    endpoints: Arc<SocketEndpoints>,
    receiver: DrainingReceiver,
    /// Frames that the body of an event may have. The decoder rejects a body with more.
    frames_max: usize,
}

impl OmqSub {
    /// Opens the socket. It has no endpoint yet.
    ///
    /// # Errors
    ///
    /// `Config` if the engine rejects an option.
    pub(in crate::engine) fn open(settings: &Settings, window: Window) -> Result<Self> {
        let queued = u32::try_from(window.messages()).unwrap_or(u32::MAX).min(HIGH_WATER_MARK);
        let options = subscribing(settings).recv_hwm(queued);
        let endpoints = Arc::new(SocketEndpoints::new(open(settings, SocketType::Sub, options)?));
        let receiver = DrainingReceiver::new(endpoints.clone());
        Ok(Self { endpoints, receiver, frames_max: settings.limits.frames_max })
    }
}

impl HasEndpoints for OmqSub {
    type Endpoints = SocketEndpoints;

    fn endpoints(&self) -> &SocketEndpoints {
        &self.endpoints
    }
}

#[async_trait]
impl Sub for OmqSub {
    /// Subscribes at the engine. Resolves when the engine has the subscription, not the publishers.
    async fn subscribe(&self, prefix: Bytes) -> Result<()> {
        self.endpoints.socket.subscribe(prefix).await.map_err(engine_error)
    }

    async fn unsubscribe(&self, prefix: Bytes) -> Result<()> {
        self.endpoints.socket.unsubscribe(prefix).await.map_err(engine_error)
    }

    /// Returns the events of all publishers, each split after its first frame. A message without
    /// frames yields an empty first frame.
    fn messages(&self) -> BoxStream<'static, (Bytes, Frames)> {
        let frames_max = self.frames_max;
        let split = move |mut message: Message| {
            let first = message.pop_front().unwrap_or_default();
            (first, frames_of(message, frames_max))
        };
        self.receiver.messages().map(split).boxed()
    }

    fn stop(&self) {
        self.receiver.stop();
    }

    /// Waits until each connected endpoint has a peer. That peer may not have received the
    /// subscriptions yet, see [`SyncMarker`](crate::wire::SyncMarker).
    ///
    /// An endpoint whose attempt to connect has failed counts as unreachable, and is not waited
    /// for.
    async fn ready(&self) {
        let socket = &self.endpoints.socket;
        self.endpoints.ready(|| connected_endpoints(socket.clone()).boxed()).await;
    }

    /// Returns the number of connections. One publisher with two endpoints counts twice.
    async fn publisher_count(&self) -> Result<usize> {
        Ok(self.endpoints.socket.connections().await.map_err(engine_error)?.len())
    }
}

/// Returns the endpoints that have a peer, or `None` if the socket is closed.
async fn connected_endpoints(socket: Socket) -> Option<Vec<String>> {
    let connections = socket.connections().await.ok()?;
    Some(connections.into_iter().map(|connection| connection.endpoint.to_string()).collect())
}
