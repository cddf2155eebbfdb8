//! ROUTER, as a caller has it whom servers dial: DEALER would not say which of them has which call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use omq_tokio::{ConnectionStatus, Message, Socket, SocketType, TrySendError};
use polywire_core::Result;
use tokio::time::sleep;

use super::{Port, frames_of, given_back, message_of, open, options, received};
use crate::config::Settings;
use crate::endpoint::EndpointChange;
use crate::engine::{Dealer, Guest, Ports};
use crate::wire::Frames;

pub(in crate::engine) struct Lobby {
    port: Port,
    frames_max: usize,
}

impl Lobby {
    pub(in crate::engine) fn open(settings: &Settings) -> Result<Self> {
        let port = Port::new(open(settings, SocketType::Router, options(settings))?);
        Ok(Self { port, frames_max: settings.limits.frames_max })
    }
}

impl Ports for Lobby {
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        self.port.change(change).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.port.close()
    }
}

impl crate::engine::Lobby for Lobby {
    fn guests(&self) -> BoxStream<'static, Vec<Guest>> {
        let looks = stream::unfold((self.port.socket.clone(), None), |(socket, seen)| async move {
            let seen = match seen {
                // Taken before the look, so that no change in between is missed.
                None => socket.connections_generation(),
                Some(seen) => socket.connections_changed(seen).await.ok()?,
            };
            let connections = socket.connections().await.ok()?;
            let guests =
                connections.into_iter().map(|connection| guest(&socket, connection)).collect();
            Some((guests, (socket, Some(seen))))
        });
        looks.boxed()
    }

    fn replies(&self) -> BoxStream<'static, (u64, Frames)> {
        let frames_max = self.frames_max;
        let replies = received(self.port.socket.clone()).filter_map(move |mut message: Message| {
            let reply = message
                .pop_identity()
                .map(|sender| (sender.peer_info().connection_id, frames_of(message, frames_max)));
            std::future::ready(reply)
        });
        replies.boxed()
    }
}

fn guest(socket: &Socket, status: ConnectionStatus) -> Guest {
    let address = status.peer_info.and_then(|peer| peer.peer_address);
    let name =
        address.map_or_else(|| status.endpoint.to_string(), |address| format!("tcp://{address}"));
    let seat =
        Seat { socket: socket.clone(), identity: status.identity, is_full: AtomicBool::new(false) };
    Guest { connection: status.connection_id, name, dealer: Arc::new(seat) }
}

/// How soon a guest that had no room is asked again while others have some.
const ROOM_PAUSE: Duration = Duration::from_millis(2);

/// The way to one guest.
struct Seat {
    socket: Socket,
    identity: Bytes,
    /// It had no room for the last message.
    is_full: AtomicBool,
}

impl Ports for Seat {
    fn change<'a>(&'a self, _: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        std::future::ready(Ok(None)).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        // The socket is the lobby's.
        std::future::ready(()).boxed()
    }
}

impl Dealer for Seat {
    fn try_send(&self, frames: Frames) -> Result<(), Frames> {
        let sent = self.socket.try_send_to(&self.identity, message_of(frames.clone()));
        self.is_full.store(matches!(sent, Err(TrySendError::Full(_))), Ordering::Relaxed);
        match sent {
            // Closed: the end knows, or will in a moment.
            Ok(()) | Err(TrySendError::Closed) => Ok(()),
            Err(TrySendError::Full(message)) => Err(given_back(message)),
            // The guest has left; its link is going.
            Err(_) => Err(frames),
        }
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        let room = async {
            // That any guest has room, the engine tells, and not who.
            self.socket.wait_send_ready().await;
            match self.is_full.load(Ordering::Relaxed) {
                // It may well be another one, who is not the one that is waited for.
                true => sleep(ROOM_PAUSE).await,
                // It may be one who has no link yet, who gets one in another task.
                false => tokio::task::yield_now().await,
            }
        };
        room.boxed()
    }

    fn tried(&self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }

    fn up(&self) -> BoxFuture<'_, Result<()>> {
        // The lobby tells who is there.
        std::future::pending().boxed()
    }

    fn down(&self) -> BoxFuture<'_, ()> {
        std::future::pending().boxed()
    }

    fn replies(&self) -> BoxStream<'static, Frames> {
        stream::empty().boxed()
    }
}
