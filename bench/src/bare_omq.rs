//! The ZeroMQ engine alone: DEALER and ROUTER, and a call id before the body.
//!
//! Both socket types are those of RFC 28: <https://rfc.zeromq.org/spec/28>. The queues have the
//! default high-water marks of the engine. A large body is a frame of its own, and is not copied.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use omq_tokio::{Error, Message, Options, Socket, SocketType, TrySendError};

use crate::echo::{Echo, body};
use crate::figures::Figures;
use crate::observed::observe;
use crate::omq_setup::OmqSetup;
use crate::trial::Order;
use crate::waiting_calls::WaitingCalls;

/// The largest body that is copied behind the call id, in bytes. A larger one is the second frame.
const COPIED_MAX: usize = 4096;

/// Binds to a free port, prints the endpoint, and echoes requests. With `holds`, answers none.
///
/// Returns only by an error.
pub(crate) async fn serve(setup: OmqSetup, holds: bool) -> Result<()> {
    let router = setup.open(SocketType::Router, options())?;
    println!("{}", router.bind("tcp://127.0.0.1:0").await?);
    std::io::stdout().flush()?;
    match holds {
        true => tokio::spawn(hold_all(router)).await?,
        false => tokio::spawn(answer_all(router)).await?,
    }
}

/// Keeps all requests, and answers none.
///
/// The requests leave the queue of the socket, so callers can send on. Memory grows with each
/// request.
async fn hold_all(router: Socket) -> Result<()> {
    let (mut held, mut batch) = (Vec::new(), Vec::with_capacity(256));
    loop {
        router.recv_many_into(256, &mut batch).await?;
        held.append(&mut batch);
    }
}

/// Echoes each request to its sender, up to 256 of them at once. Waits for a sender whose queue is
/// full.
///
/// Other senders wait meanwhile.
async fn answer_all(router: Socket) -> Result<()> {
    let mut batch = Vec::with_capacity(256);
    loop {
        router.recv_many_into(256, &mut batch).await?;
        for mut request in batch.drain(..) {
            let caller = request.pop_identity().context("the request has no routing id")?;
            answer(&router, caller.as_ref(), request).await?;
        }
    }
}

/// Sends a reply. A reply to a caller that has disconnected is dropped.
///
/// So the server outlives its last caller: the figures of its process are read after that.
async fn answer(router: &Socket, caller: &[u8], reply: Message) -> Result<()> {
    let sent = match router.try_send_to(caller, reply) {
        Err(TrySendError::Full(reply)) => router.send_to(caller, reply).await,
        Err(TrySendError::Error(error)) => Err(error),
        Ok(()) | Err(TrySendError::Closed) => Ok(()),
    };
    match sent {
        Err(Error::Unroutable) => Ok(()),
        sent => Ok(sent?),
    }
}

/// Keeps requests in flight from one task, without waiting for a particular reply.
///
/// Each reply is followed by a new request. There are no latencies, since no time of a request is
/// kept. Fails if the loop has ended before the measurement has.
///
/// Requests beyond the high-water marks wait here, and the replies are read meanwhile. Otherwise
/// both sides would wait for room, and none would read.
///
/// The loop is aborted at the end, with its requests in flight. Dropping the future leaves the loop
/// running until the runtime ends.
pub(crate) async fn flood(url: &str, order: &Order) -> Result<Figures> {
    let dealer = connect(OmqSetup::Shared, url).await?;
    let (sent, in_flight) = (body(order.trial.body), order.trial.number);
    let done = Arc::new(AtomicU64::new(0));
    let counter = done.clone();
    let flooding = tokio::spawn(async move {
        // Ids of requests that are not in flight. There are as many ids as `in_flight`.
        let mut unsent: Vec<_> = (0..in_flight as u64).collect();
        let mut batch = Vec::with_capacity(256);
        loop {
            while let Some(id) = unsent.pop() {
                match dealer.try_send(request(id, sent.clone())) {
                    Ok(()) => {}
                    Err(TrySendError::Full(_)) if unsent.len() + 1 < in_flight => {
                        unsent.push(id);
                        break;
                    }
                    // No request is in flight, so no reply would come.
                    Err(TrySendError::Full(request)) => dealer.send(request).await?,
                    Err(error) => anyhow::bail!("cannot send a request: {error}"),
                }
            }
            dealer.recv_many_into(256, &mut batch).await?;
            for reply in batch.drain(..) {
                let (id, body) = read(reply)?;
                anyhow::ensure!(body == sent, "the reply is not the body of the call");
                counter.fetch_add(1, Ordering::Relaxed);
                unsent.push(id);
            }
        }
        #[allow(unreachable_code)]
        Ok::<(), anyhow::Error>(())
    });
    let figures = observe(order, || {}, || done.load(Ordering::Relaxed)).await;
    anyhow::ensure!(!flooding.is_finished(), "the loop has ended");
    flooding.abort();
    figures
}

/// The minimal caller: a call id, a table of waiting calls, a wake-up.
///
/// The engine connects again to a lost server, and calls in flight by then have no reply.
///
/// The task that reads the replies shares the socket and the table, so dropping all clones does not
/// close the socket.
#[derive(Clone)]
pub(crate) struct OmqCaller {
    dealer: Arc<Socket>,
    waiting: Arc<WaitingCalls<Bytes>>,
}

impl OmqCaller {
    /// Connects, waits up to five seconds for the handshake, and starts the reading task.
    pub(crate) async fn connect(setup: OmqSetup, url: &str) -> Result<Self> {
        let (dealer, waiting) = (Arc::new(connect(setup, url).await?), WaitingCalls::new());
        waiting.spawn(read_all(dealer.clone(), waiting.clone()));
        Ok(Self { dealer, waiting })
    }
}

impl Echo for OmqCaller {
    /// If the future is dropped while the socket has no room, its entry in the table stays until
    /// the reading task ends.
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let (id, reply) = self.waiting.begin()?;
        send(&self.dealer, request(id, body)).await?;
        reply.await.context("the socket has ended")
    }
}

/// Hands each reply to the call of its id, until a reply is malformed.
///
/// Never returns `Ok`.
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
///
/// Fails if the handshake is not done by then.
async fn connect(setup: OmqSetup, url: &str) -> Result<Socket> {
    let dealer = setup.open(SocketType::Dealer, options())?;
    dealer.connect(url).await?;
    dealer.wait_connected(1, Duration::from_secs(5)).await?;
    Ok(dealer)
}

/// Returns the options of both sockets: a message to an unknown peer is an error, and closing waits
/// up to a second for unsent messages.
fn options() -> Options {
    Options::default().router_mandatory(true).linger(Duration::from_secs(1))
}

/// Sends at once where the queue has room, and waits for room otherwise. The wait has no limit.
async fn send(dealer: &Socket, request: Message) -> Result<()> {
    match dealer.try_send(request) {
        Ok(()) => Ok(()),
        Err(TrySendError::Full(request)) => Ok(dealer.send(request).await?),
        Err(error) => anyhow::bail!("cannot send a request: {error}"),
    }
}

/// Returns a message of the call id, big-endian, and the body: in one frame, or in two frames for a
/// large body.
fn request(id: u64, body: Bytes) -> Message {
    if body.len() > COPIED_MAX {
        return Message::multipart([Bytes::copy_from_slice(&id.to_be_bytes()), body]);
    }
    let mut frame = BytesMut::with_capacity(8 + body.len());
    frame.put_u64(id);
    frame.put_slice(&body);
    Message::single(frame.freeze())
}

/// Splits a reply into the call id and the body.
///
/// The body shares the memory of its frame. Fails for a first frame under eight bytes.
fn read(mut reply: Message) -> Result<(u64, Bytes)> {
    let frame = reply.pop_front().context("the reply has no frame")?;
    let id = *frame.first_chunk().context("the reply has no call id")?;
    let body = reply.pop_front().unwrap_or_else(|| frame.slice(8..));
    Ok((u64::from_be_bytes(id), body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::{Kind, Trial};

    #[test]
    fn reply_without_a_call_id_is_an_error() -> Result<()> {
        let (id, body) = read(request(7, Bytes::from_static(b"body")))?;
        assert_eq!((id, &*body), (7, &b"body"[..]));
        let large = Bytes::from(vec![7; COPIED_MAX + 1]);
        assert_eq!(read(request(8, large.clone()))?, (8, large));
        for short in [&b""[..], b"1234567"] {
            read(Message::single(Bytes::from_static(short))).unwrap_err();
        }
        Ok(())
    }

    #[tokio::test]
    async fn reply_to_a_caller_that_has_disconnected_is_dropped() -> Result<()> {
        let router = Socket::try_new(SocketType::Router, options())?;
        router.bind("tcp://127.0.0.1:0").await?;
        answer(&router, b"gone", request(1, Bytes::from_static(b"body"))).await
    }

    /// 80 MB in flight exceed the queues and the buffers of both sides together.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn more_requests_in_flight_than_the_queues_hold_are_answered() -> Result<()> {
        let router = Socket::try_new(SocketType::Router, options())?;
        let url = router.bind("tcp://127.0.0.1:0").await?.to_string();
        let serving = tokio::spawn(answer_all(router));
        let order = Order {
            trial: Trial { kind: Kind::Calls, body: 8 << 10, number: 10_000 },
            rate: 0,
            warm_up: Duration::from_millis(500),
            duration: Duration::from_millis(500),
            server: std::process::id(),
        };
        let figures = flood(&url, &order).await?;
        assert!(!serving.is_finished(), "{figures:?}");
        Ok(())
    }
}
