//! ROUTER on the calling side: servers connect to it.
//!
//! A DEALER socket would send requests to its peers in turns, without reporting which of them has
//! which call. The loss of one connection would then have to fail the calls of all.
//!
//! The socket has no supervisor. The stream of [`ClientRouter::peers`] reports each change of the
//! connections, and the balancer adds and removes peers accordingly.

use std::sync::Arc;

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use omq_tokio::{ConnectionStatus, Message, Socket, SocketType};
use polywire_core::Result;

use super::frame_conversion::frames_of;
use super::options::{of_calls, open};
use super::receive::received_as;
use super::routed_peer::RoutedPeer;
use super::socket_endpoints::SocketEndpoints;
use crate::config::Settings;
use crate::engine::{ClientRouter, HasEndpoints, InboundPeer};
use crate::wire::Frames;

/// A ROUTER socket that servers connect to. Each connection becomes an [`InboundPeer`].
pub(in crate::engine) struct OmqClientRouter {
    /// The socket, and the endpoints that it binds.
    endpoints: SocketEndpoints,
    /// Frames that the body of a reply may have. The decoder rejects a body with more.
    frames_max: usize,
}

impl OmqClientRouter {
    /// Opens the socket. It has no endpoint yet.
    ///
    /// Each server has a queue of up to 1,000 messages in each direction.
    ///
    /// # Errors
    ///
    /// `Config` if the engine rejects an option.
    pub(in crate::engine) fn open(settings: &Settings) -> Result<Self> {
        let socket = open(settings, SocketType::Router, of_calls(settings))?;
        let endpoints = SocketEndpoints::new(socket);
        Ok(Self { endpoints, frames_max: settings.limits.frames_max })
    }
}

impl HasEndpoints for OmqClientRouter {
    type Endpoints = SocketEndpoints;

    fn endpoints(&self) -> &SocketEndpoints {
        &self.endpoints
    }
}

impl ClientRouter for OmqClientRouter {
    /// Returns the connected servers, now and after each change of the engine's connection counter.
    fn peers(&self) -> BoxStream<'static, Vec<InboundPeer>> {
        let state = (self.endpoints.socket.clone(), None);
        let peers = stream::unfold(state, |(socket, seen)| async move {
            let seen = match seen {
                // Read before the connections, so that no change in between is missed.
                None => socket.connections_generation(),
                Some(seen) => socket.connections_changed(seen).await.ok()?,
            };
            let connections = socket.connections().await.ok()?;
            let peers = connections
                .into_iter()
                .map(|connection| inbound_peer(&socket, connection))
                .collect();
            Some((peers, (socket, Some(seen))))
        });
        peers.boxed()
    }

    /// Returns the messages of all servers. Messages of one server keep their order.
    ///
    /// The engine puts the routing id of the sender in front of a message. A message without one is
    /// dropped.
    fn replies(&self) -> BoxStream<'static, (u64, Frames)> {
        let frames_max = self.frames_max;
        let socket = self.endpoints.socket.clone();
        received_as(socket, move |mut message: Message| {
            let sender = message.pop_identity()?;
            Some((sender.peer_info().connection_id, frames_of(message, frames_max)))
        })
    }
}

/// Creates the peer of a connection, named after its TCP address, or after the endpoint for `ipc`.
fn inbound_peer(socket: &Socket, status: ConnectionStatus) -> InboundPeer {
    let address = status.peer_info.and_then(|peer| peer.peer_address);
    let name =
        address.map_or_else(|| status.endpoint.to_string(), |address| format!("tcp://{address}"));
    let dealer = Arc::new(RoutedPeer::new(socket.clone(), status.identity));
    InboundPeer { connection: status.connection_id, name, dealer }
}
