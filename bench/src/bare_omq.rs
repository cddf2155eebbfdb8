//! The ZeroMQ engine alone: DEALER and ROUTER, and a call id before the body.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use omq_tokio::{Message, Options, Socket, SocketType, TrySendError};

use crate::load::{Echo, Figures, Load, observe};
use crate::waiting_calls::WaitingCalls;

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
///
/// The engine connects again to a lost server, and calls in flight by then have no reply.
#[derive(Clone)]
pub(crate) struct OmqCaller {
    dealer: Arc<Socket>,
    waiting: Arc<WaitingCalls<Bytes>>,
}

impl OmqCaller {
    /// Connects, and waits up to five seconds for the handshake.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let (dealer, waiting) = (Arc::new(connect(url).await?), WaitingCalls::new());
        waiting.spawn(read_all(dealer.clone(), waiting.clone()));
        Ok(Self { dealer, waiting })
    }
}

impl Echo for OmqCaller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let (id, reply) = self.waiting.begin()?;
        send(&self.dealer, request(id, &body)).await?;
        reply.await.context("the socket has ended")
    }
}

/// Hands each reply to the call of its id, until a reply is malformed.
async fn read_all(dealer: Arc<Socket>, waiting: Arc<WaitingCalls<Bytes>>) -> Result<()> {
    let mut batch = Vec::with_capacity(256);
    loop {
        dealer.recv_many_into(256, &mut batch).await?;
        for reply in batch.drain(..) {
            let (id, body) = read(reply)?;
            waiting.complete(id, body);
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

/// Splits a reply into the call id and the body.
fn read(mut reply: Message) -> Result<(u64, Bytes)> {
    let frame = reply.pop_front().context("the reply has no frame")?;
    let id = *frame.first_chunk().context("the reply has no call id")?;
    Ok((u64::from_be_bytes(id), frame.slice(8..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_without_a_call_id_is_an_error() -> Result<()> {
        let (id, body) = read(request(7, b"body"))?;
        assert_eq!((id, &*body), (7, &b"body"[..]));
        for short in [&b""[..], b"1234567"] {
            read(Message::single(Bytes::from_static(short))).unwrap_err();
        }
        Ok(())
    }
}
