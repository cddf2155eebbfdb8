//! Frames on a connection: a length, a head in JSON, and the body of the message.

use std::io::ErrorKind::{InvalidData, UnexpectedEof};
use std::io::{Error as IoError, Result as IoResult};
use std::time::Duration;

use polywire_core::Message;
use polywire_core::transport::kit::{Envelope, EnvelopeLimits, OutcomeEnvelope};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};

/// The longest wait for a peer: for its first frame, and for the last bytes to be written.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// A frame.
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// The window of a responder that opens, or the tag of a request.
    pub(crate) number: u64,
    pub(crate) message: Message,
}

/// The kind of a frame, with its argument.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Opens an endpoint handle: a responder if true, a requester otherwise.
    Open(bool),
    Send,
    Settle(OutcomeEnvelope),
    Stop,
    /// The end of a client's frames. Never written.
    Bye,
    Opened,
    /// A request, with the number of its attempt.
    Request(u32),
    Refused,
    /// A one-way call is in the queue of its service.
    Accepted,
}

/// Writes a frame, and flushes.
pub(crate) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    Frame { kind, number, message }: &Frame,
) -> IoResult<()> {
    let head = serde_json::to_vec(&(kind, number, Envelope::of(message)))?;
    let mut to = BufWriter::new(to);
    to.write_u64(head.len() as u64).await?;
    to.write_all(&head).await?;
    for frame in message.body.frames() {
        to.write_all(frame).await?;
    }
    to.flush().await
}

/// Reads a frame. After an error, the connection is unusable.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> IoResult<Frame> {
    let limits = EnvelopeLimits::default();
    let head = from.read_u64().await?;
    if head > limits.encoded_max() as u64 {
        return Err(InvalidData.into());
    }
    let head = read_sized(from, head).await?;
    let (kind, number, envelope): (Kind, u64, Envelope) = serde_json::from_slice(&head)?;
    let body = envelope.body_len(&limits).map_err(IoError::other)?;
    let body = read_sized(from, body as u64).await?;
    let message = envelope.into_message(body, &limits).map_err(IoError::other)?;
    Ok(Frame { kind, number, message })
}

/// Reads this many bytes. The buffer grows as they arrive, so that a length alone costs no memory.
async fn read_sized(from: &mut (impl AsyncRead + Unpin), size: u64) -> IoResult<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(size).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(UnexpectedEof.into()) }
}
