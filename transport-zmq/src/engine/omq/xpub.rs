//! XPUB: events to all subscribers, their subscriptions and their sync markers.
//!
//! The engine matches subscriptions and sends each subscriber the events that match. This file adds
//! the byte budget, and reads sync markers from the monitor events.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use omq_tokio::{MonitorRecvError, Socket, SocketType, TrySendError};
use polywire_core::Result;
use polywire_core::transport::Sending;

use super::engine_error::engine_error;
use super::frame_conversion::message_under;
use super::options::{open, publishing};
use super::receive::received;
use super::received_marker_subscriptions::MarkerSubscriptions;
use super::socket_endpoints::SocketEndpoints;
use crate::common_errors::closed;
use crate::config::Settings;
use crate::engine::{ByteBudget, HasEndpoints, XPub};
use crate::wire::{Frames, SyncMarker};

/// An XPUB socket. A subscriber without room delays the publisher, and with it all other
/// subscribers: nothing is dropped.
pub(in crate::engine) struct OmqXPub {
    /// The socket, and the endpoints that it binds or connects to.
    endpoints: SocketEndpoints,
    /// Unsent bytes for all subscribers together. One budget is enough: subscribers share the
    /// memory of a message, which is released when the slowest of them has read it.
    budget: Arc<ByteBudget>,
}

impl OmqXPub {
    /// Opens the socket. It has no endpoint yet.
    ///
    /// # Errors
    ///
    /// `Config` if the engine rejects an option.
    pub(in crate::engine) fn open(settings: &Settings) -> Result<Self> {
        let mut options = publishing(settings);
        // Otherwise the engine silently drops messages that a slow subscriber has no room for.
        options.xpub_nodrop = true;
        let endpoints = SocketEndpoints::new(open(settings, SocketType::XPub, options)?);
        Ok(Self { endpoints, budget: ByteBudget::new(settings.peer_bytes_max) })
    }

    /// Counts and sends a message, at once if the engine has room for all subscribers.
    ///
    /// A message is counted before it is sent, and until the engine has dropped it. Dropping the
    /// returned value before it resolves drops a waiting message.
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
    type Endpoints = SocketEndpoints;

    fn endpoints(&self) -> &SocketEndpoints {
        &self.endpoints
    }
}

#[async_trait]
impl XPub for OmqXPub {
    /// Sends an event. A large one waits while the budget is used up, since the slowest subscriber
    /// has not read what was sent before.
    ///
    /// Waiting events may leave in another order. Each of those that wait for the budget may exceed
    /// it once.
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

    /// Returns the sync markers that subscribers subscribe to, as the events of the socket report
    /// them. Subscriptions that arrive as messages are dropped.
    ///
    /// After a gap in the events, each marker in effect is yielded once more. So a subscriber may
    /// get a second answer.
    fn sync_markers(&self) -> BoxStream<'static, (SyncMarker, u32)> {
        let socket = self.endpoints.socket.clone();
        let events = socket.monitor();
        let unread = received(socket.clone()).filter_map(|_| std::future::ready(None));
        let state = (socket, events, MarkerSubscriptions::default(), Vec::new());
        let markers = stream::unfold(state, |(socket, mut events, mut synced, mut again)| async {
            let marker = loop {
                if let Some(marker) = again.pop() {
                    break marker;
                }
                match events.recv().await {
                    Ok(event) => {
                        if let Some(marker) = synced.record(&event) {
                            break marker;
                        }
                    }
                    Err(MonitorRecvError::Closed) => return None,
                    // Events were missed, so that all markers are counted, and answered again.
                    Err(_) => {
                        let (exact, peers) = socket.monitor_with_subscriptions().await.ok()?;
                        (events, synced) = (exact, MarkerSubscriptions::count(&peers));
                        again = synced.markers().collect();
                    }
                }
            };
            Some((marker, (socket, events, synced, again)))
        });
        stream::select(unread, markers).boxed()
    }

    /// Returns the bound of the limiter, which holds once the socket has bound an endpoint.
    fn subscriptions_max(&self) -> Option<usize> {
        self.endpoints.subscriptions_max()
    }

    /// Waits until the subscriber at each connected endpoint has sent a sync marker, which follows
    /// its subscriptions.
    ///
    /// An endpoint whose attempt to connect has failed counts as unreachable, and is not waited
    /// for.
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

/// Returns the connections with a matching subscription. `None` if the socket is closed.
async fn subscribers(socket: &Socket, matches: impl Fn(&Bytes) -> bool) -> Option<Vec<u64>> {
    let (_, peers) = socket.monitor_with_subscriptions().await.ok()?;
    let matching = peers.into_iter().filter(|peer| peer.prefixes.iter().any(&matches));
    Some(matching.map(|peer| peer.peer.connection_id).collect())
}
