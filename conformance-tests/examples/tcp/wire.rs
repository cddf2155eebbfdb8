//! Frames on a connection: a head in JSON, and the body of its message.

use std::io::{Error as IoError, ErrorKind as IoErrorKind, Result as IoResult};

use bytes::Bytes;
use polywire_core::message::{CallId, MessageId, ReplyTo};
use polywire_core::{
    Address, Body, Code, Deadline, Error, ErrorKind, Fault, Limits, Message, Result,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A frame: sent by the client down to `Stop`, and by the broker from `Done` on.
#[derive(Serialize, Deserialize)]
pub(crate) enum Frame {
    Open(Open),
    Send(Packet),
    AddFilter(String),
    RemoveFilter(String),
    Settle(u64, String),
    Stop,
    /// The outcome of the next of the first four frames, in their order.
    Done(Result<(), Failure>),
    Deliver(Option<u64>, u32, Packet),
    Failed(Failure),
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
    pub(crate) fn apply(&mut self, frame: &Frame) {
        match frame {
            Frame::AddFilter(filter) if !self.filters.contains(filter) => {
                self.filters.push(filter.clone());
            }
            Frame::RemoveFilter(filter) => self.filters.retain(|other| other != filter),
            Frame::Stop => self.stopped = true,
            _ => {}
        }
    }
}

/// A message on the wire. Its remaining time is computed when the frame is written, not when it is
/// made.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "Envelope", try_from = "Envelope")]
pub(crate) struct Packet(pub(crate) Message);

/// An error on the wire, with its details in its sentence.
#[derive(Serialize, Deserialize)]
pub(crate) struct Failure {
    kind: String,
    sentence: String,
    call: Option<u64>,
    unsent: bool,
}

/// The limits of both sides, so that one can read everything that the other writes.
pub(crate) const LIMITS: Limits =
    Limits { body_max: 64 << 20, frames_max: 64, headers_max: 64, header_bytes_max: 16 << 10 };

/// The most bytes of text beside the headers.
const TEXT_MAX: usize = 64 << 10;

/// The most bytes of a head. JSON turns one byte into six at worst: 480 KiB of text and headers.
const HEAD_MAX: usize = 512 << 10;

/// Refuses a message that the other side would not read.
pub(crate) fn check(message: &Message) -> Result<()> {
    let fault = message.fault.as_ref();
    let fault =
        fault.map_or(0, |fault| fault.kind.len() + fault.message.len() + fault.details.len());
    if fault + message.content_type.as_ref().map_or(0, |format| format.len()) > TEXT_MAX {
        return Err(Error::new(
            ErrorKind::TooLarge,
            "cannot send the fault: larger than the limit",
        )
        .unsent());
    }
    LIMITS.check(message)
}

/// Writes a frame, without a flush.
pub(crate) async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> IoResult<()> {
    write_sized(to, &serde_json::to_vec(frame)?).await?;
    let (Frame::Send(packet) | Frame::Deliver(_, _, packet)) = frame else { return Ok(()) };
    let frames = packet.0.body.frames();
    to.write_u64(frames.len() as u64).await?;
    for frame in frames {
        write_sized(to, frame).await?;
    }
    Ok(())
}

/// Reads a frame. After an error, the connection is unusable.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> IoResult<Frame> {
    let mut frame = serde_json::from_slice(&read_sized(from, HEAD_MAX).await?)?;
    let (Frame::Send(packet) | Frame::Deliver(_, _, packet)) = &mut frame else { return Ok(frame) };
    let (mut frames, mut room) = (Vec::new(), LIMITS.body_max);
    for _ in 0..read_size(from, LIMITS.frames_max).await? {
        let frame = read_sized(from, room).await?;
        room -= frame.len();
        frames.push(frame);
    }
    packet.0.body = Body::from_frames(frames);
    Ok(frame)
}

async fn write_sized(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> IoResult<()> {
    to.write_u64(bytes.len() as u64).await?;
    to.write_all(bytes).await
}

async fn read_sized(from: &mut (impl AsyncRead + Unpin), max: usize) -> IoResult<Bytes> {
    let size = read_size(from, max).await?;
    // The buffer grows as bytes arrive, so that a length alone costs no memory.
    let mut bytes = Vec::new();
    from.take(size).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 == size {
        Ok(bytes.into())
    } else {
        Err(IoErrorKind::UnexpectedEof.into())
    }
}

async fn read_size(from: &mut (impl AsyncRead + Unpin), max: usize) -> IoResult<u64> {
    let size = from.read_u64().await?;
    if size <= max as u64 {
        Ok(size)
    } else {
        Err(IoError::other("cannot read the frame: larger than the limit"))
    }
}

/// The error of a frame that is not allowed here.
pub(crate) fn unexpected() -> IoError {
    IoError::other("cannot handle the frame: not allowed here")
}

/// The head of a message.
#[derive(Serialize, Deserialize)]
struct Envelope {
    method: Option<String>,
    topic: Option<String>,
    id: Option<u64>,
    message_id: Option<String>,
    reply_to: Option<Vec<u8>>,
    left_ms: Option<u64>,
    fault: Option<(u8, String, String, Vec<u8>, bool)>,
    content_type: Option<String>,
    headers: Vec<(String, String)>,
}

impl From<Packet> for Envelope {
    fn from(Packet(message): Packet) -> Self {
        let fault = message.fault.map(|fault| *fault);
        Self {
            method: message.method.map(|method| method.to_string()),
            topic: message.topic.map(|topic| topic.to_string()),
            id: message.id.map(|id| id.0),
            message_id: message.message_id.map(|id| id.to_string()),
            reply_to: message.reply_to.map(|reply_to| reply_to.as_bytes().to_vec()),
            left_ms: message.deadline.map(Deadline::remaining_ms),
            fault: fault.map(|it| {
                let is_permanent = it.is_permanent();
                (it.code.as_u8(), it.kind, it.message, it.details.into(), is_permanent)
            }),
            content_type: message.content_type.map(|format| format.to_string()),
            headers: message
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        }
    }
}

impl TryFrom<Envelope> for Packet {
    type Error = Error;

    fn try_from(envelope: Envelope) -> Result<Self> {
        let mut message = Message::default();
        message.method = envelope.method.map(Address::new).transpose()?;
        message.topic = envelope.topic.map(Address::new).transpose()?;
        message.id = envelope.id.map(CallId);
        message.message_id = envelope.message_id.map(MessageId::new).transpose()?;
        message.reply_to = envelope.reply_to.map(ReplyTo::new);
        message.deadline = envelope.left_ms.map(Deadline::after_ms);
        message.fault = envelope.fault.map(|(code, kind, text, details, is_permanent)| {
            let fault = Fault::new(Code::from_u8(code), text).with_kind(kind).with_details(details);
            Box::new(if is_permanent { fault.permanent() } else { fault })
        });
        message.content_type = envelope.content_type.map(Into::into);
        message.headers = envelope.headers.into_iter().collect();
        Ok(Self(message))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (kind, call) = (format!("{:?}", error.kind()), error.call().map(|call| call.0));
        Self { kind, sentence: error.to_string(), call, unsent: error.is_unsent() }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        const KNOWN: [ErrorKind; 4] =
            [ErrorKind::Closed, ErrorKind::Config, ErrorKind::TooLarge, ErrorKind::Unroutable];
        let kind = KNOWN.into_iter().find(|kind| format!("{kind:?}") == failure.kind);
        let error = Self::new(kind.unwrap_or(ErrorKind::Rejected), failure.sentence);
        let error = failure.call.map(CallId).into_iter().fold(error, Self::with_call);
        if failure.unsent { error.unsent() } else { error }
    }
}
