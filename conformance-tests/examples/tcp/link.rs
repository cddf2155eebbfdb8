//! The client's side of a connection, and of those that replace it when it is lost.

use std::collections::HashMap;
use std::io::{Error as IoError, Result as IoResult};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use polywire_core::{Delivery, Error, ErrorKind, Outcome, Receipt, Result, Settle};
use tokio::io::{AsyncWriteExt, BufReader, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

use super::hub::lock;
use super::wire::{self, Frame, Open, Packet};

/// An end at the hub, over one connection at a time.
pub(crate) struct Link {
    hub: SocketAddr,
    /// What the end is, and is to be again over the next connection.
    pub(crate) open: Mutex<Open>,
    stopped: AtomicBool,
    session: Mutex<Option<Arc<Session>>>,
    closing: watch::Sender<bool>,
}

/// What arrived. Unbounded, because the hub keeps to the window, and a reply answers one of the calls in flight.
pub(crate) type Items = UnboundedReceiver<Result<Delivery>>;

/// How long opening may take, and a lost connection stays lost, and closing may take with a hub that is frozen.
const CONNECT_MAX: Duration = Duration::from_secs(2);
const RETRY: Duration = Duration::from_millis(50);
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// How many frames wait for their answers at once.
const UNANSWERED_MAX: usize = 1024;

impl Link {
    pub(crate) async fn open(hub: SocketAddr, open: Open) -> Result<(Arc<Self>, Items)> {
        let connection = connect(hub, &open).await?;
        let (arrived, items) = unbounded_channel();
        let (closing, closed) = watch::channel(false);
        let session = Mutex::new(None);
        let link =
            Arc::new(Self { hub, open: Mutex::new(open), stopped: AtomicBool::default(), session, closing });
        let connection = link.renew(connection);
        let kept = keep(Arc::downgrade(&link), connection, arrived, closed.clone());
        // It ends by itself when the end is gone, with its receipts, or a little after it is closed.
        tokio::spawn(async move {
            tokio::select! {
                () = kept => {}
                () = async { is_closing(closed).await; sleep(CLOSE_MAX).await } => {}
            }
        });
        Ok((link, items))
    }

    /// Says something, and waits for the answer. Dropping this leaves the answer to come for nobody.
    pub(crate) async fn ask(&self, frame: impl FnOnce(u64) -> Frame) -> Result<()> {
        let unsent = || self.broken().unsent();
        let session = lock(&self.session).clone().ok_or_else(unsent)?;
        let room = session.room.clone().acquire_owned().await.map_err(|_| unsent())?;
        let (answer, answered) = oneshot::channel();
        let number = session.last.fetch_add(1, Ordering::Relaxed) + 1;
        // Before it is said, so that the answer finds it, and so does the end of the connection.
        lock(&session.unanswered).insert(number, (answer, room));
        session.out.send(frame(number)).map_err(|_| unsent())?;
        answered.await.unwrap_or_else(|_| Err(self.broken()))
    }

    /// Takes no more in, over this connection and the next ones.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(session) = &*lock(&self.session) {
            // Over a connection that is lost, nothing comes in.
            let _ = session.out.send(Frame::Stop);
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closing.borrow()
    }

    /// Writes out what was said, and ends.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        self.closing.closed().await;
    }

    fn renew(&self, (session, connection): (Arc<Session>, Connection)) -> Connection {
        *lock(&self.session) = Some(session);
        if self.stopped.load(Ordering::Acquire) {
            self.stop();
        }
        connection
    }

    fn broken(&self) -> Error {
        if self.is_closed() { closed() } else { lost(self.hub) }
    }
}

/// One connection, which what came over it is settled over, or not at all: when it is lost, the hub has requeued it.
struct Session {
    /// Unbounded, because it holds no more than unanswered frames, and outcomes of what came.
    out: UnboundedSender<Frame>,
    unanswered: Mutex<HashMap<u64, Asked>>,
    room: Arc<Semaphore>,
    last: AtomicU64,
}

/// Whoever waits for an answer, and its place among them.
type Asked = (oneshot::Sender<Result<()>>, OwnedSemaphorePermit);

impl Settle for Session {
    fn settle(&self, tag: u64, outcome: Outcome) {
        // As above, if the connection is lost.
        let _ = self.out.send(Frame::Settle(tag, format!("{outcome:?}")));
    }
}

struct Connection {
    from: BufReader<OwnedReadHalf>,
    to: BufWriter<OwnedWriteHalf>,
    said: UnboundedReceiver<Frame>,
    session: Weak<Session>,
}

async fn connect(hub: SocketAddr, open: &Open) -> Result<(Arc<Session>, Connection)> {
    let hello = async {
        let stream = TcpStream::connect(hub).await?;
        stream.set_nodelay(true)?;
        let (from, to) = stream.into_split();
        let (mut from, mut to) = (BufReader::new(from), BufWriter::new(to));
        wire::write(&mut to, &Frame::Open(open.clone())).await?;
        to.flush().await?;
        Ok((wire::read(&mut from).await?, from, to))
    };
    let unreachable = |error: IoError| lost(hub).with_source(error).unsent();
    let hello = timeout(CONNECT_MAX, hello).await.map_err(|late| unreachable(late.into()))?;
    let (answer, from, to) = hello.map_err(unreachable)?;
    let Frame::Done(_, opened) = answer else { return Err(unreachable(IoError::other("not a hub"))) };
    opened?;
    let (out, said) = unbounded_channel();
    let room = Arc::new(Semaphore::new(UNANSWERED_MAX));
    let session = Arc::new(Session { out, unanswered: Mutex::default(), room, last: AtomicU64::new(0) });
    let connection = Connection { from, to, said, session: Arc::downgrade(&session) };
    Ok((session, connection))
}

/// Keeps a link connected until nobody needs it any more.
async fn keep(
    link: Weak<Link>,
    mut connection: Connection,
    arrived: UnboundedSender<Result<Delivery>>,
    closing: watch::Receiver<bool>,
) {
    while connection.run(&arrived, closing.clone()).await.is_err() {
        connection = loop {
            let Some(link) = link.upgrade() else { return };
            let open = lock(&link.open).clone();
            if matches!(open, Open::Requester(_)) {
                // The replies to what is in flight go to an end that is no more. If nobody listens, nobody calls.
                let _ = arrived.send(Err(lost(link.hub)));
            }
            if let Ok(connected) = connect(link.hub, &open).await {
                break link.renew(connected);
            }
            sleep(RETRY).await;
        };
    }
}

impl Connection {
    /// Goes on until the connection is lost, which is an error, or is needed no more.
    async fn run(
        self,
        arrived: &UnboundedSender<Result<Delivery>>,
        closing: watch::Receiver<bool>,
    ) -> IoResult<()> {
        let Self { from, to, said, session } = self;
        let mut reading = pin!(read(from, &session, arrived));
        let ended = tokio::select! {
            lost = &mut reading => lost,
            written = write(to, said, closing) => written,
        };
        if ended.is_ok() {
            // To the end: if bytes are left unread, the socket is reset, and what was written last is gone with it.
            let _ = timeout(CLOSE_MAX, reading).await;
        }
        // Nothing can be said any more, so this is all of it.
        if let Some(session) = session.upgrade() {
            lock(&session.unanswered).clear();
        }
        ended
    }
}

async fn read(
    mut from: BufReader<OwnedReadHalf>,
    session: &Weak<Session>,
    arrived: &UnboundedSender<Result<Delivery>>,
) -> IoResult<()> {
    loop {
        let frame = wire::read(&mut from).await?;
        let Some(session) = session.upgrade() else { continue };
        // What nobody listens for any more is dropped, and its receipt sends it back.
        let _ = match frame {
            Frame::Done(number, done) => {
                let unanswered = lock(&session.unanswered).remove(&number);
                // Whoever asked may have stopped caring.
                let _ = unanswered.map(|(answer, _)| answer.send(done.map_err(Into::into)));
                continue;
            }
            Frame::Deliver(tag, attempt, Packet(message)) => {
                let receipt = tag.map_or_else(Receipt::none, |tag| Receipt::new(session, tag));
                arrived.send(Ok(Delivery::new(message, receipt).attempt(attempt)))
            }
            Frame::Failed(failure) => arrived.send(Err(failure.into())),
            _ => return Err(IoError::other("a frame that makes no sense here")),
        };
    }
}

async fn write(
    mut to: BufWriter<OwnedWriteHalf>,
    mut said: UnboundedReceiver<Frame>,
    closing: watch::Receiver<bool>,
) -> IoResult<()> {
    let mut closing = pin!(is_closing(closing));
    loop {
        let frame = tokio::select! {
            frame = said.recv() => frame,
            () = &mut closing, if !said.is_closed() => {
                said.close();
                continue;
            }
        };
        let Some(frame) = frame else { return to.shutdown().await };
        wire::write(&mut to, &frame).await?;
        if said.is_empty() {
            to.flush().await?;
        }
    }
}

/// Ends when the link is closed, and never if it is dropped without: its receipts may live on.
async fn is_closing(mut closing: watch::Receiver<bool>) {
    if closing.wait_for(|closing| *closing).await.is_err() {
        std::future::pending::<()>().await;
    }
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the transport is closed")
}

fn lost(hub: SocketAddr) -> Error {
    Error::new(ErrorKind::Disconnected, "there is no connection to the hub").with("hub", hub)
}
