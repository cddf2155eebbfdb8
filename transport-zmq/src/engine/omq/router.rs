//! ROUTER on the serving side: requests with their origin, and replies to it.
//!
//! The socket counts no bytes. `SendBudgetedRouter` wraps it and adds the byte budgets.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
#[cfg(feature = "curve")]
use omq_tokio::PeerPublicKey;
use omq_tokio::{Message, PeerAuthentication, SocketType, TrySendError};
use polywire_core::transport::Sending;
use polywire_core::{Identity, Result};

use super::engine_error::engine_error;
use super::frame_conversion::{frames_of, message_of};
use super::options::{of_calls, open};
use super::receive::received_as;
use super::socket_endpoints::SocketEndpoints;
use crate::common_errors::closed;
use crate::config::Settings;
use crate::engine::{HasEndpoints, RequestOrigin, Router};
#[cfg(feature = "curve")]
use crate::security::curve::PublicKey;
use crate::wire::Frames;

/// A ROUTER socket of a server. A reply to a peer that is gone fails, since the socket is opened
/// with `router_mandatory`.
///
/// The engine queues up to 1,000 replies for each peer. A routing id in use stays with its peer,
/// unless the newcomer has proved the same identity.
pub(in crate::engine) struct OmqRouter {
    /// The socket, and the endpoints that it binds or connects to.
    endpoints: SocketEndpoints,
    /// Frames that the body of a request may have. The decoder rejects a body with more.
    frames_max: usize,
}

impl OmqRouter {
    /// Opens the socket. It has no endpoint yet.
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

impl HasEndpoints for OmqRouter {
    type Endpoints = SocketEndpoints;

    fn endpoints(&self) -> &SocketEndpoints {
        &self.endpoints
    }
}

#[async_trait]
impl Router for OmqRouter {
    /// Sends a reply at once if the queue of the peer has room, and waits for room otherwise. A
    /// peer that disconnects ends the wait with `Unroutable`.
    ///
    /// Replies that wait for one peer may leave in another order. Dropping the returned value
    /// before it resolves drops a waiting reply.
    fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_> {
        let socket = &self.endpoints.socket;
        match socket.try_send_to(&peer, message_of(frames)) {
            Ok(()) => Sending::ready(Ok(())),
            Err(TrySendError::Full(message)) => {
                Sending::later(
                    async move { socket.send_to(peer, message).await.map_err(engine_error) },
                )
            }
            Err(TrySendError::Closed) => Sending::ready(Err(closed())),
            Err(TrySendError::Error(error)) => Sending::ready(Err(engine_error(error))),
        }
    }

    /// Unbinds all endpoints. Connections to endpoints of peers stay, and are made again after a
    /// loss.
    async fn stop_listening(&self) {
        self.endpoints.stop_listening().await;
    }

    async fn peers(&self) -> Vec<Bytes> {
        // An error means that the socket is closed.
        let connections = self.endpoints.socket.connections().await.unwrap_or_default();
        connections.into_iter().map(|connection| connection.identity).collect()
    }

    /// Returns the requests of all peers, each with its routing id and the identity of its
    /// connection.
    ///
    /// The identity is that of the handshake, so a message cannot change it. A message without a
    /// routing id is dropped.
    fn requests(&self) -> BoxStream<'static, (RequestOrigin, Frames)> {
        let frames_max = self.frames_max;
        let mut last = LastIdentity::default();
        let identified = move |mut message: Message| {
            let sender = message.pop_identity()?;
            let info = sender.peer_info();
            let identity = last.identity(info.connection_id, &info.authentication);
            let origin = RequestOrigin { address: sender.to_bytes(), identity };
            Some((origin, frames_of(message, frames_max)))
        };
        received_as(self.endpoints.socket.clone(), identified)
    }
}

/// The identity of the connection that sent the last request. Formatting a key for each request
/// would cost more than the rest of the work.
///
/// Owned by the stream of requests, so there is no lock. Requests of several peers in turn are
/// formatted each time.
#[derive(Default)]
struct LastIdentity(Option<(u64, Option<Arc<Identity>>)>);

impl LastIdentity {
    /// Returns the identity of a connection, formatted anew only if the connection differs from the
    /// last one.
    ///
    /// An entry is never stale: the number of a connection is not used twice, and its identity does
    /// not change.
    fn identity(&mut self, connection: u64, proved: &PeerAuthentication) -> Option<Arc<Identity>> {
        match &self.0 {
            Some((known, identity)) if *known == connection => identity.clone(),
            _ => {
                let identity = identity_of(proved).map(Arc::new);
                self.0 = Some((connection, identity.clone()));
                identity
            }
        }
    }
}

/// Returns the identity that a peer has proved in its handshake, if any.
fn identity_of(proved: &PeerAuthentication) -> Option<Identity> {
    match (&proved.public_key, &proved.username) {
        #[cfg(feature = "curve")]
        (Some(PeerPublicKey::Curve(key)), _) => {
            Some(Identity::Key(PublicKey::from_bytes(*key).to_string().into()))
        }
        (_, Some(user)) => Some(Identity::User(user.as_str().into())),
        _ => None,
    }
}
