//! ROUTER on the serving side: requests with their origin, and replies to it.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use polywire_core::Result;
use polywire_core::transport::Sending;
use rustc_hash::FxHashSet;
use tokio::sync::Semaphore;
use zeromq::{
    RouterRecvHalf, RouterSendHalf, RouterSocket, Socket, SocketEvent, SocketRecv, SocketSend,
};

use super::dealer::MonitorEvents;
use super::frames::{cannot_change, frames_of, message_of};
#[cfg(unix)]
use super::socket_file::{SocketFile, private_path};
use crate::endpoint::{Endpoint, EndpointChange};
use crate::engine::error::cannot_bind;
use crate::engine::{RequestOrigin, Router, SocketControl};
use crate::error::{caller_gone, closed, lock};
use crate::wire::Frames;

/// Keeps the set of connected peers in line with the events of a socket. The engine drops events
/// while 1,024 are unread.
async fn track_peers(mut events: impl MonitorEvents, peers: Arc<Mutex<FxHashSet<Bytes>>>) {
    while let Some(event) = events.next().await {
        match event {
            SocketEvent::Accepted(_, peer) => drop(lock(&peers).insert(peer.into())),
            SocketEvent::Disconnected(peer) => drop(lock(&peers).remove(&Bytes::from(peer))),
            _ => {}
        }
    }
}

/// Replies that wait for their peers in tasks of their own: 1,000. Each one beyond this number is
/// lost if its sender stops waiting.
const WAITING_MAX: usize = 1000;

/// A ROUTER socket of a server. Its halves are dropped when it is closed.
pub(in crate::engine) struct ZeromqRouter {
    /// The sending half, until the socket is closed. Clones send at the same time.
    sending: Mutex<Option<RouterSendHalf>>,
    /// One permit for each task that waits for a peer, whether its sender still waits or not.
    waiting: Arc<Semaphore>,
    /// The routing ids of the connected peers, as the monitor of the socket reports them.
    peers: Arc<Mutex<FxHashSet<Bytes>>>,
    /// A socket that holds the listeners only, until they are stopped. The halves of a split socket
    /// cannot stop theirs.
    listening: Mutex<Option<RouterSocket>>,
    /// The receiving half, until `requests` takes it.
    receiving: Mutex<Option<RouterRecvHalf>>,
    /// The files of `ipc` endpoints, until the socket is closed.
    #[cfg(unix)]
    files: Mutex<Vec<SocketFile>>,
}

impl ZeromqRouter {
    /// Binds all endpoints. Returns the socket, and the endpoints with their real ports.
    ///
    /// # Errors
    ///
    /// `Config` for an endpoint that cannot be bound.
    pub(in crate::engine) async fn bind(endpoints: &[Endpoint]) -> Result<(Self, Vec<String>)> {
        let mut socket = RouterSocket::new();
        let peers = Arc::<Mutex<_>>::default();
        // Ends with the socket, which holds the sender of the events.
        tokio::spawn(track_peers(socket.monitor(), peers.clone()));
        let mut bound = Vec::new();
        #[cfg(unix)]
        let mut files = Vec::new();
        for endpoint in endpoints {
            #[cfg(unix)]
            if let Endpoint::Ipc(path) = endpoint
                && let Some(private) = private_path(path)
            {
                let real = socket.bind(&Endpoint::Ipc(private.clone()).to_string()).await;
                real.map_err(|error| cannot_bind(endpoint, &error))?;
                let file = SocketFile::place(&private, path);
                files.push(file.map_err(|error| cannot_bind(endpoint, &error))?);
                bound.push(endpoint.to_string());
                continue;
            }
            let real = socket.bind(&endpoint.to_string()).await;
            bound.push(real.map_err(|error| cannot_bind(endpoint, &error))?.to_string());
        }
        let mut listening = RouterSocket::new();
        *listening.binds() = std::mem::take(socket.binds());
        let (sending, receiving) = socket.split();
        let router = Self {
            sending: Mutex::new(Some(sending)),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            peers,
            listening: Mutex::new(Some(listening)),
            receiving: Mutex::new(Some(receiving)),
            #[cfg(unix)]
            files: Mutex::new(files),
        };
        Ok((router, bound))
    }

    /// Removes the socket files. The future resolves when the ports are free.
    fn stop_listeners(&self) -> impl Future<Output = ()> + Send + use<> {
        #[cfg(unix)]
        lock(&self.files).clear();
        let listening = lock(&self.listening).take();
        async move {
            if let Some(mut listening) = listening {
                // An error means that a listener has ended already.
                listening.unbind_all().await;
            }
        }
    }
}

#[async_trait]
impl SocketControl for ZeromqRouter {
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        Err(cannot_change(change))
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        // Tasks of the engine send the queued messages. They cannot be awaited.
        drop(lock(&self.sending).take());
        drop(lock(&self.receiving).take());
        self.stop_listeners().boxed()
    }
}

impl Router for ZeromqRouter {
    /// Sends a message at once if the engine accepts it, and in a task of its own otherwise.
    fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_> {
        let Some(mut socket) = lock(&self.sending).clone() else {
            return Sending::ready(Err(closed()));
        };
        let mut message = message_of(frames);
        message.push_front(peer);
        let mut send = async move { socket.send(message).await.map_err(|_| caller_gone()) }.boxed();
        if let Some(sent) = (&mut send).now_or_never() {
            return Sending::ready(sent);
        }
        // Bounded, because a task goes on after its sender has stopped waiting.
        let Ok(permit) = self.waiting.clone().try_acquire_owned() else {
            return Sending::later(send);
        };
        // A task of its own, because a dropped send loses the message.
        let sending = tokio::spawn(async move {
            let _permit = permit;
            send.await
        });
        Sending::later(async { sending.await.unwrap_or_else(|_| Err(closed())) })
    }

    fn stop_listening(&self) -> BoxFuture<'_, ()> {
        self.stop_listeners().boxed()
    }

    fn peers(&self) -> BoxFuture<'_, Vec<Bytes>> {
        let peers = lock(&self.peers).iter().cloned().collect();
        std::future::ready(peers).boxed()
    }

    /// Returns the requests that arrive. An error of the engine concerns one peer, and is skipped.
    fn requests(&self) -> BoxStream<'static, (RequestOrigin, Frames)> {
        let Some(socket) = lock(&self.receiving).take() else { return stream::empty().boxed() };
        let requests = stream::unfold(socket, |mut socket| async {
            loop {
                // An error concerns one peer, which is gone.
                let Ok(mut message) = socket.recv().await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let frames = message.split_off(1);
                let address = message.get(0).cloned().unwrap_or_default();
                let origin = RequestOrigin { address, identity: None };
                return Some(((origin, frames_of(frames)), socket));
            }
        });
        requests.boxed()
    }
}
