//! The client's side of a connection, and of those that replace it when it is lost.

use std::collections::VecDeque;
use std::io::{Error as IoError, Result as IoResult};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use polywire_core::transport::{Delivery, Outcome, Receipt, Settle};
use polywire_core::{Error, ErrorKind, Result};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::hub::lock;
use super::wire::{self, Frame, Open, Packet, Role, nonsense};

/// An end at the hub. Everything that belongs to the end holds it, receipts included; when it is
/// dropped, the end is.
pub(crate) struct Link {
    /// Unbounded, because it holds no more than `room` for questions, and the outcomes of what
    /// came.
    say: UnboundedSender<Said>,
    room: Arc<Semaphore>,
    closing: watch::Sender<bool>,
}

/// A frame, and who waits for its answer.
type Said = (Frame, Option<Asker>);
type Asker = (oneshot::Sender<Result<()>>, OwnedSemaphorePermit);

/// What arrived. Unbounded, because the hub keeps to the window, and a reply answers one of the
/// calls in flight.
pub(crate) type Items = UnboundedReceiver<Result<Delivery>>;

const CONNECT_MAX: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(50);
const CLOSE_MAX: Duration = Duration::from_secs(1);
const UNANSWERED_MAX: usize = 1024;

impl Link {
    pub(crate) async fn open(hub: SocketAddr, open: Open) -> Result<(Arc<Self>, Items)> {
        let stream = connect(hub, &open).await?;
        let (say, said) = unbounded_channel();
        let (arrived, items) = unbounded_channel();
        let (closing, closed) = watch::channel(false);
        let link = Arc::new(Self { say, room: Arc::new(Semaphore::new(UNANSWERED_MAX)), closing });
        let keeper = Keeper {
            hub,
            open,
            said,
            arrived,
            link: Arc::downgrade(&link),
            closing: closed.clone(),
        };
        // It ends by itself when the link is dropped; or when it is closed, even if the hub is
        // frozen.
        tokio::spawn(async move {
            let late = async {
                is_closing(closed).await;
                sleep(CLOSE_MAX).await;
            };
            tokio::select! {
                () = keeper.keep(stream) => {}
                () = late => {}
            }
        });
        Ok((link, items))
    }

    /// Says something, and waits for the answer. Dropped, it leaves the answer to come for nobody.
    pub(crate) async fn ask(&self, frame: Frame) -> Result<()> {
        let room = self.room.clone().acquire_owned().await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        self.say.send((frame, Some((answer, room)))).map_err(|_| closed().unsent())?;
        answered.await.unwrap_or_else(|_| Err(if self.is_closed() { closed() } else { lost() }))
    }

    /// Takes no more in.
    pub(crate) fn stop(&self) {
        // If it is closed, nothing comes in anyway.
        let _ = self.say.send((Frame::Stop, None));
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closing.borrow()
    }

    /// Lets what was said be written, and ends.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        self.closing.closed().await;
    }
}

impl Settle for Link {
    fn settle(&self, tag: u64, outcome: Outcome) {
        // If it is closed, the hub requeues by itself.
        let _ = self.say.send((Frame::Settle(tag, format!("{outcome:?}")), None));
    }
}

/// Keeps a link connected.
struct Keeper {
    hub: SocketAddr,
    /// What the end is, and is to be again over the next connection.
    open: Open,
    said: UnboundedReceiver<Said>,
    arrived: UnboundedSender<Result<Delivery>>,
    link: Weak<Link>,
    closing: watch::Receiver<bool>,
}

async fn connect(hub: SocketAddr, open: &Open) -> Result<TcpStream> {
    let hello = async {
        let mut stream = TcpStream::connect(hub).await?;
        stream.set_nodelay(true)?;
        wire::write(&mut stream, &Frame::Open(open.clone())).await?;
        let Frame::Done(done) = wire::read(&mut stream).await? else { return Err(nonsense()) };
        Ok((done, stream))
    };
    let unreachable = |error: IoError| lost().with("hub", hub).with_source(error).unsent();
    let hello = timeout(CONNECT_MAX, hello).await.map_err(|late| unreachable(late.into()))?;
    let (done, stream) = hello.map_err(unreachable)?;
    Ok(done.map(|()| stream)?)
}

impl Keeper {
    async fn keep(mut self, mut stream: TcpStream) {
        while self.run(stream).await.is_err() {
            if self.open.role == Role::Requester {
                // The replies to what is in flight go to an end that is no more. Who does not
                // listen does not call.
                let _ = self.arrived.send(Err(lost()));
            }
            stream = loop {
                match connect(self.hub, &self.open).await {
                    Ok(stream) => break stream,
                    Err(_) if self.link.strong_count() == 0 => return,
                    Err(_) => sleep(RETRY).await,
                }
            };
        }
    }

    /// Goes on until the connection is lost, which is an error, or is needed no more.
    async fn run(&mut self, mut stream: TcpStream) -> IoResult<()> {
        let (from, to) = stream.split();
        let asked = Mutex::default();
        let mut reading = pin!(read(BufReader::new(from), &self.link, &self.arrived, &asked));
        tokio::select! {
            lost = &mut reading => return lost,
            written = write(BufWriter::new(to), &mut self.said, &mut self.open, &asked, self.closing.clone()) => written?,
        }
        // To the end: if bytes are left unread, the socket is reset, and what was written last is
        // gone with it.
        let _ = timeout(CLOSE_MAX, reading).await;
        Ok(())
    }
}

/// Those who wait for an answer, in the order of their questions.
type Asked = Mutex<VecDeque<Asker>>;

async fn read(
    mut from: impl AsyncRead + Unpin,
    link: &Weak<Link>,
    arrived: &UnboundedSender<Result<Delivery>>,
    asked: &Asked,
) -> IoResult<()> {
    loop {
        let item = match wire::read(&mut from).await? {
            Frame::Done(done) => {
                let (answer, _room) = lock(asked).pop_front().ok_or_else(nonsense)?;
                // Whoever asked may have stopped caring.
                let _ = answer.send(done.map_err(Into::into));
                continue;
            }
            Frame::Deliver(tag, attempt, Packet(message)) => {
                let receipt = match (tag, link.upgrade()) {
                    (Some(tag), Some(link)) => Receipt::new(link, tag),
                    _ => Receipt::none(),
                };
                Ok(Delivery::new(message, receipt).attempt(attempt))
            }
            Frame::Failed(failure) => Err(failure.into()),
            _ => return Err(nonsense()),
        };
        // What nobody listens for any more is dropped here, and its receipt sends it back.
        let _ = arrived.send(item);
    }
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    said: &mut UnboundedReceiver<Said>,
    open: &mut Open,
    asked: &Asked,
    closing: watch::Receiver<bool>,
) -> IoResult<()> {
    let mut closing = pin!(is_closing(closing));
    loop {
        let next = tokio::select! {
            next = said.recv() => next,
            () = &mut closing, if !said.is_closed() => {
                said.close();
                continue;
            }
        };
        let Some((frame, asker)) = next else { return to.shutdown().await };
        // Given up while there was no connection: it would come as a surprise now.
        let given_up = asker.as_ref().is_some_and(|(answer, _)| answer.is_closed());
        if !given_up {
            open.note(&frame);
            // Before it is written, so that the answer finds it.
            lock(asked).extend(asker);
            wire::write(&mut to, &frame).await?;
        }
        if said.is_empty() {
            to.flush().await?;
        }
    }
}

/// Ends when the link is closed, and never if it is dropped.
async fn is_closing(mut closing: watch::Receiver<bool>) {
    if closing.wait_for(|closing| *closing).await.is_err() {
        std::future::pending::<()>().await;
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the transport is closed")
}

fn lost() -> Error {
    Error::new(ErrorKind::Disconnected, "the connection to the hub was lost")
}
