//! A small backend, in one file: requests and replies by way of a hub, over Unix sockets.
//!
//! Every end is a connection to the hub, and at the hub an end of `Memory`. A connection that is
//! lost is not made anew: who loses the hub loses its ends. The other example, `tcp`, mends its
//! links, and can do the other patterns.

use std::collections::HashMap;
use std::io::ErrorKind::{InvalidData, UnexpectedEof};
use std::io::{Error as IoError, Result as IoResult};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt, unfold};
use polywire_conformance::{Backend, Space, Suite};
use polywire_core::message::{CallId, ReplyTo};
use polywire_core::transport::{
    Delivery, Filters, Inbound, Outbound, Outcome, Receipt, Receiver, Sender, Sending, Settle,
    Subscription,
};
use polywire_core::{
    Address, AnyTransport, Capabilities, Code, Deadline, Error, ErrorKind, Fault, Limits, Memory,
    Message, Result, Transport, Window,
};
use serde::{Deserialize, Serialize};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, copy, sink,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

/// Bytes of a head, in which JSON makes six bytes of one at the worst.
const HEAD_MAX: usize = 512 << 10;
/// How long the hub may take to answer, and to read what was said before a goodbye.
const PATIENCE: Duration = Duration::from_secs(1);

struct Unix {
    hub: PathBuf,
    closing: watch::Sender<bool>,
}

impl Unix {
    async fn open(
        &self,
        kind: Kind,
        service: &Address,
        window: Window,
    ) -> Result<(Sender, Receiver)> {
        let hello = async {
            let mut stream = UnixStream::connect(&self.hub).await?;
            let message = Message::request(service.clone(), Deadline::after(PATIENCE));
            write(&mut stream, &Frame { kind, number: window.messages() as u64, message }).await?;
            if read(&mut stream).await?.kind == Kind::Opened {
                Ok(stream)
            } else {
                Err(InvalidData.into())
            }
        };
        let closing = self.closing.subscribe();
        if *closing.borrow() {
            return Err(closed());
        }
        let unreachable =
            |error: IoError| lost().with("hub", self.hub.display()).with_source(error).unsent();
        let hello = timeout(PATIENCE, hello).await.unwrap_or_else(|late| Err(late.into()));
        let stream = hello.map_err(unreachable)?;
        let ((say, said), (inbox, items)) = (unbounded_channel(), unbounded_channel());
        let link = Arc::new(Link {
            say,
            room: Arc::new(Semaphore::new(1024)),
            closing: self.closing.clone(),
        });
        tokio::spawn(keep(stream, Arc::downgrade(&link), closing, inbox, said));
        Ok((Sender::new(Outgoing(link.clone())), Receiver::new(Incoming { link, items })))
    }
}

impl Transport for Unix {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::least(Limits::default().body_max);
        (capabilities.settlement, capabilities.attempts, capabilities.unroutable_at_once) =
            (true, true, true);
        capabilities
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.open(Kind::Open(false), service, Window::default()).await
    }
    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.open(Kind::Open(true), service, window).await
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
        let _ = timeout(PATIENCE, self.closing.closed()).await;
        Ok(())
    }
}

/// An end at the hub, which its halves and its receipts hold. When the last of them is dropped, the
/// end is.
struct Link {
    /// Frames, and the room each takes: no more than `room` for messages, and the outcomes of what
    /// came.
    say: UnboundedSender<(Frame, Option<OwnedSemaphorePermit>)>,
    room: Arc<Semaphore>,
    closing: watch::Sender<bool>,
}

impl Link {
    /// If nobody hears it, the hub has taken back what was here.
    fn say(&self, kind: Kind, number: u64) {
        let _ = self.say.send((Frame { kind, number, message: Message::default() }, None));
    }
}

impl Settle for Link {
    fn settle(&self, tag: u64, outcome: Outcome) {
        self.say(Kind::Settle(outcome == Outcome::Requeue), tag);
    }
}

/// Carries what is said and what arrives, until the link is closed or dropped, or the hub is gone.
async fn keep(
    stream: UnixStream,
    link: Weak<Link>,
    mut closing: watch::Receiver<bool>,
    inbox: UnboundedSender<Result<Delivery>>,
    mut said: UnboundedReceiver<(Frame, Option<OwnedSemaphorePermit>)>,
) {
    let (mut from, mut to) = stream.into_split();
    let hearing = async {
        let hear = async {
            let (mut from, inbox) = (BufReader::new(&mut from), inbox);
            while let Ok(Frame { kind, number, message }) = read(&mut from).await {
                let refused =
                    Error::new(ErrorKind::Unroutable, "no server takes this call").unsent();
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
        };
        tokio::select! {
            () = hear => {}
            Ok(_) = closing.wait_for(|closing| *closing) => {}
        }
        if let Some(link) = link.upgrade() {
            link.room.close();
            link.say(Kind::Bye, 0);
        }
        // To the end: a socket that is closed with bytes unread takes with it what was written
        // last.
        copy(&mut from, &mut sink()).await
    };
    let speaking = async move {
        while let Some((frame, _room)) =
            said.recv().await.filter(|(frame, _)| frame.kind != Kind::Bye)
        {
            write(&mut to, &frame).await?;
        }
        to.shutdown().await
    };
    drop(tokio::join!(hearing, speaking));
}

struct Outgoing(Arc<Link>);

impl Outbound for Outgoing {
    fn send(&self, message: Message) -> Sending<'_> {
        Sending::later(async {
            check(&message)?;
            let over = || if *self.0.closing.borrow() { closed() } else { lost().unsent() };
            let room = self.0.room.clone().acquire_owned().await.map_err(|_| over())?;
            self.0
                .say
                .send((Frame { kind: Kind::Send, number: 0, message }, Some(room)))
                .map_err(|_| over())
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
        if *self.link.closing.borrow() { Poll::Ready(None) } else { self.items.poll_recv(cx) }
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

/// To open says whether to serve; to settle, whether to requeue; a request, which attempt it is.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Open(bool),
    Send,
    Settle(bool),
    Stop,
    Bye,
    Opened,
    Request(u32),
    Refused,
}

/// Kind, number, method and content type, id, reply address, milliseconds left, fault, headers.
type Head =
    (Kind, u64, Texts, Option<u64>, Option<Vec<u8>>, Option<u64>, Failed, Vec<(String, String)>);
type Texts = [Option<String>; 2];
type Failed = Option<(u8, String, String, Vec<u8>)>;

/// Refuses what the other side would not read.
fn check(message: &Message) -> Result<()> {
    let fault =
        message.fault.as_ref().map_or(0, |it| it.kind.len() + it.message.len() + it.details.len());
    if fault + message.content_type.as_ref().map_or(0, |format| format.len()) > HEAD_MAX / 8 {
        return Err(Error::new(ErrorKind::TooLarge, "the fault is larger than the limit").unsent());
    }
    Limits::default().check(message)
}

async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    Frame { kind, number, message }: &Frame,
) -> IoResult<()> {
    let head: Head = (
        *kind,
        *number,
        [
            message.method.as_ref().map(ToString::to_string),
            message.content_type.as_ref().map(ToString::to_string),
        ],
        message.id.map(|id| id.0),
        message.reply_to.as_ref().map(|reply_to| reply_to.as_bytes().to_vec()),
        message.deadline.map(Deadline::remaining_ms),
        message.fault.clone().map(|it| (it.code.as_u8(), it.kind, it.message, it.details.into())),
        message.headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    );
    let (head, mut to) = (serde_json::to_vec(&head)?, BufWriter::new(to));
    to.write_u64(head.len() as u64).await?;
    to.write_u64(message.body.len() as u64).await?;
    to.write_all(&head).await?;
    to.write_all(&message.body.clone().into_bytes()).await?;
    to.flush().await
}

async fn read(from: &mut (impl AsyncRead + Unpin)) -> IoResult<Frame> {
    let (head, body) = (from.read_u64().await?, from.read_u64().await?);
    if head > HEAD_MAX as u64 || body > Limits::default().body_max as u64 {
        return Err(InvalidData.into());
    }
    let head: Head = serde_json::from_slice(&read_sized(from, head).await?)?;
    let (kind, number, [method, content_type], id, reply_to, left_ms, fault, headers) = head;
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
async fn read_sized(from: &mut (impl AsyncRead + Unpin), size: u64) -> IoResult<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(size).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(UnexpectedEof.into()) }
}

/// The hub, until it is aborted, or out of handles.
async fn accept(listener: UnixListener) {
    let (memory, mut hosted) = (Memory::new(), JoinSet::new());
    while let Ok((stream, _)) = listener.accept().await {
        hosted.spawn(host(stream, memory.clone()));
        while hosted.try_join_next().is_some() {}
    }
}

/// Serves a connection until it ends. What it holds unsettled then goes to others, its receipts
/// being dropped.
async fn host(stream: UnixStream, memory: Memory) -> IoResult<()> {
    let (from, mut to) = stream.into_split();
    let mut from = BufReader::new(from);
    let Frame { kind, number, message } = timeout(PATIENCE, read(&mut from)).await??;
    let service = message.method.ok_or(InvalidData)?;
    let opened = match kind {
        Kind::Open(false) => memory.requester(&service).await,
        Kind::Open(true) => memory.responder(&service, Window::new(number as usize)).await,
        _ => return Err(InvalidData.into()),
    };
    let (sender, mut receiver) = opened.map_err(IoError::other)?;
    let (mut held, mut last) = (HashMap::new(), 0);
    // Keeps a frame that is read in part. While one is written none is read, which is well, as the
    // client always reads.
    let mut frames = pin!(unfold(from, async |mut from| Some((read(&mut from).await.ok()?, from))));
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
                        Kind::Settle(requeue) => drop(held.remove(&number).filter(|_| !requeue).map(Receipt::ack)),
                        Kind::Stop => receiver.stop(),
                        _ => return Err(InvalidData.into()),
                    }
                }
                Some(next) = receiver.next() => break match next {
                    Err(error) => refused(error.call()),
                    Ok(Delivery { message, receipt, attempt, .. }) if receipt.is_some() => {
                        last += 1;
                        held.insert(last, receipt);
                        Frame { kind: Kind::Request(attempt), number: last, message }
                    }
                    Ok(reply) => Frame { kind: Kind::Send, number: 0, message: reply.message },
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
        let name =
            format!("polywire-{}-{}", std::process::id(), LAST.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let no_place =
            |error: IoError| Error::new(ErrorKind::Config, "no place for a hub").with_source(error);
        let listener = UnixListener::bind(&path).map_err(no_place)?;
        Ok(Place(path, tokio::spawn(accept(listener)).abort_handle()))
    }
}

struct Place(PathBuf, AbortHandle);

impl Space for Place {
    async fn serving(&self) -> Result<AnyTransport> {
        Ok(AnyTransport::new(Unix { hub: self.0.clone(), closing: watch::Sender::new(false) }))
    }
    async fn calling(&self) -> Result<AnyTransport> {
        self.serving().await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.1.abort();
        let _ = std::fs::remove_file(&self.0);
    }
}
