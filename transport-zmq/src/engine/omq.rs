//! The sockets of `omq-tokio`.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use omq_tokio::{Message, Options, ReconnectPolicy, Socket, SocketType, TrySendError};
use polywire_core::{Body, Error, ErrorKind, Result, Sending};

use super::cannot_bind;
use crate::config::{Plan, Settings};
use crate::endpoint::Endpoint;
use crate::error::{caller_gone, closed, config, lock};
use crate::wire::{Frames, Native, Wire};

pub(super) struct Dealer {
    socket: Socket,
    /// Whom to dial; the others dial us.
    dialled: Option<String>,
    /// The connection that was there at the end of `up`.
    connection: Mutex<Option<u64>>,
}

impl Dealer {
    pub(super) fn dial(settings: &Settings, endpoint: &Endpoint) -> Result<Self> {
        let socket = open(SocketType::Dealer, settings)?;
        Ok(Self { socket, dialled: Some(endpoint.to_string()), connection: Mutex::default() })
    }

    pub(super) async fn listen(settings: &Settings, endpoints: &[Endpoint]) -> Result<(Self, Vec<String>)> {
        let socket = open(SocketType::Dealer, settings)?;
        let bound = bind(&socket, endpoints).await?;
        Ok((Self { socket, dialled: None, connection: Mutex::default() }, bound))
    }

    /// Waits until the set of connections is as it should be.
    async fn connections(&self, is_so: impl Fn(&[u64]) -> bool + Send) -> Result<Vec<u64>, omq_tokio::Error> {
        let mut seen = self.socket.connections_generation();
        loop {
            let connections = self.socket.connections().await?;
            let ids: Vec<_> = connections.iter().map(|connection| connection.connection_id).collect();
            if is_so(&ids) {
                return Ok(ids);
            }
            seen = self.socket.connections_changed(seen).await?;
        }
    }
}

impl super::Dealer for Dealer {
    fn try_send(&self, frames: Frames) -> Result<(), Frames> {
        match self.socket.try_send(message_of(frames)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(message)) => Err(frames_of(message)),
            // Closed. The end knows, or will in a moment.
            Err(_) => Ok(()),
        }
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        self.socket.wait_send_ready().boxed()
    }

    fn up(&self) -> BoxFuture<'_, Result<()>> {
        let up = async {
            if let Some(endpoint) = &self.dialled {
                self.socket.connect(endpoint.as_str()).await?;
            }
            let connections = self.connections(|connections| !connections.is_empty()).await?;
            *lock(&self.connection) = connections.first().copied();
            Ok(())
        };
        up.map(|up: Result<_, omq_tokio::Error>| up.map_err(failed)).boxed()
    }

    fn down(&self) -> BoxFuture<'_, ()> {
        let connection = *lock(&self.connection);
        let down = async move {
            let Some(endpoint) = &self.dialled else {
                // An error says that the socket is closed: `up` will say so, too.
                let _ = self.connections(<[u64]>::is_empty).await;
                return;
            };
            // A connection that was lost and made again in one moment is another one.
            let _ = self.connections(|connections| connections.first() != connection.as_ref()).await;
            // What is queued for the lost peer must not reach its successor: its callers are told that it is lost.
            let _ = self.socket.disconnect(endpoint.as_str()).await;
        };
        down.boxed()
    }

    fn replies(&self) -> BoxStream<'static, Frames> {
        received(self.socket.clone()).map(frames_of).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        close(self.socket.clone())
    }
}

pub(super) struct Router {
    socket: Socket,
}

impl Router {
    pub(super) async fn open(settings: &Settings, plan: &Plan) -> Result<(Self, Vec<String>)> {
        let socket = open(SocketType::Router, settings)?;
        let bound = bind(&socket, &plan.bind).await?;
        for endpoint in &plan.connect {
            socket.connect(endpoint.to_string()).await.map_err(failed)?;
        }
        Ok((Self { socket }, bound))
    }
}

impl super::Router for Router {
    fn send(&self, peer: Bytes, frames: Frames) -> Sending<'_> {
        match self.socket.try_send_to(&peer, message_of(frames)) {
            Ok(()) => Sending::ready(Ok(())),
            Err(TrySendError::Full(message)) => {
                Sending::later(async move { self.socket.send_to(peer, message).await.map_err(failed) })
            }
            Err(TrySendError::Closed) => Sending::ready(Err(closed())),
            Err(TrySendError::Error(error)) => Sending::ready(Err(failed(error))),
        }
    }

    fn requests(&self) -> BoxStream<'static, (Bytes, Frames)> {
        let identified = |mut message: Message| async move {
            let identity = message.pop_identity()?;
            Some((identity.to_bytes(), frames_of(message)))
        };
        received(self.socket.clone()).filter_map(identified).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        close(self.socket.clone())
    }
}

fn open(kind: SocketType, settings: &Settings) -> Result<Socket> {
    Socket::try_new(kind, options(settings)).map_err(failed)
}

/// Everything that matters is said, since the engine's defaults drop what is unsent, take messages of any size, and
/// lose replies to a full peer in silence.
fn options(settings: &Settings) -> Options {
    let limits = &settings.limits;
    let parts = limits.frames_max + 2;
    let message_max = limits.body_max + Native.head_max(limits) + IDENTITY_MAX + parts * PART_COST;
    Options::default()
        .router_mandatory(true)
        .linger(settings.linger)
        .max_message_size(message_max)
        .send_hwm(HIGH_WATER_MARK)
        .recv_hwm(HIGH_WATER_MARK)
        .handshake_timeout(settings.connect_timeout)
        .heartbeat_interval(settings.heartbeat)
        .heartbeat_timeout(settings.heartbeat)
        // Heartbeats cannot tell while our own writes are stuck; the kernel can.
        .tcp_user_timeout(settings.heartbeat * 6)
        .reconnect(ReconnectPolicy::Exponential { min: RETRY_MIN, max: RETRY_MAX })
}

/// Messages that wait for one peer, and as many from it. The default of the engine, and of libzmq.
const HIGH_WATER_MARK: u32 = 1000;
/// What the engine counts for each part of a message, beside its bytes.
const PART_COST: usize = 64;
const IDENTITY_MAX: usize = 255;
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

async fn bind(socket: &Socket, endpoints: &[Endpoint]) -> Result<Vec<String>> {
    let mut bound = Vec::new();
    for endpoint in endpoints {
        let real = socket.bind(endpoint.to_string()).await;
        bound.push(real.map_err(|error| cannot_bind(endpoint, error))?.to_string());
    }
    Ok(bound)
}

/// What a socket receives until it is closed, taken in by batches.
fn received(socket: Socket) -> impl futures_core::Stream<Item = Message> + Send {
    stream::unfold((socket, Vec::new()), |(socket, mut batch)| async move {
        if batch.is_empty() {
            // So that a peer that never pauses does not keep other tasks from running.
            tokio::task::coop::consume_budget().await;
            socket.recv_many_into(BATCH, &mut batch).await.ok()?;
            batch.reverse();
        }
        batch.pop().map(|message| (message, (socket, batch)))
    })
}

const BATCH: usize = 256;

fn close(socket: Socket) -> BoxFuture<'static, ()> {
    // It fails only if it is closed already.
    async move { socket.close().await.unwrap_or_default() }.boxed()
}

fn message_of(Frames { head, body }: Frames) -> Message {
    match body {
        None => Message::single(head),
        Some(body) if body.as_slice().is_some() => Message::multipart([head, body.into_bytes()]),
        Some(body) => Message::multipart(std::iter::once(head).chain(body.frames().cloned())),
    }
}

fn frames_of(mut message: Message) -> Frames {
    let head = message.pop_front().unwrap_or_default();
    if message.is_empty() {
        return Frames { head, body: None };
    }
    Frames { head, body: Some(Body::from_frames(std::iter::from_fn(|| message.pop_front()))) }
}

fn failed(error: omq_tokio::Error) -> Error {
    match error {
        omq_tokio::Error::Closed => closed(),
        omq_tokio::Error::Unroutable => caller_gone(),
        omq_tokio::Error::Config(because) => config("the engine refuses an option").with("because", because),
        other => Error::new(ErrorKind::Disconnected, "the socket failed").with_source(other),
    }
}
