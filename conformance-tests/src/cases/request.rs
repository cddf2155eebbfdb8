//! Raw requests, below clients and codecs.

use polywire_core::message::CallId;
use polywire_core::{Deadline, Message, Request};

use crate::verdict::{OrFail, Verdict};
use crate::wait::PATIENCE;

/// A request to this method, without arguments, that expires after [`PATIENCE`].
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if the method is not an address.
pub(super) fn raw_request(method: &str) -> Verdict<Request> {
    let method = method.try_into().or_fail("a method has a name")?;
    Ok(Request::new(Message::request(method, Deadline::after(PATIENCE))))
}

/// The message of a request with this call id, for a sender that no requester stands before.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), which does not occur.
pub(super) fn raw_message(id: u64) -> Verdict<Message> {
    let mut message = raw_request("any")?.message;
    message.id = Some(CallId(id));
    Ok(*message)
}
