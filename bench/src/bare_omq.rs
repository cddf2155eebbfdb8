//! The ZeroMQ engine alone: DEALER and ROUTER, and a call id before the body.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use omq_tokio::{Message, Options, Socket, SocketType, TrySendError};
use tokio::sync::oneshot;

use crate::load::{Echo, Figures, Load, observe};

/// Binds to a free port, prints the endpoint, and echoes requests.
pub(crate) async fn serve() -> Result<()> {
    let router = Socket::try_new(SocketType::Router, options())?;
    println!("{}", router.bind("tcp://127.0.0.1:0").await?);
    std::io::stdout().flush()?;
    tokio::spawn(answer_all(router)).await?
}

/// Echoes each request to its sender, up to 256 of them at once. Waits for a sender whose queue is
/// full.
async fn answer_all(router: Socket) -> Result<()> {
    let mut batch = Vec::with_capacity(256);
    loop {
        router.recv_many_into(256, &mut batch).await?;
        for mut request in batch.drain(..) {
            let caller = request.pop_identity().context("the request has no routing id")?;
            match router.try_send_to(&caller, request) {
                Err(TrySendError::Full(reply)) => router.send_to(&caller, reply).await?,
                Err(TrySendError::Error(error)) => return Err(error.into()),
                _ => {}
            }
        }
    }
}

/// Keeps requests in flight from one task, without waiting for a particular reply.
///
/// Each reply is followed by a new request. There are no latencies, since no time of a request is
/// kept. Fails if the loop has ended before the measurement has.
pub(crate) async fn flood(url: &str, load: Load, duration: Duration) -> Result<Figures> {
    let (dealer, sent) = (connect(url).await?, load.body());
    let done = Arc::new(AtomicU64::new(0));
    let counter = done.clone();
    let flooding = tokio::spawn(async move {
        for id in 0..load.in_flight {
            send(&dealer, request(id as u64, &sent)).await?;
        }
        let mut batch = Vec::with_capacity(256);
        loop {
            dealer.recv_many_into(256, &mut batch).await?;
            for reply in batch.drain(..) {
                let (id, body) = read(reply)?;
                anyhow::ensure!(body == sent, "the reply is not the body of the call");
                counter.fetch_add(1, Ordering::Relaxed);
                send(&dealer, request(id, &sent)).await?;
            }
        }
        #[allow(unreachable_code)]
        Ok::<(), anyhow::Error>(())
    });
    let figures = observe(duration, || done.load(Ordering::Relaxed)).await;
    anyhow::ensure!(!flooding.is_finished(), "the loop has ended");
    flooding.abort();
    Ok(figures)
}

/// The minimal caller: a call id, a table of waiting calls, a wake-up.
#[derive(Clone)]
pub(crate) struct OmqCaller(Arc<Inner>);

/// Shared part of a caller. Callers fill `waiting` and the reader empties it, under a lock that is
/// never held across an await.
struct Inner {
    dealer: Socket,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
    last: AtomicU64,
}

impl OmqCaller {
    /// Connects, and waits up to five seconds for the handshake.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let inner = Arc::new(Inner {
            dealer: connect(url).await?,
            waiting: Mutex::default(),
            last: AtomicU64::new(0),
        });
        tokio::spawn(inner.clone().read_all());
        Ok(Self(inner))
    }
}

impl Echo for OmqCaller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let id = self.0.last.fetch_add(1, Ordering::Relaxed);
        let (answer, reply) = oneshot::channel();
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
        send(&self.0.dealer, request(id, &body)).await?;
        Ok(reply.await?)
    }
}

impl Inner {
    /// Hands each reply to the call of its id, without an end of its own.
    async fn read_all(self: Arc<Self>) -> Result<()> {
        let mut batch = Vec::with_capacity(256);
        loop {
            self.dealer.recv_many_into(256, &mut batch).await?;
            for reply in batch.drain(..) {
                let (id, body) = read(reply)?;
                let waiting =
                    self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                if let Some(answer) = waiting {
                    // The caller may have been dropped.
                    let _ = answer.send(body);
                }
            }
        }
    }
}

/// Connects a DEALER, and waits up to five seconds for the handshake of ZMTP.
async fn connect(url: &str) -> Result<Socket> {
    let dealer = Socket::try_new(SocketType::Dealer, options())?;
    dealer.connect(url).await?;
    dealer.wait_connected(1, Duration::from_secs(5)).await?;
    Ok(dealer)
}

/// Returns the options of both sockets: a message to an unknown peer is an error, and closing waits
/// up to a second for unsent messages.
fn options() -> Options {
    Options::default().router_mandatory(true).linger(Duration::from_secs(1))
}

/// Sends at once where the queue has room, and waits for room otherwise.
async fn send(dealer: &Socket, request: Message) -> Result<()> {
    match dealer.try_send(request) {
        Ok(()) => Ok(()),
        Err(TrySendError::Full(request)) => Ok(dealer.send(request).await?),
        Err(error) => anyhow::bail!("cannot send a request: {error}"),
    }
}

/// Returns a message of one frame: the call id, big-endian, and the body.
fn request(id: u64, body: &[u8]) -> Message {
    let mut frame = BytesMut::with_capacity(8 + body.len());
    frame.put_u64(id);
    frame.put_slice(body);
    Message::single(frame.freeze())
}

/// Splits a reply into the call id and the body. Panics for a frame of less than 8 bytes.
fn read(mut reply: Message) -> Result<(u64, Bytes)> {
    let mut frame = reply.pop_front().context("the reply has no frame")?;
    let body = frame.split_off(8);
    let id = frame.as_ref().try_into().context("the reply has no call id")?;
    Ok((u64::from_be_bytes(id), body))
}
