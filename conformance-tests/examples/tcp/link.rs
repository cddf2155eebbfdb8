//! The client's side of a connection, and of the connections that replace it.

use std::collections::VecDeque;
use std::io::{Error as IoError, Result as IoResult};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use polywire_core::transport::kit::{
    DeliveryFeed, DeliveryQueue, ErrorEnvelope, LinkMonitor, LinkWatch, OutcomeEnvelope,
};
use polywire_core::transport::{Delivery, Outcome, Receipt, Settle};
use polywire_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

use super::broker::lock;
use super::wire::{self, Frame, Kind, Open, Role, unexpected};

/// An endpoint handle at the broker. Its halves and its receipts hold the link. When the last of
/// them is dropped, the endpoint handle closes.
pub(crate) struct Link {
    /// Unbounded, because it holds no more requests than `room` admits, and the outcomes of the
    /// deliveries.
    frames: UnboundedSender<QueuedFrame>,
    room: Arc<Semaphore>,
    monitor: LinkMonitor,
}

/// A frame to be written, and the slot for its answer.
type QueuedFrame = (Frame, Option<AnswerSlot>);
/// The channel for an answer, and the room that its frame takes.
type AnswerSlot = (oneshot::Sender<Result<()>>, OwnedSemaphorePermit);

/// The longest time to connect.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// The pause between attempts to connect.
const RETRY: Duration = Duration::from_millis(50);
/// The longest time to write the queued frames of a link that closes.
const CLOSE_MAX: Duration = Duration::from_secs(1);
/// The most frames that wait for an answer.
const UNANSWERED_MAX: usize = 1024;

impl Link {
    /// Connects, and opens the endpoint handle.
    pub(crate) async fn open(broker: SocketAddr, open: Open) -> Result<(Arc<Self>, DeliveryQueue)> {
        let stream = connect(broker, &open).await?;
        let (frames, queued) = unbounded_channel();
        let (room, monitor) = (Arc::new(Semaphore::new(UNANSWERED_MAX)), LinkMonitor::new());
        let mut watch = monitor.watch();
        let link = Arc::new(Self { frames, room, monitor });
        let stopped = link.clone();
        let (arrived, deliveries) = DeliveryQueue::new(&link.monitor, move || stopped.stop());
        let supervisor = Supervisor {
            broker,
            open,
            queued,
            arrived,
            link: Arc::downgrade(&link),
            watch: watch.clone(),
        };
        // The task ends when the link is dropped, or closed, even if the broker is frozen.
        tokio::spawn(async move {
            let late = async {
                watch.closing().await;
                sleep(CLOSE_MAX).await;
            };
            tokio::select! {
                () = supervisor.run(stream) => {}
                () = late => {}
            }
        });
        Ok((link, deliveries))
    }

    /// Sends a frame, and waits for the answer. If the future is dropped, the answer is discarded.
    pub(crate) async fn ask(&self, frame: impl Into<Frame>) -> Result<()> {
        let frame = frame.into();
        let room = self.room.clone().acquire_owned().await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        self.frames.send((frame, Some((answer, room)))).map_err(|_| closed().unsent())?;
        answered.await.unwrap_or_else(|_| Err(if self.is_closed() { closed() } else { lost() }))
    }

    /// Stops receiving.
    fn stop(&self) {
        // A closed link receives nothing anyway.
        let _ = self.frames.send((Kind::Stop.into(), None));
    }

    /// Returns true if the transport is closed.
    fn is_closed(&self) -> bool {
        self.monitor.is_closing()
    }

    /// Writes the queued frames, and ends the link.
    pub(crate) async fn close(&self) {
        self.monitor.close();
        self.monitor.unwatched().await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // What is queued is still written, for as long as a close takes.
        self.monitor.close();
    }
}

impl Settle for Link {
    fn settle(&self, tag: u64, outcome: Outcome) {
        // The broker requeues the deliveries of a closed link by itself.
        let outcome = OutcomeEnvelope::of(&outcome);
        let _ = self.frames.send((Kind::Settle(tag, outcome).into(), None));
    }
}

/// The task that keeps a link connected.
struct Supervisor {
    broker: SocketAddr,
    /// The state of the endpoint handle, to be opened again over the next connection.
    open: Open,
    queued: UnboundedReceiver<QueuedFrame>,
    arrived: DeliveryFeed,
    link: Weak<Link>,
    watch: LinkWatch,
}

/// Connects to the broker, and waits until it has opened the endpoint handle.
async fn connect(broker: SocketAddr, open: &Open) -> Result<TcpStream> {
    let opening = async {
        let mut stream = TcpStream::connect(broker).await?;
        stream.set_nodelay(true)?;
        wire::write(&mut stream, &Kind::Open(open.clone()).into()).await?;
        match wire::read(&mut stream).await?.kind {
            Kind::Done(done) => Ok((done, stream)),
            _ => Err(unexpected()),
        }
    };
    let unreachable = |error: IoError| lost().with("broker", broker).with_source(error).unsent();
    let opened = timeout(CONNECT_MAX, opening).await.map_err(|late| unreachable(late.into()))?;
    let (done, stream) = opened.map_err(unreachable)?;
    done.map(|()| stream).map_err(ErrorEnvelope::into_error)
}

impl Supervisor {
    async fn run(mut self, mut stream: TcpStream) {
        while self.carry(stream).await.is_err() {
            // The broker delivers again what was not settled over the lost connection.
            self.arrived.lost();
            if self.open.role == Role::Requester {
                // Replies to the calls in flight are lost with the connection. A requester without
                // a receiver makes no calls.
                self.arrived.push(Err(lost()));
            }
            stream = loop {
                match connect(self.broker, &self.open).await {
                    Ok(stream) => break stream,
                    Err(_) if self.link.strong_count() == 0 => return,
                    // The broker refuses for good: the stream ends with its reason.
                    Err(error) if error.kind() != ErrorKind::Disconnected => {
                        return self.arrived.push(Err(error.fatal()));
                    }
                    Err(_) => sleep(RETRY).await,
                }
            };
        }
    }

    /// Carries frames until the connection is lost, which is an error, or the link ends.
    async fn carry(&mut self, mut stream: TcpStream) -> IoResult<()> {
        let (from, to) = stream.split();
        let pending = Mutex::default();
        let mut reading = pin!(read(BufReader::new(from), &self.link, &self.arrived, &pending));
        tokio::select! {
            lost = &mut reading => return lost,
            written = write(BufWriter::new(to), &mut self.queued, &mut self.open, &pending, self.watch.clone()) => written?,
        }
        // Reads to the end: closing a socket with unread bytes resets it, and discards the bytes
        // that were written last.
        let _ = timeout(CLOSE_MAX, reading).await;
        Ok(())
    }
}

/// The slots for answers, in the order of their frames.
type PendingAnswers = Mutex<VecDeque<AnswerSlot>>;

async fn read(
    mut from: impl AsyncRead + Unpin,
    link: &Weak<Link>,
    arrived: &DeliveryFeed,
    pending: &PendingAnswers,
) -> IoResult<()> {
    loop {
        let Frame { kind, message } = wire::read(&mut from).await?;
        let item = match kind {
            Kind::Done(done) => {
                let (answer, _room) = lock(pending).pop_front().ok_or_else(unexpected)?;
                // The caller may have stopped waiting.
                let _ = answer.send(done.map_err(ErrorEnvelope::into_error));
                continue;
            }
            Kind::Deliver(tag, attempt) => {
                let message = message.ok_or_else(unexpected)?;
                let receipt = match (tag, link.upgrade()) {
                    (Some(tag), Some(link)) => Receipt::new(link, tag),
                    _ => Receipt::none(),
                };
                Ok(Delivery::new(message, receipt).attempt(attempt))
            }
            Kind::Failed(failure) => Err(failure.into_error()),
            _ => return Err(unexpected()),
        };
        arrived.push(item);
    }
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    queued: &mut UnboundedReceiver<QueuedFrame>,
    open: &mut Open,
    pending: &PendingAnswers,
    mut watch: LinkWatch,
) -> IoResult<()> {
    let mut closing = pin!(watch.closing());
    loop {
        let next = tokio::select! {
            next = queued.recv() => next,
            () = &mut closing, if !queued.is_closed() => {
                queued.close();
                continue;
            }
        };
        let Some((frame, slot)) = next else { return to.shutdown().await };
        // The caller may have stopped waiting while there was no connection.
        let is_abandoned = slot.as_ref().is_some_and(|(answer, _)| answer.is_closed());
        if !is_abandoned {
            open.apply(&frame.kind);
            // Before the frame is written, so that the answer finds its slot.
            lock(pending).extend(slot);
            wire::write(&mut to, &frame).await?;
        }
        if queued.is_empty() {
            to.flush().await?;
        }
    }
}

/// The error of an operation on a closed transport.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "cannot use the transport: it is closed")
}

/// The error of an operation on a lost connection.
fn lost() -> Error {
    Error::new(ErrorKind::Disconnected, "cannot reach the broker: the connection was lost")
}
