//! The client's side of a connection to the broker.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use polywire_core::transport::kit::{
    DeliveryFeed, EnvelopeLimits, LinkMonitor, LinkWatch, OutcomeEnvelope, unroutable,
};
use polywire_core::transport::{Delivery, Outbound, Outcome, Receipt, Sending, Settle};
use polywire_core::{Error, ErrorKind, Message, Result};
use tokio::io::{AsyncWriteExt, BufReader, copy, sink};
use tokio::net::UnixStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::sleep;

use super::wire::{Frame, Kind, PATIENCE, read, write};

/// An endpoint handle at the broker. Its halves and its receipts hold the link. When the last of
/// them is dropped, the endpoint handle closes.
pub(crate) struct Link {
    /// Frames to be written. Unbounded, because it holds no more messages than `room` admits, and
    /// the outcomes of the deliveries.
    pub(crate) frames: UnboundedSender<QueuedFrame>,
    pub(crate) room: Arc<Semaphore>,
    pub(crate) monitor: LinkMonitor,
    /// One-way calls that the broker has not answered, in the order of their frames.
    pub(crate) unanswered: Mutex<VecDeque<oneshot::Sender<Kind>>>,
}

/// A frame, and the room that it takes if it is a message.
type QueuedFrame = (Frame, Option<OwnedSemaphorePermit>);

impl Link {
    /// Queues a frame without a message. Once the connection is lost, the broker has requeued all
    /// deliveries, so the frame may be dropped.
    pub(crate) fn queue(&self, kind: Kind, number: u64) {
        let _ = self.frames.send((Frame { kind, number, message: Message::default() }, None));
    }

    fn unanswered(&self) -> MutexGuard<'_, VecDeque<oneshot::Sender<Kind>>> {
        self.unanswered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settle for Link {
    fn settle(&self, tag: u64, outcome: Outcome) {
        self.queue(Kind::Settle(OutcomeEnvelope::of(&outcome)), tag);
    }
}

/// Carries frames in both directions, until the link is closed or dropped, or the broker is gone.
pub(crate) async fn carry(
    stream: UnixStream,
    link: Weak<Link>,
    mut watch: LinkWatch,
    arrived: DeliveryFeed,
    queued: UnboundedReceiver<QueuedFrame>,
) {
    // Dropped after the queue, also with the runtime of this task.
    let _waiting = ClearsUnanswered(link.clone());
    let mut queued = queued;
    let mut closed = watch.clone();
    let (mut from, mut to) = stream.into_split();
    let reading = async {
        let receiving = async {
            let (mut from, arrived) = (BufReader::new(&mut from), arrived);
            while let Ok(frame) = read(&mut from).await {
                let is_answer = matches!(frame.kind, Kind::Refused | Kind::Accepted);
                if is_answer && frame.message.id.is_none() {
                    let waiting = link.upgrade().and_then(|link| link.unanswered().pop_front());
                    waiting.and_then(|waiting| waiting.send(frame.kind).ok());
                    continue;
                }
                arrived.push(delivery(frame, &link));
            }
            // A lost connection is not replaced, so this is the end of the stream.
            arrived.push(Err(lost().fatal()));
        };
        tokio::select! {
            () = receiving => {}
            () = watch.closing() => {}
        }
        if let Some(link) = link.upgrade() {
            link.room.close();
            link.queue(Kind::Bye, 0);
            link.unanswered().clear();
        }
        // Reads to the end: closing a socket with unread bytes discards the bytes that were
        // written last.
        copy(&mut from, &mut sink()).await
    };
    // Dropped with this task alone, so that a queue that is closed while there is room shows the
    // end of the runtime.
    let queued = &mut queued;
    let writing = async move {
        while let Some((frame, _room)) =
            queued.recv().await.filter(|(frame, _)| frame.kind != Kind::Bye)
        {
            write(&mut to, &frame).await?;
        }
        to.shutdown().await
    };
    let late = async {
        closed.closing().await;
        sleep(PATIENCE).await;
    };
    // A broker that does not read, or does not close, keeps no task of a closed transport.
    tokio::select! {
        _ = async { tokio::join!(reading, writing) } => {}
        () = late => {}
    }
}

/// Wakes the senders that wait for answers, at the end of their connection.
struct ClearsUnanswered(Weak<Link>);

impl Drop for ClearsUnanswered {
    fn drop(&mut self) {
        if let Some(link) = self.0.upgrade() {
            link.unanswered().clear();
        }
    }
}

/// The delivery, or the error about a call, that a frame of the broker stands for.
fn delivery(Frame { kind, number, message }: Frame, link: &Weak<Link>) -> Result<Delivery> {
    match (kind, link.upgrade(), message.id) {
        (Kind::Request(attempt), Some(link), _) => {
            Ok(Delivery::new(message, Receipt::new(link, number)).attempt(attempt))
        }
        (Kind::Refused, _, Some(call)) => Err(unroutable(call)),
        _ => Ok(Delivery::settled(message)),
    }
}

/// The sending half of a link.
pub(crate) struct Outgoing(pub(crate) Arc<Link>);

impl Outbound for Outgoing {
    fn send(&self, message: Message) -> Sending<'_> {
        Sending::later(async {
            EnvelopeLimits::default().check(&message)?;
            let Link { frames, room, monitor, .. } = &*self.0;
            // A lost connection closes the room.
            let is_lost = || !monitor.is_closing() && room.is_closed();
            let ended = || if is_lost() { lost().unsent() } else { closed() };
            let room = room.clone().acquire_owned().await.map_err(|_| ended())?;
            let is_one_way = message.id.is_none();
            let frame = Frame { kind: Kind::Send, number: 0, message };
            if !is_one_way {
                return frames.send((frame, Some(room))).map_err(|_| ended());
            }
            let (waiting, answered) = oneshot::channel();
            {
                // Under the lock, so that answers come in the order of the entries.
                let mut unanswered = self.0.unanswered();
                // The end of the connection clears the entries under this lock: none comes later.
                if self.0.room.is_closed() {
                    return Err(ended());
                }
                frames.send((frame, Some(room))).map_err(|_| ended())?;
                unanswered.push_back(waiting);
            }
            match answered.await {
                Ok(Kind::Accepted) => Ok(()),
                Ok(_) => Err(unroutable(None)),
                Err(_) if monitor.is_closing() => {
                    // The broker may have taken it.
                    Err(Error::new(ErrorKind::Closed, "cannot send: the transport was closed"))
                }
                Err(_) => Err(lost()),
            }
        })
    }
}

/// The error of an operation on a closed transport.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "cannot use the transport: it is closed").unsent()
}

/// The error of an operation on a lost connection.
pub(crate) fn lost() -> Error {
    Error::new(ErrorKind::Disconnected, "cannot reach the broker: the connection was lost")
}
