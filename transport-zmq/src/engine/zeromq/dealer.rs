//! DEALER, with one socket of the crate for each connection.

use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use polywire_core::Result;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use zeromq::{
    DealerRecvHalf, DealerSendHalf, DealerSocket, Socket, SocketEvent, SocketOptions, SocketRecv,
    SocketSend,
};

use super::frames::{cannot_change, frames_of, message_of};
use crate::config::Settings;
use crate::endpoint::{Endpoint, EndpointChange};
use crate::engine::endpoint_failure::connect_cause;
use crate::engine::{Dealer, SocketControl};
use crate::error::{closed, lock};
use crate::wire::Frames;

/// A DEALER socket that reconnects. Each connection has a socket of the crate and two tasks, one
/// that writes and one that reads.
pub(in crate::engine) struct ZeromqDealer {
    /// The endpoint to connect to.
    endpoint: Endpoint,
    /// The failure of the latest attempt to connect.
    failure: Mutex<Option<String>>,
    /// The time for one attempt.
    connect_timeout: Duration,
    /// The time for unsent messages after a close.
    linger: Duration,
    /// The current connection, if there is one.
    connection: Mutex<Option<Connection>>,
    /// Sender of received messages, cloned into each reading task.
    received: mpsc::Sender<Frames>,
    /// Receiver of these messages, until [`replies`](Dealer::replies) takes it.
    replies: Mutex<Option<mpsc::Receiver<Frames>>>,
    /// Set when the dealer is closed, which ends [`up`](Dealer::up).
    closed: watch::Sender<bool>,
    /// Set after an attempt to connect has failed.
    tried: watch::Sender<bool>,
}

/// A socket of the crate, which lives as long as its connection.
struct Connection {
    /// Sender of messages to the writing task.
    unsent: mpsc::Sender<Frames>,
    /// The task that writes.
    writer: JoinHandle<()>,
    /// Resolves when the reading task ends.
    lost: Option<oneshot::Receiver<()>>,
}

impl ZeromqDealer {
    /// Creates a dealer for one endpoint. `up` connects it.
    pub(in crate::engine) fn connect(settings: &Settings, endpoint: &Endpoint) -> Self {
        let (received, replies) = mpsc::channel(QUEUE_MAX);
        Self {
            endpoint: endpoint.clone(),
            failure: Mutex::default(),
            connect_timeout: settings.connect_timeout,
            linger: settings.linger,
            connection: Mutex::default(),
            received,
            replies: Mutex::new(Some(replies)),
            closed: watch::Sender::new(false),
            tried: watch::Sender::new(false),
        }
    }

    /// Connects every 100 ms until the peer accepts.
    async fn connect_until_accepted(&self) {
        let endpoint = self.endpoint.to_string();
        loop {
            let mut options = SocketOptions::default();
            options.connect_timeout(self.connect_timeout);
            let mut socket = DealerSocket::with_options(options);
            let events = socket.monitor();
            match socket.connect(&endpoint).await {
                // The return of `up` reports the success.
                Ok(()) => {
                    *lock(&self.failure) = None;
                    return self.start(socket, events);
                }
                Err(error) => {
                    tracing::debug!(endpoint, %error, "cannot connect");
                    *lock(&self.failure) = Some(connect_cause(&self.endpoint, &error));
                }
            }
            self.tried.send_replace(true);
            sleep(RECONNECT_PAUSE).await;
        }
    }

    /// Starts the tasks of a new connection.
    fn start(&self, socket: DealerSocket, events: impl MonitorEvents) {
        let (sending, receiving) = socket.split();
        let (unsent, queue) = mpsc::channel(QUEUE_MAX);
        let (reader_alive, lost) = oneshot::channel();
        tokio::spawn(read(receiving, self.received.clone(), events, reader_alive));
        let writer = tokio::spawn(write(sending, queue));
        *lock(&self.connection) = Some(Connection { unsent, writer, lost: Some(lost) });
    }
}

/// Messages queued in each direction between the dealer and the tasks of its socket. The socket
/// itself queues more.
const QUEUE_MAX: usize = 256;
/// Pause between two attempts to connect: 100 ms.
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);

/// The monitor events of a socket, whose type the crate does not name.
pub(super) trait MonitorEvents:
    stream::Stream<Item = SocketEvent> + Unpin + Send + 'static
{
}

impl<S: stream::Stream<Item = SocketEvent> + Unpin + Send + 'static> MonitorEvents for S {}

/// Sends queued messages. Owns the sending half, so that no send is dropped halfway.
///
/// Ends when the dealer drops the queue, after sending what is left, or when the connection is
/// lost. Queued messages are dropped with the task then.
async fn write(mut socket: DealerSendHalf, mut queue: mpsc::Receiver<Frames>) {
    while let Some(frames) = queue.recv().await {
        if socket.send(message_of(frames)).await.is_err() {
            return;
        }
    }
}

/// Receives messages, which is also the only way to notice a lost connection. Ends, and drops
/// `_alive`, when the connection is lost or the dealer is dropped.
async fn read(
    mut socket: DealerRecvHalf,
    received: mpsc::Sender<Frames>,
    mut events: impl MonitorEvents,
    _alive: oneshot::Sender<()>,
) {
    loop {
        tokio::select! {
            biased;
            message = socket.recv() => {
                let Ok(message) = message else { return };
                if received.send(frames_of(message)).await.is_err() {
                    return;
                }
            }
            event = events.next() => if let None | Some(SocketEvent::Disconnected(_)) = event { return },
            () = received.closed() => return,
        }
    }
}

#[async_trait]
impl SocketControl for ZeromqDealer {
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        Err(cannot_change(change))
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.closed.send_replace(true);
        let (connection, linger) = (lock(&self.connection).take(), self.linger);
        let close = async move {
            if let Some(Connection { unsent, writer, .. }) = connection {
                drop(unsent);
                // The writer sends the queued messages, for up to the linger time.
                let _ = timeout(linger, writer).await;
            }
        };
        close.boxed()
    }
}

#[async_trait]
impl Dealer for ZeromqDealer {
    fn try_send(&self, frames: Frames) -> Result<(), Frames> {
        match &*lock(&self.connection) {
            Some(connection) => {
                connection.unsent.try_send(frames).map_err(mpsc::error::TrySendError::into_inner)
            }
            None => Err(frames),
        }
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        let unsent = lock(&self.connection).as_ref().map(|connection| connection.unsent.clone());
        let room = async move {
            if let Some(unsent) = unsent
                && unsent.reserve().await.is_ok()
            {
                return;
            }
            // The connection is lost, which `down` reports.
            std::future::pending::<()>().await;
        };
        room.boxed()
    }

    async fn tried(&self) {
        let mut tried = self.tried.subscribe();
        // Never an error: `self` holds the sender.
        let _ = tried.wait_for(|tried| *tried).await;
    }

    async fn up(&self) -> Result<()> {
        let mut closing = self.closed.subscribe();
        tokio::select! {
            () = self.connect_until_accepted() => Ok(()),
            _ = closing.wait_for(|closed| *closed) => Err(closed()),
        }
    }

    fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// Waits until the reading task has ended, then stops the writing task and drops its queue.
    async fn down(&self) {
        let lost = lock(&self.connection).as_mut().and_then(|connection| connection.lost.take());
        if let Some(lost) = lost {
            // The reader never sends; it drops the sender when it ends.
            let _ = lost.await;
        }
        if let Some(connection) = lock(&self.connection).take() {
            connection.writer.abort();
        }
    }

    fn replies(&self) -> BoxStream<'static, Frames> {
        match lock(&self.replies).take() {
            Some(replies) => stream::unfold(replies, |mut replies| async {
                replies.recv().await.map(|frames| (frames, replies))
            })
            .boxed(),
            None => stream::empty().boxed(),
        }
    }
}
