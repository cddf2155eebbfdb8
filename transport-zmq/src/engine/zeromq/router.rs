//! ROUTER on the serving side: requests with their origin, and replies to it.
//!
//! The crate has no security, so no request has an identity. `SendBudgetedRouter` wraps the socket
//! and adds the byte budgets.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use polywire_core::Error;
use polywire_core::transport::Sending;
use tokio::sync::mpsc;
use zeromq::ZmqMessage;

use super::arrival_stream::{NoOwner, received};
use super::frame_conversion::{frames_of, message_of};
use super::link::{Arrival, Link};
use super::link_set::LinkSet;
use super::link_set_options::LinkSetOptions;
use super::linked_endpoints::LinkedEndpoints;
use super::socket_kind::SocketKind;
use crate::common_errors::{caller_gone, closed};
use crate::config::Settings;
use crate::engine::{HasEndpoints, RequestOrigin, Router};
use crate::lock::lock;
use crate::wire::Frames;

/// A ROUTER socket of a server. The routing id of a peer is the number of its link.
///
/// So two peers never share one, even if both announce the same id. A peer that reconnects has
/// another routing id.
pub(in crate::engine) struct ZeromqRouter {
    /// The links, and the endpoints that the socket binds or connects to.
    endpoints: LinkedEndpoints,
    /// The messages that arrive, until `requests` takes them.
    arrivals: Mutex<Option<mpsc::Receiver<Arrival>>>,
    /// Frames that the body of a request may have. The decoder rejects a body with more.
    frames_max: usize,
}

impl ZeromqRouter {
    /// Opens the socket. It has no endpoint yet.
    ///
    /// Each link queues up to 1,000 replies. At most 256 requests wait for the reader, those of all
    /// peers together.
    pub(in crate::engine) fn open(settings: &Settings) -> Self {
        let (set, arrivals) =
            LinkSet::new(settings, LinkSetOptions::of(SocketKind::Router), Arc::new(NoOwner));
        Self {
            endpoints: LinkedEndpoints::new(settings, set),
            arrivals: Mutex::new(arrivals),
            frames_max: settings.limits.frames_max,
        }
    }

    /// Returns the open link of a routing id. `None` for a peer that is gone, and for an id of
    /// another length than 8 bytes.
    fn link(&self, peer: &[u8]) -> Option<Arc<Link>> {
        self.endpoints.set.link(u64::from_be_bytes(peer.try_into().ok()?))
    }

    /// Returns the error of a reply whose peer takes no more messages.
    fn unsendable(&self) -> Error {
        if self.endpoints.set.is_closed() { closed() } else { caller_gone() }
    }
}

/// Returns the routing id of the peer of a link.
fn address_of(link: &Link) -> Bytes {
    Bytes::copy_from_slice(&link.number.to_be_bytes())
}

impl HasEndpoints for ZeromqRouter {
    type Endpoints = LinkedEndpoints;

    fn endpoints(&self) -> &LinkedEndpoints {
        &self.endpoints
    }
}

#[async_trait]
impl Router for ZeromqRouter {
    /// Queues a reply at once if the link has room, and waits for room otherwise.
    ///
    /// Dropping the returned value before it resolves drops a waiting reply. Replies that wait for
    /// one peer may leave in another order.
    fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_> {
        let Some(link) = self.link(&peer) else {
            return Sending::ready(Err(self.unsendable()));
        };
        let mut message = Some(message_of(frames));
        if push(&link, &mut message) {
            return Sending::ready(Ok(()));
        }
        Sending::later(async move {
            while !push(&link, &mut message) {
                link.outbox.room().await;
                // A close ends the outbox while the link is still open.
                if link.outbox.has_ended() {
                    return Err(self.unsendable());
                }
                tokio::task::coop::consume_budget().await;
            }
            Ok(())
        })
    }

    /// Unbinds all endpoints. The open links stay.
    async fn stop_listening(&self) {
        self.endpoints.stop_listening().await;
    }

    async fn peers(&self) -> Vec<Bytes> {
        self.endpoints.set.links().iter().map(|link| address_of(link)).collect()
    }

    /// Returns the requests of all peers. Requests of one peer keep their order. A second call
    /// returns an empty stream.
    fn requests(&self) -> BoxStream<'static, (RequestOrigin, Frames)> {
        let frames_max = self.frames_max;
        let Some(arrivals) = lock(&self.arrivals).take() else { return stream::empty().boxed() };
        let request = move |(link, message): Arrival| {
            let origin = RequestOrigin { address: address_of(&link), identity: None };
            (origin, frames_of(message, frames_max))
        };
        received(arrivals).map(request).boxed()
    }
}

/// Queues a message if there is room.
///
/// Takes the message out of `message` only then. Returns `false` for a full or ended outbox.
pub(super) fn push(link: &Link, message: &mut Option<ZmqMessage>) -> bool {
    link.outbox.try_push(|| message.take().unwrap_or_else(|| ZmqMessage::from("")))
}
