//! XPUB: events to all subscribers, their subscriptions and their sync markers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use omq_tokio::{Message, Socket, SocketType, TrySendError};
use polywire_core::Result;
use polywire_core::transport::Sending;

use super::endpoints::{HasEndpoints, SocketEndpoints};
use super::error::engine_error;
use super::frames::message_under;
use super::options::{open, options};
use super::receive::received;
use crate::config::Settings;
use crate::engine::{ByteBudget, XPub};
use crate::error::closed;
use crate::wire::{Frames, SyncMarker};

/// An XPUB socket. A subscriber without room delays the publisher, and with it all other
/// subscribers: nothing is dropped.
pub(in crate::engine) struct OmqXPub {
    endpoints: SocketEndpoints,
    /// Unsent bytes for all subscribers together. One budget is enough: subscribers share the
    /// memory of a message, which is released when the slowest of them has read it.
    budget: Arc<ByteBudget>,
}

impl OmqXPub {
    /// Opens the socket. It has no endpoint yet.
    pub(in crate::engine) fn open(settings: &Settings) -> Result<Self> {
        let mut options = options(settings);
        // Otherwise the engine silently drops messages that a slow subscriber has no room for.
        options.xpub_nodrop = true;
        let endpoints = SocketEndpoints::new(open(settings, SocketType::XPub, options)?);
        Ok(Self { endpoints, budget: ByteBudget::new(settings.peer_bytes_max) })
    }

    /// Counts and sends a message, at once if the engine has room for all subscribers.
    fn send_counted(&self, first: Bytes, frames: Frames) -> Sending<'_> {
        let socket = &self.endpoints.socket;
        match socket.try_send(message_under(first, self.budget.count(frames))) {
            Ok(()) => Sending::ready(Ok(())),
            Err(TrySendError::Full(message)) => {
                Sending::later(async move { socket.send(message).await.map_err(engine_error) })
            }
            Err(TrySendError::Closed) => Sending::ready(Err(closed())),
            Err(TrySendError::Error(error)) => Sending::ready(Err(engine_error(error))),
        }
    }
}

impl HasEndpoints for OmqXPub {
    fn endpoints(&self) -> &SocketEndpoints {
        &self.endpoints
    }
}

#[async_trait]
impl XPub for OmqXPub {
    /// Sends an event. A large one waits while the budget is used up, since the slowest subscriber
    /// has not read what was sent before.
    fn send(&self, first: Bytes, frames: Frames) -> Sending<'_> {
        // As with replies, small messages do not wait for large ones.
        if !self.budget.is_exhausted() || self.budget.is_small(&frames) {
            return self.send_counted(first, frames);
        }
        Sending::later(async move {
            self.budget.available().await;
            self.send_counted(first, frames).await
        })
    }

    /// Returns the sync markers among the received subscriptions. The engine yields a subscription
    /// as a message of one frame: a byte 1, and the prefix.
    fn sync_markers(&self) -> BoxStream<'static, (SyncMarker, u32)> {
        let socket = self.endpoints.socket.clone();
        let sync_marker = move |message: Message| {
            let socket = socket.clone();
            async move {
                let subscription = message.part_bytes(0)?;
                // A peer may send an empty frame, which has no first byte and cannot be sliced.
                let 1 = *subscription.first()? else { return None };
                let marker = SyncMarker::read(&subscription.slice(1..))?;
                let connections = connections_with_marker(&socket, &marker).await?;
                Some((marker, connections))
            }
        };
        received(self.endpoints.socket.clone()).filter_map(sync_marker).boxed()
    }

    /// Waits until the subscriber at each connected endpoint has sent a sync marker, which follows
    /// its subscriptions.
    async fn ready(&self) {
        let socket = &self.endpoints.socket;
        self.endpoints.ready(|| synced_endpoints(socket.clone()).boxed()).await;
    }
}

/// Returns the endpoints whose peers have sent a sync marker, and with it all their
/// subscriptions. `None` if the socket is closed.
async fn synced_endpoints(socket: Socket) -> Option<Vec<String>> {
    let synced = subscribers(&socket, |prefix| SyncMarker::read(prefix).is_some()).await?;
    let connections = socket.connections().await.ok()?;
    let synced = connections.into_iter().filter(|one| synced.contains(&one.connection_id));
    Some(synced.map(|one| one.endpoint.to_string()).collect())
}

/// Waits until a received sync marker is in effect, and returns the number of connections that it
/// came on. `None` if its subscriber is gone.
///
/// The engine adds subscriptions in another task than the one that yields their messages.
async fn connections_with_marker(socket: &Socket, marker: &SyncMarker) -> Option<u32> {
    for _ in 0..EFFECT_ATTEMPTS {
        let count = subscribers(socket, |prefix| prefix == marker.frame()).await?.len();
        if count > 0 {
            return u32::try_from(count).ok();
        }
        tokio::time::sleep(EFFECT_PAUSE).await;
    }
    None
}

/// Checks whether a marker is in effect: 20, with 1 ms in between.
const EFFECT_ATTEMPTS: u32 = 20;
/// Pause between two of these checks.
const EFFECT_PAUSE: Duration = Duration::from_millis(1);

/// Returns the connections with a matching subscription. `None` if the socket is closed.
async fn subscribers(socket: &Socket, matches: impl Fn(&Bytes) -> bool) -> Option<Vec<u64>> {
    let (_, peers) = socket.monitor_with_subscriptions().await.ok()?;
    let matching = peers.into_iter().filter(|peer| peer.prefixes.iter().any(&matches));
    Some(matching.map(|peer| peer.peer.connection_id).collect())
}
