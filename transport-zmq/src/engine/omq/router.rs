//! ROUTER.

use std::sync::Arc;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use omq_tokio::{Message, PeerAuthentication, PeerPublicKey, SocketType, TrySendError};
use polywire_core::transport::Sending;
use polywire_core::{Identity, Result};

use super::{Port, failed, frames_of, message_of, open, options, received};
use crate::config::Settings;
use crate::endpoint::EndpointChange;
use crate::engine::{Peer, Ports};
use crate::error::closed;
use crate::security::curve::PublicKey;
use crate::wire::Frames;

pub(in crate::engine) struct Router {
    port: Port,
    frames_max: usize,
}

impl Router {
    pub(in crate::engine) fn open(settings: &Settings) -> Result<Self> {
        let port = Port::new(open(settings, SocketType::Router, options(settings))?);
        Ok(Self { port, frames_max: settings.limits.frames_max })
    }
}

impl Ports for Router {
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        self.port.change(change).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.port.close()
    }
}

impl crate::engine::Router for Router {
    fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_> {
        let socket = &self.port.socket;
        match socket.try_send_to(&peer, message_of(frames)) {
            Ok(()) => Sending::ready(Ok(())),
            Err(TrySendError::Full(message)) => {
                Sending::later(async move { socket.send_to(peer, message).await.map_err(failed) })
            }
            Err(TrySendError::Closed) => Sending::ready(Err(closed())),
            Err(TrySendError::Error(error)) => Sending::ready(Err(failed(error))),
        }
    }

    fn requests(&self) -> BoxStream<'static, (Peer, Frames)> {
        let frames_max = self.frames_max;
        let mut last = Known::default();
        let identified = move |mut message: Message| {
            let request = message.pop_identity().map(|sender| {
                let info = sender.peer_info();
                let identity = last.identity(info.connection_id, &info.authentication);
                (Peer { address: sender.to_bytes(), identity }, frames_of(message, frames_max))
            });
            std::future::ready(request)
        };
        received(self.port.socket.clone()).filter_map(identified).boxed()
    }
}

/// Who was identified last, since writing down a key for each of its requests would cost more than
/// the rest.
#[derive(Default)]
struct Known(Option<(u64, Option<Arc<Identity>>)>);

impl Known {
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

fn identity_of(proved: &PeerAuthentication) -> Option<Identity> {
    match (&proved.public_key, &proved.username) {
        (Some(PeerPublicKey::Curve(key)), _) => {
            Some(Identity::Key(PublicKey::from_bytes(*key).to_string().into()))
        }
        (_, Some(user)) => Some(Identity::User(user.as_str().into())),
        _ => None,
    }
}
