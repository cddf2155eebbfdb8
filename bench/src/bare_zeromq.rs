//! The other ZeroMQ engine alone, the crate `zeromq`: DEALER and ROUTER, and a call id before the
//! body.
//!
//! A socket of this crate sends and receives by `&mut`. So one task sends for all callers, and
//! another one reads the replies.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;
use zeromq::{
    DealerRecvHalf, DealerSendHalf, DealerSocket, RouterSocket, Socket, SocketRecv, SocketSend,
    ZmqMessage,
};

use crate::echo::Echo;
use crate::waiting_calls::WaitingCalls;

/// Requests that may wait for the sending task.
///
/// Further callers wait. The task sends up to as many in a row.
const WAITING_MAX: usize = 1024;

/// Binds to a free port, prints the endpoint, and echoes requests. With `holds`, answers none.
///
/// Returns only by an error.
pub(crate) async fn serve(holds: bool) -> Result<()> {
    let mut router = RouterSocket::new();
    println!("{}", router.bind("tcp://127.0.0.1:0").await?);
    std::io::stdout().flush()?;
    tokio::spawn(answer_all(router, holds)).await?
}

/// Echoes each request to its sender.
///
/// The frames of a request begin with the identity of the sender, and so do those of a reply. A
/// reply to a caller that has disconnected is dropped.
async fn answer_all(mut router: RouterSocket, holds: bool) -> Result<()> {
    let mut held = Vec::new();
    loop {
        let request = router.recv().await?;
        match holds {
            true => held.push(request),
            false => {
                // The server outlives its last caller.
                let _ = router.send(request).await;
            }
        }
    }
}

/// A caller: a call id, a table of waiting calls, a wake-up.
#[derive(Clone)]
pub(crate) struct ZeromqCaller {
    /// Requests for the sending task. A full queue makes the callers wait.
    requests: mpsc::Sender<ZmqMessage>,
    waiting: Arc<WaitingCalls<Bytes>>,
}

impl ZeromqCaller {
    /// Connects, and starts both tasks.
    pub(crate) async fn connect(url: &str) -> Result<Self> {
        let mut dealer = DealerSocket::new();
        dealer.connect(url).await?;
        let (sender, receiver) = dealer.split();
        let (requests, to_send) = mpsc::channel(WAITING_MAX);
        let waiting = WaitingCalls::new();
        waiting.spawn(send_all(sender, to_send));
        waiting.spawn(read_all(receiver, waiting.clone()));
        Ok(Self { requests, waiting })
    }
}

impl Echo for ZeromqCaller {
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let (id, reply) = self.waiting.begin()?;
        self.requests.send(request(id, &body)).await.ok().context("the socket has ended")?;
        reply.await.context("the socket has ended")
    }
}

/// Sends the requests of all callers, until the last clone of the caller is dropped.
async fn send_all(
    mut dealer: DealerSendHalf,
    mut requests: mpsc::Receiver<ZmqMessage>,
) -> Result<()> {
    let mut batch = Vec::with_capacity(WAITING_MAX);
    while requests.recv_many(&mut batch, WAITING_MAX).await > 0 {
        for request in batch.drain(..) {
            dealer.send(request).await?;
        }
    }
    Ok(())
}

/// Hands each reply to the call of its id, until a reply is malformed. Never returns `Ok`.
async fn read_all(mut dealer: DealerRecvHalf, waiting: Arc<WaitingCalls<Bytes>>) -> Result<()> {
    loop {
        let (id, body) = read(&dealer.recv().await?)?;
        waiting.complete(id, body);
    }
}

/// Returns a message of one frame: the call id, big-endian, and the body.
fn request(id: u64, body: &[u8]) -> ZmqMessage {
    let mut frame = BytesMut::with_capacity(8 + body.len());
    frame.put_u64(id);
    frame.put_slice(body);
    frame.freeze().into()
}

/// Splits a reply into the call id and the body, which shares the memory of the frame.
///
/// Fails for a frame under eight bytes.
fn read(reply: &ZmqMessage) -> Result<(u64, Bytes)> {
    let frame = reply.get(0).context("the reply has no frame")?;
    let id = *frame.first_chunk().context("the reply has no call id")?;
    Ok((u64::from_be_bytes(id), frame.slice(8..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_without_a_call_id_is_an_error() -> Result<()> {
        let (id, body) = read(&request(7, b"body"))?;
        assert_eq!((id, &*body), (7, &b"body"[..]));
        read(&Bytes::from_static(b"1234567").into()).unwrap_err();
        Ok(())
    }
}
