//! Answers to messages that no server takes.

use crate::error::{Error, ErrorKind, Fault};
use crate::message::{CallId, Message};

/// Returns the error of a message that no queue or peer takes: unsent, so that its sender may send
/// it again.
///
/// With a call, it is an item of the requester's receiver, and fails that call alone. Without one,
/// it is the result of a send.
///
/// ```
/// use polywire_core::ErrorKind;
/// use polywire_core::message::CallId;
/// use polywire_core::transport::kit::unroutable;
///
/// let error = unroutable(CallId(7));
/// assert_eq!((error.kind(), error.call()), (ErrorKind::Unroutable, Some(CallId(7))));
/// assert!(error.is_unsent() && unroutable(None::<CallId>).call().is_none());
/// ```
#[must_use]
pub fn unroutable(call: impl Into<Option<CallId>>) -> Error {
    let text = "cannot route the message: no consumer takes it";
    let error = Error::new(ErrorKind::Unroutable, text).unsent();
    match call.into() {
        Some(call) => error.with_call(call),
        None => error,
    }
}

/// Returns the reply that answers a request in place of a server: a request that all servers
/// declined, or that a broker cannot keep. `None` for a message that asks for no reply.
///
/// ```
/// use polywire_core::message::{CallId, ReplyTo};
/// use polywire_core::transport::kit::refused_reply;
/// use polywire_core::{Code, Fault, Message};
///
/// let request = Message::new("[2,3]").with_id(CallId(7)).with_reply_to(ReplyTo::new("caller"));
/// let full = Fault::new(Code::Unavailable, "cannot queue the request: the queue is full");
/// let reply = refused_reply(&request, full).unwrap();
/// assert_eq!((reply.id, reply.reply_to), (request.id, request.reply_to));
/// ```
#[must_use]
pub fn refused_reply(request: &Message, fault: Fault) -> Option<Message> {
    let (id, reply_to) = (request.id?, request.reply_to.clone()?);
    Some(Message::failed(fault).with_id(id).with_reply_to(reply_to))
}
