//! XPUB.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use omq_tokio::{Message, Socket, SocketType, TrySendError};
use polywire_core::Result;
use polywire_core::transport::Sending;

use super::{Port, failed, message_under, open, options, received};
use crate::config::Settings;
use crate::endpoint::EndpointChange;
use crate::engine::{Freight, Ports};
use crate::error::closed;
use crate::wire::{Frames, SyncMarker};

pub(in crate::engine) struct XPub {
    port: Port,
    /// What has not left for each subscriber who wants it: they share the memory.
    freight: Arc<Freight>,
}

impl XPub {
    pub(in crate::engine) fn open(settings: &Settings) -> Result<Self> {
        let mut options = options(settings);
        // Otherwise what a slow subscriber has no room for is dropped, and nobody is told.
        options.xpub_nodrop = true;
        let port = Port::new(open(settings, SocketType::XPub, options)?);
        Ok(Self { port, freight: Freight::new(settings.peer_bytes_max) })
    }

    /// Hands a message over, if the engine has room for it.
    fn send_counted(&self, first: Bytes, frames: Frames) -> Sending<'_> {
        let socket = &self.port.socket;
        match socket.try_send(message_under(first, self.freight.load(frames))) {
            Ok(()) => Sending::ready(Ok(())),
            Err(TrySendError::Full(message)) => {
                Sending::later(async move { socket.send(message).await.map_err(failed) })
            }
            Err(TrySendError::Closed) => Sending::ready(Err(closed())),
            Err(TrySendError::Error(error)) => Sending::ready(Err(failed(error))),
        }
    }
}

impl Ports for XPub {
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        self.port.change(change).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.port.close()
    }
}

impl crate::engine::XPub for XPub {
    fn send(&self, first: Bytes, frames: Frames) -> Sending<'_> {
        // As with replies, what is small does not wait for what is large.
        if !self.freight.is_full() || self.freight.is_light(&frames) {
            return self.send_counted(first, frames);
        }
        Sending::later(async move {
            self.freight.room().await;
            self.send_counted(first, frames).await
        })
    }

    fn sync_markers(&self) -> BoxStream<'static, (SyncMarker, u32)> {
        let socket = self.port.socket.clone();
        let hello = move |message: Message| {
            let socket = socket.clone();
            async move {
                let said = message.part_bytes(0)?;
                let (1, hello) = (*said.first()?, SyncMarker::read(&said.slice(1..))?) else {
                    return None;
                };
                heard(&socket, &hello).await.map(|connections| (hello, connections))
            }
        };
        received(self.port.socket.clone()).filter_map(hello).boxed()
    }

    fn settled(&self) -> BoxFuture<'_, ()> {
        let socket = self.port.socket.clone();
        async move { self.port.settled(|| heard_from(socket.clone()).boxed()).await }.boxed()
    }
}

/// The endpoints of those who have said hello, and with it all that they want. `None` if the socket
/// is closed.
async fn heard_from(socket: Socket) -> Option<Vec<String>> {
    let greeted = greeters(&socket, |prefix| SyncMarker::read(prefix).is_some()).await?;
    let connections = socket.connections().await.ok()?;
    let greeted = connections.into_iter().filter(|one| greeted.contains(&one.connection_id));
    Some(greeted.map(|one| one.endpoint.to_string()).collect())
}

/// Waits until a hello that was received has been taken in, which the engine does in another task;
/// and says from how many connections it came. `None` if who said it is gone.
async fn heard(socket: &Socket, hello: &SyncMarker) -> Option<u32> {
    for _ in 0..HEARD_TRIES {
        let count = greeters(socket, |prefix| prefix == hello.frame()).await?.len();
        if count > 0 {
            return u32::try_from(count).ok();
        }
        tokio::time::sleep(HEARD_PAUSE).await;
    }
    None
}

const HEARD_TRIES: u32 = 20;
const HEARD_PAUSE: Duration = Duration::from_millis(1);

/// The connections whose subscriptions hold such a one. `None` if the socket is closed.
async fn greeters(socket: &Socket, is_such: impl Fn(&Bytes) -> bool) -> Option<Vec<u64>> {
    let (_, peers) = socket.monitor_with_subscriptions().await.ok()?;
    let greeters = peers.into_iter().filter(|peer| peer.prefixes.iter().any(&is_such));
    Some(greeters.map(|peer| peer.peer.connection_id).collect())
}
