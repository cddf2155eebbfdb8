//! Frames on a connection: two lengths, a head in JSON, and the body of the message.

use std::io::ErrorKind::{InvalidData, UnexpectedEof};
use std::io::{Error as IoError, Result as IoResult};
use std::time::Duration;

use polywire_core::message::{CallId, MessageId, ReplyTo};
use polywire_core::{Address, Code, Deadline, Error, ErrorKind, Fault, Limits, Message, Result};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};

/// The longest wait for a peer: for its first frame, and for the last bytes to be written.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// The most bytes of a head. JSON turns one byte into six at worst.
const HEAD_MAX: usize = 512 << 10;

/// A frame.
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// The window of a responder that opens, or the tag of a request.
    pub(crate) number: u64,
    pub(crate) message: Message,
}

/// The kind of a frame, with its argument.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Opens an endpoint handle: a responder if true, a requester otherwise.
    Open(bool),
    Send,
    /// Settles a request: requeues it if true, acknowledges it otherwise.
    Settle(bool),
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

/// Kind, number, method, content type and message id, call id, reply address, milliseconds left,
/// fault, headers.
type Head =
    (Kind, u64, Texts, Option<u64>, Option<Vec<u8>>, Option<u64>, Failed, Vec<(String, String)>);
type Texts = [Option<String>; 3];
type Failed = Option<(u8, String, String, Vec<u8>, bool)>;

/// Refuses a message that the broker would not read.
pub(crate) fn check(message: &Message) -> Result<()> {
    let fault = message
        .fault
        .as_ref()
        .map_or(0, |fault| fault.kind.len() + fault.message.len() + fault.details.len());
    if fault + message.content_type.as_ref().map_or(0, |format| format.len()) > HEAD_MAX / 8 {
        let error = Error::new(ErrorKind::TooLarge, "cannot send the fault: larger than the limit");
        return Err(error.unsent());
    }
    Limits::default().check(message)
}

/// Writes a frame, and flushes.
pub(crate) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    Frame { kind, number, message }: &Frame,
) -> IoResult<()> {
    let texts = [
        message.method.as_ref().map(ToString::to_string),
        message.content_type.as_ref().map(ToString::to_string),
        message.message_id.as_ref().map(ToString::to_string),
    ];
    let fault = message.fault.clone();
    let headers = message.headers.iter();
    let head: Head = (
        *kind,
        *number,
        texts,
        message.id.map(|id| id.0),
        message.reply_to.as_ref().map(|reply_to| reply_to.as_bytes().to_vec()),
        message.deadline.map(Deadline::remaining_ms),
        fault.map(|it| {
            let is_permanent = it.is_permanent();
            (it.code.as_u8(), it.kind, it.message, it.details.into(), is_permanent)
        }),
        headers.map(|(name, value)| (name.to_string(), value.to_string())).collect(),
    );
    let (head, mut to) = (serde_json::to_vec(&head)?, BufWriter::new(to));
    to.write_u64(head.len() as u64).await?;
    to.write_u64(message.body.len() as u64).await?;
    to.write_all(&head).await?;
    to.write_all(&message.body.clone().into_bytes()).await?;
    to.flush().await
}

/// Reads a frame. After an error, the connection is unusable.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> IoResult<Frame> {
    let (head, body) = (from.read_u64().await?, from.read_u64().await?);
    if head > HEAD_MAX as u64 || body > Limits::default().body_max as u64 {
        return Err(InvalidData.into());
    }
    let head: Head = serde_json::from_slice(&read_sized(from, head).await?)?;
    let (kind, number, [method, content_type, message_id], id, reply_to, left_ms, fault, headers) =
        head;
    let mut message = Message::new(read_sized(from, body).await?);
    message.method = method.map(Address::new).transpose().map_err(IoError::other)?;
    message.message_id = message_id.map(MessageId::new).transpose().map_err(IoError::other)?;
    message.id = id.map(CallId);
    message.reply_to = reply_to.map(ReplyTo::new);
    message.deadline = left_ms.map(Deadline::after_ms);
    message.fault = fault.map(|(code, kind, text, details, is_permanent)| {
        let fault = Fault::new(Code::from_u8(code), text).with_kind(kind).with_details(details);
        Box::new(if is_permanent { fault.permanent() } else { fault })
    });
    message.content_type = content_type.map(Into::into);
    message.headers = headers.into_iter().collect();
    Ok(Frame { kind, number, message })
}

/// Reads this many bytes. The buffer grows as they arrive, so that a length alone costs no memory.
async fn read_sized(from: &mut (impl AsyncRead + Unpin), size: u64) -> IoResult<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(size).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 == size { Ok(bytes) } else { Err(UnexpectedEof.into()) }
}
