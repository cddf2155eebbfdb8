//! The sockets of `zeromq`, with what the crate lacks: a new socket for each connection, since it
//! makes none again, and a task that owns the sending half, since a send must not be dropped.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use polywire_core::transport::Sending;
use polywire_core::{Body, Result};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use zeromq::{
    DealerRecvHalf, DealerSendHalf, DealerSocket, RouterRecvHalf, RouterSendHalf, RouterSocket,
    Socket, SocketEvent, SocketOptions, SocketRecv, SocketSend, ZmqMessage,
};

use super::{Peer, Ports, cannot_bind, unsupported};
use crate::config::Settings;
use crate::endpoint::{Endpoint, EndpointChange};
use crate::error::{caller_gone, closed, lock};
use crate::wire::Frames;

pub(super) struct Dealer {
    endpoint: String,
    connect_timeout: Duration,
    linger: Duration,
    connection: Mutex<Option<Connection>>,
    arrivals: mpsc::Sender<Frames>,
    arrived: Mutex<Option<mpsc::Receiver<Frames>>>,
    closed: watch::Sender<bool>,
    /// Whether an attempt to dial has been in vain.
    tried: watch::Sender<bool>,
}

/// One socket, which lives as long as its connection.
struct Connection {
    outgoing: mpsc::Sender<Frames>,
    writer: JoinHandle<()>,
    lost: Option<oneshot::Receiver<()>>,
}

impl Dealer {
    pub(super) fn dial(settings: &Settings, endpoint: &Endpoint) -> Self {
        let (arrivals, arrived) = mpsc::channel(QUEUE);
        Self {
            endpoint: endpoint.to_string(),
            connect_timeout: settings.connect_timeout,
            linger: settings.linger,
            connection: Mutex::default(),
            arrivals,
            arrived: Mutex::new(Some(arrived)),
            closed: watch::Sender::new(false),
            tried: watch::Sender::new(false),
        }
    }

    async fn connect(&self) {
        loop {
            let mut options = SocketOptions::default();
            options.connect_timeout(self.connect_timeout);
            let mut socket = DealerSocket::with_options(options);
            let events = socket.monitor();
            match socket.connect(&self.endpoint).await {
                // That it is there is known when `up` has returned.
                Ok(()) => return self.start(socket, events),
                Err(error) => {
                    tracing::debug!(endpoint = self.endpoint, %error, "cannot connect yet")
                }
            }
            self.tried.send_replace(true);
            sleep(RETRY).await;
        }
    }

    fn start(&self, socket: DealerSocket, events: impl Events) {
        let (sending, receiving) = socket.split();
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let (tell, lost) = oneshot::channel();
        tokio::spawn(read(receiving, self.arrivals.clone(), events, tell));
        let writer = tokio::spawn(write(sending, queue));
        *lock(&self.connection) = Some(Connection { outgoing, writer, lost: Some(lost) });
    }
}

/// Messages between an end and its socket's tasks. The socket itself holds more.
const QUEUE: usize = 256;
const RETRY: Duration = Duration::from_millis(100);

trait Events: stream::Stream<Item = SocketEvent> + Unpin + Send + 'static {}

impl<S: stream::Stream<Item = SocketEvent> + Unpin + Send + 'static> Events for S {}

/// Owns the sending half, so that no send is dropped halfway. Ends when the end lets go of the
/// queue, or the connection is lost.
async fn write(mut socket: DealerSendHalf, mut queue: mpsc::Receiver<Frames>) {
    while let Some(frames) = queue.recv().await {
        if socket.send(message_of(frames)).await.is_err() {
            return;
        }
    }
}

/// Keeps the socket polled, since it notices only then that a connection was lost. Ends, and tells
/// by dropping `_lost`, when it was, or nobody takes what arrives.
async fn read(
    mut socket: DealerRecvHalf,
    arrivals: mpsc::Sender<Frames>,
    mut events: impl Events,
    _lost: oneshot::Sender<()>,
) {
    loop {
        tokio::select! {
            biased;
            received = socket.recv() => {
                let Ok(message) = received else { return };
                if arrivals.send(frames_of(message)).await.is_err() {
                    return;
                }
            }
            event = events.next() => if let None | Some(SocketEvent::Disconnected(_)) = event { return },
            () = arrivals.closed() => return,
        }
    }
}

impl Ports for Dealer {
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        fixed(change)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.closed.send_replace(true);
        let (connection, linger) = (lock(&self.connection).take(), self.linger);
        let close = async move {
            if let Some(Connection { outgoing, writer, .. }) = connection {
                drop(outgoing);
                // What is queued goes out, if there is time.
                let _ = timeout(linger, writer).await;
            }
        };
        close.boxed()
    }
}

impl super::Dealer for Dealer {
    fn try_send(&self, frames: Frames) -> Result<(), Frames> {
        match &*lock(&self.connection) {
            Some(connection) => {
                connection.outgoing.try_send(frames).map_err(mpsc::error::TrySendError::into_inner)
            }
            None => Err(frames),
        }
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        let outgoing =
            lock(&self.connection).as_ref().map(|connection| connection.outgoing.clone());
        let room = async move {
            if let Some(outgoing) = outgoing
                && outgoing.reserve().await.is_ok()
            {
                return;
            }
            // The connection is lost, which the end is told in another way.
            std::future::pending::<()>().await;
        };
        room.boxed()
    }

    fn tried(&self) -> BoxFuture<'_, ()> {
        let mut tried = self.tried.subscribe();
        // The sender lives as long as the borrow.
        async move { drop(tried.wait_for(|tried| *tried).await) }.boxed()
    }

    fn up(&self) -> BoxFuture<'_, Result<()>> {
        let up = async {
            let mut closing = self.closed.subscribe();
            tokio::select! {
                () = self.connect() => Ok(()),
                _ = closing.wait_for(|closed| *closed) => Err(closed()),
            }
        };
        up.boxed()
    }

    fn down(&self) -> BoxFuture<'_, ()> {
        let lost = lock(&self.connection).as_mut().and_then(|connection| connection.lost.take());
        let down = async {
            if let Some(lost) = lost {
                // It is never told, only dropped.
                let _ = lost.await;
            }
            if let Some(connection) = lock(&self.connection).take() {
                connection.writer.abort();
            }
        };
        down.boxed()
    }

    fn replies(&self) -> BoxStream<'static, Frames> {
        match lock(&self.arrived).take() {
            Some(arrived) => stream::unfold(arrived, |mut arrived| async {
                arrived.recv().await.map(|frames| (frames, arrived))
            })
            .boxed(),
            None => stream::empty().boxed(),
        }
    }
}

/// Replies that go on waiting for their peers when nobody waits for them. What is beyond is lost
/// then.
const STUCK_MAX: usize = 1000;

pub(super) struct Router {
    sending: Mutex<Option<RouterSendHalf>>,
    /// A permit for each task that may wait for a peer, perhaps for nobody any more.
    stuck: Arc<Semaphore>,
    receiving: Mutex<Option<RouterRecvHalf>>,
}

impl Router {
    pub(super) async fn bind(endpoints: &[Endpoint]) -> Result<(Self, Vec<String>)> {
        let mut socket = RouterSocket::new();
        let mut bound = Vec::new();
        for endpoint in endpoints {
            let real = socket.bind(&endpoint.to_string()).await;
            bound.push(real.map_err(|error| cannot_bind(endpoint, error))?.to_string());
        }
        let (sending, receiving) = socket.split();
        let (sending, receiving) = (Mutex::new(Some(sending)), Mutex::new(Some(receiving)));
        Ok((Self { sending, stuck: Arc::new(Semaphore::new(STUCK_MAX)), receiving }, bound))
    }
}

impl Ports for Router {
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        fixed(change)
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        // What was handed over is written by the engine's own tasks, which cannot be awaited.
        drop(lock(&self.sending).take());
        drop(lock(&self.receiving).take());
        std::future::ready(()).boxed()
    }
}

impl super::Router for Router {
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
        // What peers do not take piles up, once nobody waits for it.
        let Ok(permit) = self.stuck.clone().try_acquire_owned() else {
            return Sending::later(send);
        };
        // In a task of its own, because dropping a send halfway loses the message.
        let sending = tokio::spawn(async move {
            let _permit = permit;
            send.await
        });
        Sending::later(async { sending.await.unwrap_or_else(|_| Err(closed())) })
    }

    fn requests(&self) -> BoxStream<'static, (Peer, Frames)> {
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
                return Some(((Peer { address, identity: None }, frames_of(frames)), socket));
            }
        });
        requests.boxed()
    }
}

/// A socket that was split takes no other endpoints.
fn fixed(change: &EndpointChange) -> BoxFuture<'static, Result<Option<String>>> {
    let error = unsupported("this engine cannot change the endpoints of an open end");
    std::future::ready(Err(error.with("endpoint", &change.endpoint))).boxed()
}

fn message_of(Frames { head, body }: Frames) -> ZmqMessage {
    let mut message = ZmqMessage::from(head);
    for frame in body.iter().flat_map(Body::frames) {
        message.push_back(frame.clone());
    }
    message
}

fn frames_of(message: ZmqMessage) -> Frames {
    let mut frames = message.into_vecdeque().into_iter();
    let head = frames.next().unwrap_or_default();
    Frames { head, body: (frames.len() > 0).then(|| Body::from_frames(frames)) }
}
