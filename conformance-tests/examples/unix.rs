//! A small backend, in one file: requests and replies by way of a hub, over Unix sockets.
//!
//! ```text
//! cargo test -p polywire-conformance --test unix
//! ```
//!
//! Every end is a connection to the hub, and at the hub an end of `Memory`. A connection that is lost is not made anew:
//! who loses the hub loses its ends. The other example, `tcp`, mends its links, and can do the other patterns.

use std::collections::HashMap;
use std::io::{Error as IoError, ErrorKind as IoErrorKind, Result as IoResult};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt, unfold};
use polywire_conformance::{Backend, Space, Suite};
use polywire_core::{
    Address, AnyTransport, CallId, Capabilities, Code, Deadline, Delivery, Error, ErrorKind, Fault, Filters,
    Inbound, Limits, Memory, Message, Outbound, Outcome, Receipt, Receiver, ReplyTo, Result, Sender, Sending,
    Settle, Subscription, Transport, Window,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, copy, sink};
use tokio::net::{UnixListener, UnixStream, unix::OwnedReadHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// Both sides have these, so what one writes, the other reads.
const LIMITS: Limits =
    Limits { body_max: 16 << 20, frames_max: 64, headers_max: 64, header_bytes_max: 16 << 10 };
/// Bytes of text beside the headers; and of a head, in which JSON makes six bytes of one at the worst.
const TEXT_MAX: usize = 64 << 10;
const HEAD_MAX: usize = 512 << 10;
/// Messages of an end that wait to be written.
const WAITING_MAX: usize = 1024;
const CONNECT_MAX: Duration = Duration::from_secs(2);
const CLOSE_MAX: Duration = Duration::from_secs(1);

struct Unix {
    hub: PathBuf,
    closing: watch::Sender<bool>,
}

impl Unix {
    async fn open(&self, kind: Kind, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        let hello = async {
            let mut stream = UnixStream::connect(&self.hub).await?;
            let message = Message::request(service.clone(), Deadline::after(CONNECT_MAX));
            write(&mut stream, &Frame { kind, number: window.messages() as u64, message }).await?;
            if read(&mut stream).await?.kind == Kind::Opened { Ok(stream) } else { Err(nonsense()) }
        };
        let mut closing = self.closing.subscribe();
        let stream = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => return Err(closed()),
            hello = timeout(CONNECT_MAX, hello) => hello.unwrap_or_else(|late| Err(late.into())),
        };
        let stream =
            stream.map_err(|error| lost().with("hub", self.hub.display()).with_source(error).unsent())?;
        let ((say, said), (inbox, items)) = (unbounded_channel(), unbounded_channel());
        let room = Arc::new(Semaphore::new(WAITING_MAX));
        let link = Arc::new(Link { say, room, closing: self.closing.clone() });
        tokio::spawn(keep(stream, Arc::downgrade(&link), closing, inbox, said));
        Ok((Sender::new(Outgoing(link.clone())), Receiver::new(Incoming { link, items })))
    }
}

impl Transport for Unix {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::least(LIMITS.body_max);
        (capabilities.settlement, capabilities.attempts) = (true, true);
        capabilities.unroutable_at_once = true;
        capabilities
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.open(Kind::Requester, service, Window::default()).await
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.open(Kind::Responder, service, window).await
    }

    async fn pusher(&self, _: &Address) -> Result<Sender> {
        Err(Error::unsupported("pipeline"))
    }

    async fn puller(&self, _: &Address, _: Window) -> Result<Receiver> {
        Err(Error::unsupported("pipeline"))
    }

    async fn publisher(&self, _: &Address) -> Result<Sender> {
        Err(Error::unsupported("pubsub"))
    }

    async fn subscriber(&self, _: &Address, _: Subscription) -> Result<(Receiver, Filters)> {
        Err(Error::unsupported("pubsub"))
    }

    async fn close(&self) -> Result<()> {
        self.closing.send_replace(true);
        // What was said before is still written, unless the hub does not read.
        let _ = timeout(CLOSE_MAX, self.closing.closed()).await;
        Ok(())
    }
}

/// An end at the hub, which its halves and its receipts hold. When the last of them is dropped, the end is.
struct Link {
    /// Unbounded, because it holds no more than `room` for messages, and the outcomes of what came.
    say: UnboundedSender<Said>,
    room: Arc<Semaphore>,
    closing: watch::Sender<bool>,
}

/// A frame, and the room that it takes until it is written.
type Said = (Frame, Option<OwnedSemaphorePermit>);

impl Link {
    fn is_closed(&self) -> bool {
        *self.closing.borrow()
    }

    fn say(&self, kind: Kind, number: u64) {
        // If nobody hears it, the hub has taken back what was here.
        let _ = self.say.send((Frame { kind, number, message: Message::default() }, None));
    }
}

impl Settle for Link {
    fn settle(&self, tag: u64, outcome: Outcome) {
        self.say(if outcome == Outcome::Requeue { Kind::Requeue } else { Kind::Done }, tag);
    }
}

/// Carries what is said and what arrives, until the link is closed or dropped, or the hub is gone.
async fn keep(
    stream: UnixStream,
    link: Weak<Link>,
    mut closing: watch::Receiver<bool>,
    inbox: UnboundedSender<Result<Delivery>>,
    mut said: UnboundedReceiver<Said>,
) {
    let (mut from, mut to) = stream.into_split();
    let hearing = async {
        tokio::select! {
            () = hear(&mut from, &link, inbox) => {}
            Ok(_) = closing.wait_for(|closing| *closing) => {}
        }
        if let Some(link) = link.upgrade() {
            link.room.close();
            link.say(Kind::Bye, 0);
        }
        // To the end: a socket that is closed with bytes unread takes with it what was written last.
        copy(&mut from, &mut sink()).await
    };
    let speaking = async move {
        while let Some((frame, _room)) = said.recv().await.filter(|(frame, _)| frame.kind != Kind::Bye) {
            write(&mut to, &frame).await?;
        }
        to.shutdown().await
    };
    let _ = tokio::join!(hearing, speaking);
}

async fn hear(from: &mut OwnedReadHalf, link: &Weak<Link>, inbox: UnboundedSender<Result<Delivery>>) {
    let mut from = BufReader::new(from);
    while let Ok(Frame { kind, number, message }) = read(&mut from).await {
        let refused = Error::new(ErrorKind::Unroutable, "no server takes calls to this service").unsent();
        // What nobody listens for any more is dropped here, and its receipt sends it back.
        let _ = inbox.send(match (kind, link.upgrade(), message.id) {
            (Kind::Request(attempt), Some(link), _) => {
                Ok(Delivery::new(message, Receipt::new(link, number)).attempt(attempt))
            }
            (Kind::Refused, _, Some(call)) => Err(refused.with_call(call)),
            _ => Ok(Delivery::settled(message)),
        });
    }
    let _ = inbox.send(Err(lost()));
}

struct Outgoing(Arc<Link>);

impl Outbound for Outgoing {
    fn send(&self, message: Message) -> Sending<'_> {
        if let Err(error) = check(&message) {
            return Sending::ready(Err(error));
        }
        Sending::later(async {
            let over = || if self.0.is_closed() { closed() } else { lost().unsent() };
            let room = self.0.room.clone().acquire_owned().await.map_err(|_| over())?;
            self.0.say.send((Frame { kind: Kind::Send, number: 0, message }, Some(room))).map_err(|_| over())
        })
    }
}

struct Incoming {
    link: Arc<Link>,
    items: UnboundedReceiver<Result<Delivery>>,
}

impl Stream for Incoming {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.link.is_closed() { Poll::Ready(None) } else { self.items.poll_recv(cx) }
    }
}

impl Inbound for Incoming {
    fn stop(mut self: Pin<&mut Self>) {
        // Said first, so that what is handed back does not come again.
        self.link.say(Kind::Stop, 0);
        self.items.close();
        while self.items.try_recv().is_ok() {}
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        Pin::new(self).stop();
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the transport is closed").unsent()
}

fn lost() -> Error {
    Error::new(ErrorKind::Disconnected, "the connection to the hub was lost")
}

/// What crosses: two lengths, a head, which is JSON, and the body.
struct Frame {
    kind: Kind,
    /// The window of a responder that opens, or the tag of a request.
    number: u64,
    message: Message,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Requester,
    Responder,
    Send,
    Done,
    Requeue,
    Stop,
    /// Ends what is said, and does not cross.
    Bye,
    /// The hub's, from here on.
    Opened,
    /// The how manieth attempt it is.
    Request(u32),
    Reply,
    Refused,
}

/// Kind, number, method, id, reply address, milliseconds left, fault, content type, headers.
type Head =
    (Kind, u64, Option<String>, Option<u64>, Option<Vec<u8>>, Option<u64>, Failed, Option<String>, Pairs);
type Failed = Option<(u8, String, String, Vec<u8>)>;
type Pairs = Vec<(String, String)>;

/// Refuses what the other side would not read.
fn check(message: &Message) -> Result<()> {
    let fault = message.fault.as_ref().map_or(0, |it| it.kind.len() + it.message.len() + it.details.len());
    if fault + message.content_type.as_ref().map_or(0, |format| format.len()) > TEXT_MAX {
        return Err(Error::new(ErrorKind::TooLarge, "the fault is larger than the limit").unsent());
    }
    LIMITS.check(message)
}

async fn write(to: &mut (impl AsyncWrite + Unpin), Frame { kind, number, message }: &Frame) -> IoResult<()> {
    let head: Head = (
        *kind,
        *number,
        message.method.as_ref().map(ToString::to_string),
        message.id.map(|id| id.0),
        message.reply_to.as_ref().map(|reply_to| reply_to.as_bytes().to_vec()),
        message.deadline.map(Deadline::remaining_ms),
        message.fault.clone().map(|it| (it.code.as_u8(), it.kind, it.message, it.details.into())),
        message.content_type.as_ref().map(ToString::to_string),
        message.headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    );
    let (head, mut to) = (serde_json::to_vec(&head)?, BufWriter::new(to));
    to.write_u64(head.len() as u64).await?;
    to.write_u64(message.body.len() as u64).await?;
    to.write_all(&head).await?;
    for part in message.body.frames() {
        to.write_all(part).await?;
    }
    to.flush().await
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> IoResult<Frame> {
    let (head, body) = (from.read_u64().await?, from.read_u64().await?);
    if head > HEAD_MAX as u64 || body > LIMITS.body_max as u64 {
        return Err(nonsense());
    }
    let head: Head = serde_json::from_slice(&read_sized(from, head).await?)?;
    let (kind, number, method, id, reply_to, left_ms, fault, content_type, headers) = head;
    let mut message = Message::new(read_sized(from, body).await?);
    message.method = method.map(Address::new).transpose().map_err(IoError::other)?;
    message.id = id.map(CallId);
    message.reply_to = reply_to.map(ReplyTo::new);
    message.deadline = left_ms.map(Deadline::after_ms);
    message.fault = fault.map(|(code, kind, text, details)| {
        Box::new(Fault::new(Code::from_u8(code), text).with_kind(kind).with_details(details))
    });
    message.content_type = content_type.map(Into::into);
    message.headers = headers.into_iter().collect();
    Ok(Frame { kind, number, message })
}

/// Grows as the bytes come, so that nobody takes memory by announcing them.
async fn read_sized(from: &mut (impl AsyncRead + Unpin), size: u64) -> IoResult<Bytes> {
    let mut bytes = Vec::new();
    from.take(size).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 == size { Ok(bytes.into()) } else { Err(IoErrorKind::UnexpectedEof.into()) }
}

fn nonsense() -> IoError {
    IoError::other("a frame that makes no sense here")
}

/// The hub, until it is aborted.
async fn accept(listener: UnixListener) {
    let (memory, mut hosted) = (Memory::new().with_limits(LIMITS), JoinSet::new());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(hosted.spawn(host(stream, memory.clone()))),
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
        while hosted.try_join_next().is_some() {}
    }
}

/// Serves a connection until it ends. What it holds unsettled then goes to others, its receipts being dropped.
async fn host(stream: UnixStream, memory: Memory) -> IoResult<()> {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    let Frame { kind, number, message } = timeout(CONNECT_MAX, read(&mut from)).await??;
    let service = message.method.ok_or_else(nonsense)?;
    let opened = match kind {
        Kind::Requester => memory.requester(&service).await,
        Kind::Responder => memory.responder(&service, Window::new(number as usize)).await,
        _ => return Err(nonsense()),
    };
    let (sender, mut receiver) = opened.map_err(IoError::other)?;
    let (mut held, mut last) = (HashMap::new(), 0);
    // Keeps a frame that is read in part. While one is written none is read, which is well, as the client always reads.
    let read_on = async |mut from| Some((read(&mut from).await.ok()?, from));
    let mut frames = pin!(unfold(from, read_on));
    let mut answer = Frame { kind: Kind::Opened, number: 0, message: Message::default() };
    loop {
        write(&mut to, &answer).await?;
        answer = loop {
            tokio::select! {
                frame = frames.next() => {
                    let Some(Frame { kind, number, message }) = frame else { return Ok(()) };
                    let call = message.id;
                    match kind {
                        // Where the queue is full, the socket fills up behind it.
                        Kind::Send => if sender.send(message).await.is_err() { break refused(call) },
                        Kind::Done => drop(held.remove(&number).map(Receipt::ack)),
                        Kind::Requeue => drop(held.remove(&number)),
                        Kind::Stop => receiver.stop(),
                        _ => return Err(nonsense()),
                    }
                }
                Some(next) = receiver.next() => break match next {
                    Err(error) => refused(error.call()),
                    Ok(Delivery { message, receipt, attempt, .. }) if receipt.is_some() => {
                        last += 1;
                        held.insert(last, receipt);
                        Frame { kind: Kind::Request(attempt), number: last, message }
                    }
                    Ok(reply) => Frame { kind: Kind::Reply, number: 0, message: reply.message },
                },
            }
        }
    }
}

fn refused(call: Option<CallId>) -> Frame {
    let mut message = Message::default();
    message.id = call;
    Frame { kind: Kind::Refused, number: 0, message }
}

fn main() {
    polywire_conformance::main(|| vec![Suite::of(UnixBackend)]);
}

struct UnixBackend;

impl Backend for UnixBackend {
    type Space = Place;

    fn name(&self) -> String {
        "unix".to_owned()
    }

    async fn space(&self) -> Result<Place> {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let name = format!("polywire-{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).map_err(|error| {
            Error::new(ErrorKind::Config, "there is no place for a hub").with_source(error)
        })?;
        Ok(Place { path, hub: tokio::spawn(accept(listener)).abort_handle() })
    }
}

/// A hub of its own.
struct Place {
    path: PathBuf,
    hub: AbortHandle,
}

impl Space for Place {
    async fn serving(&self) -> Result<AnyTransport> {
        let (hub, closing) = (self.path.clone(), watch::Sender::new(false));
        Ok(AnyTransport::new(Unix { hub, closing }))
    }

    async fn calling(&self) -> Result<AnyTransport> {
        self.serving().await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.hub.abort();
        // It may have been tidied away by others.
        let _ = std::fs::remove_file(&self.path);
    }
}
