//! The broker: it owns the queues, and opens an end at them on behalf of each connection.

use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::{BuildHasher, RandomState};
use std::io::{Error as IoError, Result as IoResult};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use polywire_core::{
    Address, Delivery, Filter, Filters, Group, Memory, Message, Receipt, Receiver, ReplyTo, Result, Sender,
    Subscription, Transport, Window,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::wire::{self, Frame, Open, Packet};

/// A hub at a free port of loopback. Dropping it is the broker's death: connections end, and queues are gone.
pub(crate) struct Hub {
    pub(crate) address: SocketAddr,
    task: AbortHandle,
}

/// How long a connection may take to say what it is to be.
const HELLO_MAX: Duration = Duration::from_secs(2);

impl Hub {
    pub(crate) async fn start() -> IoResult<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        Ok(Self { address, task: tokio::spawn(accept(listener)).abort_handle() })
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener) {
    let memory = Memory::new().with_limits(wire::LIMITS);
    let life = RandomState::new().hash_one(()).to_be_bytes();
    let mut hosted = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => drop(hosted.spawn(host(stream, memory.clone(), life))),
            Some(_) = hosted.join_next() => {}
            // Out of handles, with nobody here who could give one back.
            else => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Serves a connection until it ends. What it holds unsettled then goes to others, its receipts being dropped.
async fn host(stream: TcpStream, memory: Memory, life: [u8; 8]) -> IoResult<()> {
    stream.set_nodelay(true)?;
    let (from, to) = stream.into_split();
    let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
    let Frame::Open(open) = timeout(HELLO_MAX, wire::read(&mut from)).await?? else { return Err(nonsense()) };
    let (guest, opened) = match Guest::open(&memory, open, life).await {
        Ok(guest) => (Some(guest), Ok(())),
        Err(error) => (None, Err(error.into())),
    };
    wire::write(&mut to, &Frame::Done(0, opened)).await?;
    to.flush().await?;
    let Some(guest) = guest else { return Ok(()) };
    // When this many answers wait to be written, no more questions are read.
    let (say, said) = mpsc::channel(64);
    tokio::select! {
        heard = guest.listen(from, say) => heard,
        spoken = guest.speak(to, said) => spoken,
    }
}

/// An end that is held for a connection.
struct Guest {
    /// Which life of the hub it is: a return address is no good in the next one, where it may be somebody else's.
    life: [u8; 8],
    sender: Option<Sender>,
    receiver: Mutex<Option<Receiver>>,
    filters: Option<Filters>,
    held: Mutex<HashMap<u64, Receipt>>,
    last_tag: AtomicU64,
}

impl Guest {
    async fn open(memory: &Memory, open: Open, life: [u8; 8]) -> Result<Self> {
        let pair = |(sender, receiver)| (Some(sender), Some(receiver), None);
        let (sender, receiver, filters) = match open {
            Open::Requester(service) => pair(memory.requester(&Address::new(service)?).await?),
            Open::Responder(service, window) => {
                pair(memory.responder(&Address::new(service)?, Window::new(window)).await?)
            }
            Open::Pusher(queue) => (Some(memory.pusher(&Address::new(queue)?).await?), None, None),
            Open::Puller(queue, window) => {
                let jobs = memory.puller(&Address::new(queue)?, Window::new(window)).await?;
                (None, Some(jobs), None)
            }
            Open::Publisher(channel) => (Some(memory.publisher(&Address::new(channel)?).await?), None, None),
            Open::Subscriber { channel, filters, group, window } => {
                let filters: Result<Vec<_>> = filters.into_iter().map(Filter::new).collect();
                let mut wish = Subscription::new(filters?).window(Window::new(window));
                if let Some((name, durable)) = group {
                    let group = Group::new(name)?;
                    wish = wish.group(if durable { group.durable() } else { group });
                }
                let (events, filters) = memory.subscriber(&Address::new(channel)?, wish).await?;
                (None, Some(events), Some(filters))
            }
        };
        let (receiver, held, last_tag) = (Mutex::new(receiver), Mutex::default(), AtomicU64::new(0));
        Ok(Self { life, sender, receiver, filters, held, last_tag })
    }

    /// Does what the client says, one after the other: where a queue is full, the connection fills up behind it.
    async fn listen(&self, mut from: impl AsyncRead + Unpin, say: mpsc::Sender<Frame>) -> IoResult<()> {
        loop {
            let (number, done) = match wire::read(&mut from).await? {
                Frame::Send(number, Packet(message)) => (number, self.send(message)?.await),
                Frame::AddFilter(number, filter) => (number, self.filters()?.add(filter).await),
                Frame::RemoveFilter(number, filter) => (number, self.filters()?.remove(filter).await),
                Frame::Settle(tag, outcome) => {
                    self.settle(tag, &outcome);
                    continue;
                }
                Frame::Stop => {
                    *lock(&self.receiver) = None;
                    continue;
                }
                _ => return Err(nonsense()),
            };
            say.send(Frame::Done(number, done.map_err(Into::into))).await.map_err(IoError::other)?;
        }
    }

    /// Writes answers and what arrives.
    async fn speak(&self, mut to: impl AsyncWrite + Unpin, mut said: mpsc::Receiver<Frame>) -> IoResult<()> {
        loop {
            let frame = tokio::select! {
                Some(frame) = said.recv() => frame,
                next = poll_fn(|cx| self.poll_next(cx)) => match next {
                    Ok(delivery) => self.hold(delivery),
                    Err(error) => Frame::Failed(error.into()),
                },
            };
            wire::write(&mut to, &frame).await?;
            to.flush().await?;
        }
    }

    fn send(&self, mut message: Message) -> IoResult<polywire_core::Sending<'_>> {
        let ours = |at: ReplyTo| Some(ReplyTo::new(at.as_bytes().strip_prefix(&self.life)?.to_vec()));
        message.reply_to = message.reply_to.and_then(ours);
        Ok(self.sender.as_ref().ok_or_else(nonsense)?.send(message))
    }

    fn filters(&self) -> IoResult<&Filters> {
        self.filters.as_ref().ok_or_else(nonsense)
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<Delivery>> {
        let mut receiver = lock(&self.receiver);
        let next = receiver.as_mut().map(|receiver| receiver.poll_next_unpin(cx));
        match next {
            Some(Poll::Ready(Some(item))) => Poll::Ready(item),
            _ => Poll::Pending,
        }
    }

    fn hold(&self, Delivery { mut message, receipt, attempt, .. }: Delivery) -> Frame {
        let named = |at: ReplyTo| ReplyTo::new([&self.life, &at.as_bytes()[..]].concat());
        message.reply_to = message.reply_to.map(named);
        let tag = receipt.is_some().then(|| self.last_tag.fetch_add(1, Ordering::Relaxed));
        if let Some(tag) = tag {
            lock(&self.held).insert(tag, receipt);
        }
        Frame::Deliver(tag, attempt, Packet(message))
    }

    fn settle(&self, tag: u64, outcome: &str) {
        let Some(receipt) = lock(&self.held).remove(&tag) else { return };
        match outcome {
            "Ack" => receipt.ack(),
            "Discard" => receipt.discard(),
            _ => receipt.requeue(),
        }
    }
}

fn nonsense() -> IoError {
    IoError::other("a frame that makes no sense here")
}

/// A lock that a panic poisoned is whole all the same: no code of ours panics half-way.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
