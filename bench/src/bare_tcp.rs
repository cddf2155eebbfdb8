//! TCP by hand: what a caller of one server would write without a library. A frame is its length
//! and a call id, both big-endian, and the body.
//!
//! Frames that wait are written together, on both sides.
//!
//! The length is that of the body alone, without the call id.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::echo::Echo;
use crate::waiting_calls::WaitingCalls;

/// The bytes before a body: its length and the call id.
const HEAD: usize = 4 + 8;
/// The largest body, in bytes.
const BODY_MAX: usize = 16 << 20;
/// Frames that may wait for the writer.
///
/// Further callers wait. The writer takes up to as many at once.
const WAITING_MAX: usize = 1024;

/// Listens on a free port, prints it, and echoes. With `holds`, answers nothing.
///
/// Each connection has a task of its own, and an error in a connection ends that connection alone.
/// Returns only if a connection cannot be accepted or configured.
pub(crate) async fn serve(holds: bool) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(answer_all(stream, holds));
    }
}

/// Echoes the frames of a connection until its end. The answers to all frames that one read
/// completes are written at once.
///
/// The task reads nothing while it writes. So a peer that reads no answers is not served.
///
/// With `holds`, the frames are kept until the connection ends.
async fn answer_all(stream: TcpStream, holds: bool) -> Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let (mut read, mut answers, mut held) = (BytesMut::new(), BytesMut::new(), Vec::new());
    while reader.read_buf(&mut read).await? > 0 {
        while let Some((id, body)) = next_frame(&mut read)? {
            match holds {
                true => held.push((id, body)),
                false => put_frame(&mut answers, id, &body),
            }
        }
        writer.write_all_buf(&mut answers).await?;
    }
    Ok(())
}

/// Takes a whole frame out of the buffer.
///
/// Returns `None` while the frame is not complete, and makes room for the rest of it. Fails for a
/// body over [`BODY_MAX`].
fn next_frame(buffer: &mut BytesMut) -> Result<Option<(u64, Bytes)>> {
    let Some(length) = buffer.first_chunk().map(|length| u32::from_be_bytes(*length) as usize)
    else {
        return Ok(None);
    };
    ensure!(length <= BODY_MAX, "a body of {length} bytes");
    if buffer.len() < HEAD + length {
        buffer.reserve(HEAD + length - buffer.len());
        return Ok(None);
    }
    let mut frame = buffer.split_to(HEAD + length);
    frame.advance(4);
    let id = frame.get_u64();
    Ok(Some((id, frame.freeze())))
}

/// Appends a frame to the buffer.
///
/// The size of the body is not checked here. The peer rejects a frame over `BODY_MAX`.
fn put_frame(buffer: &mut BytesMut, id: u64, body: &[u8]) {
    buffer.reserve(HEAD + body.len());
    buffer.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
    buffer.put_u64(id);
    buffer.put_slice(body);
}

/// A caller: a call id, a table of waiting calls, a wake-up.
///
/// One task writes and another one reads, for all clones. If either ends, all calls fail.
#[derive(Clone)]
pub(crate) struct TcpCaller {
    /// Bodies for the writing task, each with its call id. A full queue makes the callers wait.
    frames: mpsc::Sender<(u64, Bytes)>,
    waiting: Arc<WaitingCalls<Bytes>>,
}

impl TcpCaller {
    /// Connects to a server, without Nagle's algorithm, and starts both tasks.
    pub(crate) async fn connect(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let (frames, to_write) = mpsc::channel(WAITING_MAX);
        let waiting = WaitingCalls::new();
        waiting.spawn(write_all(writer, to_write));
        waiting.spawn(read_all(reader, waiting.clone()));
        Ok(Self { frames, waiting })
    }
}

/// Writes the frames of all callers, with those that wait in one piece.
///
/// Ends when the last clone of the caller is dropped.
async fn write_all(
    mut writer: OwnedWriteHalf,
    mut frames: mpsc::Receiver<(u64, Bytes)>,
) -> Result<()> {
    let (mut batch, mut buffer) = (Vec::new(), BytesMut::new());
    while frames.recv_many(&mut batch, WAITING_MAX).await > 0 {
        for (id, body) in batch.drain(..) {
            put_frame(&mut buffer, id, &body);
        }
        writer.write_all_buf(&mut buffer).await?;
    }
    Ok(())
}

impl Echo for TcpCaller {
    /// If the future is dropped before the frame is queued, its entry in the table stays until the
    /// connection ends.
    async fn echo(&self, body: Bytes) -> Result<Bytes> {
        let (id, reply) = self.waiting.begin()?;
        self.frames.send((id, body)).await.ok().context("the writer has ended")?;
        reply.await.context("the connection is lost")
    }
}

/// Hands each reply to the call of its id, until the connection ends.
///
/// Fails for a reply with a body over `BODY_MAX`.
async fn read_all(mut reader: OwnedReadHalf, waiting: Arc<WaitingCalls<Bytes>>) -> Result<()> {
    let mut read = BytesMut::new();
    while reader.read_buf(&mut read).await? > 0 {
        while let Some((id, body)) = next_frame(&mut read)? {
            waiting.complete(id, body);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn calls_fail_when_the_server_is_lost() -> Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let caller = TcpCaller::connect(&listener.local_addr()?.to_string()).await?;
        let (mut stream, _) = listener.accept().await?;
        let losing = async move {
            stream.read_exact(&mut [0; HEAD]).await?;
            drop(stream);
            anyhow::Ok(())
        };
        let call = || timeout(PATIENCE, caller.echo(Bytes::from_static(b"lost")));
        let (first, lost) = tokio::join!(call(), losing);
        lost?;
        first?.unwrap_err();
        call().await?.unwrap_err();
        Ok(())
    }
}
