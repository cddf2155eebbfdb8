//! Frames on a connection: a length, a head in JSON, and the body of the message.

use std::io::{Error as IoError, ErrorKind as IoErrorKind, Result as IoResult};

use polywire_core::Message;
use polywire_core::transport::kit::{Envelope, EnvelopeLimits, ErrorEnvelope, OutcomeEnvelope};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A frame. The envelope of its message is made when the frame is written: the remaining time of a
/// deadline is computed then.
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// The message of a `Send` or a `Deliver`.
    pub(crate) message: Option<Message>,
}

/// The kind of a frame: sent by the client down to `Stop`, and by the broker from `Done` on.
#[derive(Serialize, Deserialize)]
pub(crate) enum Kind {
    Open(Open),
    Send,
    AddFilter(String),
    RemoveFilter(String),
    Settle(u64, OutcomeEnvelope),
    Stop,
    /// The outcome of the next of the first four frames, in their order.
    Done(Result<(), ErrorEnvelope>),
    /// A message with its tag, if it has to be settled, and the number of its attempt.
    Deliver(Option<u64>, u32),
    Failed(ErrorEnvelope),
}

/// The endpoint handle that a connection opens.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) window: usize,
    pub(crate) filters: Vec<String>,
    /// The name of the group, and true if it is durable.
    pub(crate) group: Option<(String, bool)>,
    /// True once the client has stopped to receive.
    pub(crate) stopped: bool,
}

/// The kind of an endpoint handle.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    Requester,
    Responder,
    Pusher,
    Puller,
    Publisher,
    Subscriber,
}

impl Open {
    /// Applies a change of the endpoint handle, for the next connection.
    pub(crate) fn apply(&mut self, kind: &Kind) {
        match kind {
            Kind::AddFilter(filter) if !self.filters.contains(filter) => {
                self.filters.push(filter.clone());
            }
            Kind::RemoveFilter(filter) => self.filters.retain(|other| other != filter),
            Kind::Stop => self.stopped = true,
            _ => {}
        }
    }
}

impl From<Kind> for Frame {
    fn from(kind: Kind) -> Self {
        Self { kind, message: None }
    }
}

/// Writes a frame, without a flush.
pub(crate) async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> IoResult<()> {
    let envelope = frame.message.as_ref().map(Envelope::of);
    let head = serde_json::to_vec(&(&frame.kind, envelope))?;
    to.write_u64(head.len() as u64).await?;
    to.write_all(&head).await?;
    let Some(message) = &frame.message else { return Ok(()) };
    for part in message.body.frames() {
        to.write_all(part).await?;
    }
    Ok(())
}

/// Reads a frame. After an error, the connection is unusable.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> IoResult<Frame> {
    let limits = EnvelopeLimits::default();
    let head = from.read_u64().await?;
    if head > limits.encoded_max() as u64 {
        return Err(IoError::other("cannot read the frame: larger than the limit"));
    }
    let head = read_sized(from, head).await?;
    let (kind, envelope): (Kind, Option<Envelope>) = serde_json::from_slice(&head)?;
    let Some(envelope) = envelope else { return Ok(kind.into()) };
    let body = envelope.body_len(&limits).map_err(IoError::other)?;
    let body = read_sized(from, body as u64).await?;
    let message = envelope.into_message(body, &limits).map_err(IoError::other)?;
    Ok(Frame { kind, message: Some(message) })
}

async fn read_sized(from: &mut (impl AsyncRead + Unpin), size: u64) -> IoResult<Vec<u8>> {
    // The buffer grows as bytes arrive, so that a length alone costs no memory.
    let mut bytes = Vec::new();
    from.take(size).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(IoErrorKind::UnexpectedEof.into()) }
}

/// The error of a frame that is not allowed here.
pub(crate) fn unexpected() -> IoError {
    IoError::other("cannot handle the frame: not allowed here")
}
