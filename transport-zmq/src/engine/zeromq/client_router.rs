//! ROUTER on the calling side: servers connect to it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use polywire_core::Result;
use tokio::sync::mpsc;

use super::arrival_stream::{NoOwner, received};
use super::frame_conversion::{frames_of, message_of};
use super::link::{Arrival, Link};
use super::link_set::LinkSet;
use super::link_set_options::LinkSetOptions;
use super::linked_endpoints::LinkedEndpoints;
use super::router::push;
use super::socket_kind::SocketKind;
use crate::config::Settings;
use crate::endpoint::EndpointChange;
use crate::engine::{ClientRouter, Dealer, HasEndpoints, InboundPeer, SocketControl};
use crate::lock::lock;
use crate::wire::Frames;

/// A ROUTER socket that servers connect to. Each link becomes an [`InboundPeer`].
pub(in crate::engine) struct ZeromqClientRouter {
    /// The links, and the endpoints that the socket binds.
    endpoints: LinkedEndpoints,
    /// The messages that arrive, until `replies` takes them.
    arrivals: Mutex<Option<mpsc::Receiver<Arrival>>>,
    /// Frames that the body of a reply may have. The decoder rejects a body with more.
    frames_max: usize,
}

impl ZeromqClientRouter {
    /// Opens the socket. It has no endpoint yet.
    ///
    /// Each link queues up to 1,000 messages. At most 256 replies wait for the reader, those of all
    /// servers together.
    pub(in crate::engine) fn open(settings: &Settings) -> Self {
        let (set, arrivals) =
            LinkSet::new(settings, LinkSetOptions::of(SocketKind::Router), Arc::new(NoOwner));
        Self {
            endpoints: LinkedEndpoints::new(settings, set),
            arrivals: Mutex::new(arrivals),
            frames_max: settings.limits.frames_max,
        }
    }
}

impl HasEndpoints for ZeromqClientRouter {
    type Endpoints = LinkedEndpoints;

    fn endpoints(&self) -> &LinkedEndpoints {
        &self.endpoints
    }
}

impl ClientRouter for ZeromqClientRouter {
    /// Returns the open links, now and after each change. The stream holds the links, and ends when
    /// the socket is closed.
    fn peers(&self) -> BoxStream<'static, Vec<InboundPeer>> {
        let peer = |link: Arc<Link>| InboundPeer {
            connection: link.number,
            name: link.name.clone(),
            dealer: Arc::new(LinkedPeer(link)),
        };
        self.endpoints.set.states(move |set| set.links().into_iter().map(peer).collect())
    }

    /// Returns the messages of all links. A second call returns an empty stream.
    fn replies(&self) -> BoxStream<'static, (u64, Frames)> {
        let frames_max = self.frames_max;
        let Some(arrivals) = lock(&self.arrivals).take() else { return stream::empty().boxed() };
        let reply = move |(link, message): Arrival| (link.number, frames_of(message, frames_max));
        received(arrivals).map(reply).boxed()
    }
}

/// The route to one inbound peer.
struct LinkedPeer(Arc<Link>);

#[async_trait]
impl SocketControl for LinkedPeer {
    /// Changes nothing: the client router has the endpoints.
    async fn change(&self, _: &EndpointChange) -> Result<Option<String>> {
        Ok(None)
    }

    /// Returns a future that is ready: the client router closes the socket.
    fn close(&self) -> BoxFuture<'static, ()> {
        // The client router closes the socket.
        std::future::ready(()).boxed()
    }
}

#[async_trait]
impl Dealer for LinkedPeer {
    /// Queues a message, or returns the frames if the outbox is full or has ended.
    ///
    /// The room is read first, so that a full outbox costs no clone. Another sender may take the
    /// room in between.
    fn try_send(&self, frames: Frames) -> Result<(), Frames> {
        if !self.0.outbox.has_room() {
            return Err(frames);
        }
        let mut message = Some(message_of(frames.clone()));
        if push(&self.0, &mut message) { Ok(()) } else { Err(frames) }
    }

    /// Waits until the outbox has room or has ended. In the second case each call yields once, so
    /// that its caller does not spin.
    fn room(&self) -> BoxFuture<'_, ()> {
        let room = async {
            self.0.outbox.room().await;
            if !self.0.outbox.has_room() {
                // The peer is gone, or another sender has taken the room.
                tokio::task::yield_now().await;
            }
        };
        room.boxed()
    }

    /// Returns at once: the peer is connected.
    async fn tried(&self) {}

    /// Never resolves: the client router reports which peers are connected.
    async fn up(&self) -> Result<()> {
        std::future::pending().await
    }

    /// Never resolves, see [`up`](Self::up).
    async fn down(&self) {
        std::future::pending::<()>().await;
    }

    /// Returns the reason of the link's end, once there is one. Repeated calls return the same
    /// text.
    fn reason(&self) -> Option<String> {
        lock(&self.0.reason).clone()
    }

    /// Returns an empty stream: the client router yields the replies of all peers.
    fn replies(&self) -> BoxStream<'static, Frames> {
        stream::empty().boxed()
    }
}
