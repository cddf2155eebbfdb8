//! The broker: it owns the queues, and opens an endpoint handle at them for each connection.

use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::io::{Error as IoError, Result as IoResult};
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use polywire_core::message::ReplyTo;
use polywire_core::transport::kit::{DeliveryTags, ErrorEnvelope, HeldDeliveries, OutcomeEnvelope};
use polywire_core::transport::{
    Delivery, Filters, Receipt, Receiver, Sender, Sending, Subscription,
};
use polywire_core::{Address, Filter, Group, Memory, Message, Result, Transport, Window};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::wire::{self, Frame, Kind, Open, Role, unexpected};

/// A broker on a port of the loopback interface. Dropping it kills the broker: connections end, and
/// queues are gone.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    task: AbortHandle,
}

impl Broker {
    /// Starts a broker on a free port.
    pub(crate) async fn start() -> IoResult<Self> {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    /// Starts a broker at this address.
    pub(crate) async fn start_at(address: SocketAddr) -> IoResult<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self {
            address: listener.local_addr()?,
            task: tokio::spawn(accept(listener)).abort_handle(),
        })
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener) {
    let queues = Queues {
        memory: Memory::new(),
        incarnation: RandomState::new().hash_one(()).to_be_bytes(),
        tags: DeliveryTags::new(),
    };
    let mut hosted = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => drop(hosted.spawn(host(stream, queues.clone()))),
            Some(_) = hosted.join_next() => {}
            // Out of file handles, and no connection is left to free one.
            else => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// The state that all connections share.
#[derive(Clone)]
struct Queues {
    memory: Memory,
    /// The incarnation of the broker. In the next one, the same reply address may belong to
    /// another client.
    incarnation: [u8; 8],
    /// The tags of all connections, so that a receipt of a lost connection settles nothing over
    /// the next.
    tags: DeliveryTags,
}

/// Serves a connection until it ends. Its unsettled deliveries are requeued then, since their
/// receipts are dropped.
async fn host(stream: TcpStream, queues: Queues) -> IoResult<()> {
    stream.set_nodelay(true)?;
    let (from, to) = stream.into_split();
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    let first = timeout(Duration::from_secs(2), wire::read(&mut from)).await??;
    let Kind::Open(open) = first.kind else { return Err(unexpected()) };
    let (endpoint, opened) = match HostedEndpoint::open(queues, open).await {
        Ok(endpoint) => (Ok(endpoint), Ok(())),
        Err(error) => (Err(unexpected()), Err(ErrorEnvelope::of(&error))),
    };
    wire::write(&mut to, &Kind::Done(opened).into()).await?;
    to.flush().await?;
    let endpoint = endpoint?;
    // While this many answers wait to be written, no more frames are read.
    let (answers, queued) = mpsc::channel(64);
    tokio::select! {
        ended = endpoint.read(from, answers) => ended,
        ended = endpoint.write(to, queued) => ended,
    }
}

/// The endpoint handle of a connection.
struct HostedEndpoint {
    queues: Queues,
    sender: Option<Sender>,
    receiver: Mutex<Option<Receiver>>,
    filters: Option<Filters>,
    held: Mutex<HeldDeliveries<Receipt>>,
}

impl HostedEndpoint {
    async fn open(queues: Queues, open: Open) -> Result<Self> {
        let (memory, name, window) =
            (&queues.memory, Address::new(open.name)?, Window::new(open.window));
        let both = |(sender, receiver)| (Some(sender), Some(receiver), None);
        let (sender, receiver, filters) = match open.role {
            Role::Requester => both(memory.requester(&name).await?),
            Role::Responder => both(memory.responder(&name, window).await?),
            Role::Pusher => (Some(memory.pusher(&name).await?), None, None),
            Role::Puller => (None, Some(memory.puller(&name, window).await?), None),
            Role::Publisher => (Some(memory.publisher(&name).await?), None, None),
            Role::Subscriber => {
                let filters: Result<Vec<_>> = open.filters.into_iter().map(Filter::new).collect();
                let mut subscription = Subscription::new(filters?).window(window);
                if let Some((group, durable)) = open.group {
                    let group = Group::new(group)?;
                    subscription =
                        subscription.group(if durable { group.durable() } else { group });
                }
                let (events, filters) = memory.subscriber(&name, subscription).await?;
                (None, Some(events), Some(filters))
            }
        };
        let receiver = Mutex::new(receiver.filter(|_| !open.stopped));
        let held = Mutex::new(HeldDeliveries::new(window, &queues.tags));
        Ok(Self { queues, sender, receiver, filters, held })
    }

    /// Handles the frames of the client, one after the other. Where a queue is full, the connection
    /// fills up behind it.
    async fn read(
        &self,
        mut from: impl AsyncRead + Unpin,
        answers: mpsc::Sender<Frame>,
    ) -> IoResult<()> {
        loop {
            let Frame { kind, message } = wire::read(&mut from).await?;
            let done = match kind {
                Kind::Send => self.send(message.ok_or_else(unexpected)?)?.await,
                Kind::AddFilter(filter) => {
                    self.filters.as_ref().ok_or_else(unexpected)?.add(filter).await
                }
                Kind::RemoveFilter(filter) => {
                    self.filters.as_ref().ok_or_else(unexpected)?.remove(filter).await
                }
                // Not claimed, so core never sends it: its fault would have no bound here.
                Kind::Settle(_, OutcomeEnvelope::Decline(_)) => return Err(unexpected()),
                Kind::Settle(tag, outcome) => {
                    self.settle(tag, outcome);
                    continue;
                }
                Kind::Stop => {
                    *lock(&self.receiver) = None;
                    continue;
                }
                _ => return Err(unexpected()),
            };
            let done = Kind::Done(done.map_err(|error| ErrorEnvelope::of(&error)));
            answers.send(done.into()).await.map_err(IoError::other)?;
        }
    }

    /// Writes answers and deliveries.
    async fn write(
        &self,
        mut to: impl AsyncWrite + Unpin,
        mut queued: mpsc::Receiver<Frame>,
    ) -> IoResult<()> {
        let mut turn = Turn::default();
        loop {
            let frame = tokio::select! {
                Some(frame) = queued.recv() => frame,
                next = poll_fn(|cx| self.poll_next(&mut turn, cx)) => match next {
                    Ok(delivery) => self.hold(delivery)?,
                    Err(error) => Kind::Failed(ErrorEnvelope::of(&error)).into(),
                },
            };
            wire::write(&mut to, &frame).await?;
            to.flush().await?;
        }
    }

    fn send(&self, mut message: Message) -> IoResult<Sending<'_>> {
        let own = |at: ReplyTo| {
            Some(ReplyTo::new(at.as_bytes().strip_prefix(&self.queues.incarnation)?.to_vec()))
        };
        message.reply_to = message.reply_to.and_then(own);
        Ok(self.sender.as_ref().ok_or_else(unexpected)?.send(message))
    }

    fn poll_next(&self, turn: &mut Turn, cx: &mut Context<'_>) -> Poll<Result<Delivery>> {
        if turn.took && turn.waited {
            *turn = Turn::default();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = lock(&self.receiver).as_mut().map(|receiver| receiver.poll_next_unpin(cx));
        let Some(Poll::Ready(Some(item))) = next else {
            turn.waited = true;
            return Poll::Pending;
        };
        *turn = Turn { took: true, waited: false };
        Poll::Ready(item)
    }

    fn hold(&self, delivery: Delivery) -> IoResult<Frame> {
        let Delivery { mut message, receipt, attempt, .. } = delivery;
        let named =
            |at: ReplyTo| ReplyTo::new([&self.queues.incarnation, &at.as_bytes()[..]].concat());
        message.reply_to = message.reply_to.map(named);
        let tag = match receipt.is_some() {
            true => Some(lock(&self.held).hold(receipt).map_err(|_| unexpected())?),
            false => None,
        };
        Ok(Frame { kind: Kind::Deliver(tag, attempt), message: Some(*message) })
    }

    fn settle(&self, tag: u64, outcome: OutcomeEnvelope) {
        let receipt = lock(&self.held).release(tag);
        if let Some(receipt) = receipt {
            receipt.settle(outcome.into_outcome());
        }
    }
}

/// Fairness between competing endpoint handles. A handle that took the last message and then waited
/// skips a turn; otherwise one handle would get everything.
#[derive(Default)]
struct Turn {
    took: bool,
    waited: bool,
}

/// Locks a mutex. A poisoned one is consistent, since no code panics while it holds a lock.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
