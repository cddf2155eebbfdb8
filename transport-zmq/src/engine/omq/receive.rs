//! Received messages of a socket, read in batches.
//!
//! Each socket is read in one way: a batch at a time, in the task that polls the stream. A socket
//! that can be stopped differs in one point only, the end of its stream.
//!
//! Dropping a stream loses the rest of its batch, which is up to 255 messages.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use omq_tokio::{Message, Socket};
use tokio::sync::watch;

use super::socket_endpoints::SocketEndpoints;
use crate::lock::lock;
use crate::runtime_watch::RuntimeWatch;

/// Returns the messages that a socket receives until it is closed. Two streams of one socket take
/// messages from each other.
pub(super) fn received(socket: Socket) -> impl Stream<Item = Message> + Send {
    batches(socket, None)
}

/// Returns the [`received`] messages as `convert` makes them, without those that it drops.
pub(super) fn received_as<T: Send + 'static>(
    socket: Socket,
    mut convert: impl FnMut(Message) -> Option<T> + Send + 'static,
) -> BoxStream<'static, T> {
    let mut messages = batches(socket, None);
    // By hand: an adapter with a future for each message moves it several times.
    let converted = stream::poll_fn(move |cx| {
        loop {
            let Some(message) = ready!(messages.poll_next_unpin(cx)) else {
                return Poll::Ready(None);
            };
            if let Some(converted) = convert(message) {
                return Poll::Ready(Some(converted));
            }
        }
    });
    converted.boxed()
}

/// A receiver that can be stopped and then yields all messages that have arrived.
///
/// The order of a stop is fixed: disconnect all peers, then set the flag, then read what has
/// arrived.
pub(super) struct DrainingReceiver {
    /// The socket, kept open for received messages.
    endpoints: Arc<SocketEndpoints>,
    /// Set after all peers are disconnected.
    stopped: watch::Sender<bool>,
}

impl DrainingReceiver {
    /// Wraps a socket. The receiver keeps it open.
    pub(super) fn new(endpoints: Arc<SocketEndpoints>) -> Self {
        Self { endpoints, stopped: watch::Sender::new(false) }
    }

    /// Returns the messages that arrive until the socket is closed or, after [`stop`](Self::stop),
    /// until all received messages are yielded.
    pub(super) fn messages(&self) -> impl Stream<Item = Message> + Send + use<> {
        batches(self.endpoints.socket.clone(), Some(self.stopped.subscribe()))
    }

    /// Disconnects all peers in a task of its own, then ends the stream. The order matters: a peer
    /// that is still connected could send more after the end.
    ///
    /// Messages that are on their way from the peers are lost. A second call has no further effect.
    pub(super) fn stop(&self) {
        let (endpoints, stopped) = (self.endpoints.clone(), self.stopped.clone());
        let disconnect = async move {
            endpoints.remove_all().await;
            stopped.send_replace(true);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(disconnect)),
            // Without a runtime, no task can receive more.
            Err(_) => drop(self.stopped.send_replace(true)),
        }
    }
}

/// Reads a socket in batches of up to 256 messages. The stream ends when the socket is closed, its
/// runtime has ended or, after `stopped` turns true, when no received message is left.
///
/// `stopped` is `None` for a socket that ends by a close only. Each batch takes one unit of the
/// cooperative budget of the polling task.
fn batches(socket: Socket, stopped: Option<watch::Receiver<bool>>) -> Batches {
    let filled = Arc::new(Mutex::new(Vec::new()));
    let state = (socket, RuntimeWatch::start(), stopped, filled.clone());
    let fills = stream::unfold(state, |(socket, runtime, mut stopped, filled)| async move {
        // The socket is closed then, without saying so: a receive would not end.
        if runtime.has_ended() {
            return None;
        }
        // So that a peer that sends without pause does not starve other tasks.
        tokio::task::coop::consume_budget().await;
        let mut batch = std::mem::take(&mut *lock(&filled));
        match &mut stopped {
            None => drop(socket.recv_many_into(BATCH_MAX, &mut batch).await.ok()?),
            Some(stopped) => receive_or_drain(&socket, stopped, &mut batch).await?,
        }
        batch.reverse();
        *lock(&filled) = batch;
        Some(((), (socket, runtime, stopped, filled)))
    });
    // Fused, since the reader may poll again after the end.
    Batches { batch: Vec::new(), filled, fills: fills.fuse().boxed() }
}

/// The messages of a socket. A message of a batch that has been read costs neither a future nor a
/// look at the socket.
struct Batches {
    /// The messages of the last batch, the first one last.
    batch: Vec<Message>,
    /// The place of the next batch, and the memory that it is read into. Locked for a moment only.
    filled: Arc<Mutex<Vec<Message>>>,
    /// Fills that place, once for each item.
    fills: BoxStream<'static, ()>,
}

impl Stream for Batches {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        loop {
            if let Some(message) = self.batch.pop() {
                return Poll::Ready(Some(message));
            }
            if ready!(self.fills.poll_next_unpin(cx)).is_none() {
                return Poll::Ready(None);
            }
            let Self { batch, filled, .. } = &mut *self;
            std::mem::swap(batch, &mut *lock(filled));
        }
    }

    /// The lower bound is the number of messages that have been read.
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.batch.len(), None)
    }
}

/// Receives a batch, or takes the messages that have arrived if the receiver is stopped. `None` is
/// the end.
///
/// Cancel safe: a wait that is dropped takes no message from the engine. An error of the engine is
/// the end, too.
async fn receive_or_drain(
    socket: &Socket,
    stopped: &mut watch::Receiver<bool>,
    batch: &mut Vec<Message>,
) -> Option<()> {
    tokio::select! {
        biased;
        received = socket.recv_many_into(BATCH_MAX, batch) => received.ok().map(drop),
        // An error means that the receiver is dropped, and counts as stopped.
        _ = stopped.wait_for(|stopped| *stopped) => {
            let drained = socket.try_recv_many_into(BATCH_MAX, batch).ok()?;
            (drained > 0).then_some(())
        }
    }
}

/// Messages read at a time.
const BATCH_MAX: usize = 256;
