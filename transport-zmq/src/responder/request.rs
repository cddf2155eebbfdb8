//! Decoded requests on their way to a responder.

use polywire_core::message::{CallId, ReplyTo};
use polywire_core::transport::Delivery;
use polywire_core::{Address, Code, Error, Fault, Message, Result};

/// A request and the service that it asks for.
pub(super) struct ServiceRequest {
    pub(super) service: Address,
    /// The delivery for the responder, or the error that its stream yields.
    pub(super) request: Result<Delivery>,
}

/// Returns the delivery for a request that cannot be decoded: one with a fault, so that the
/// responder sends the fault as the reply. A request without a call id gets no reply, and is an
/// error.
pub(super) fn undecodable(call: Option<CallId>, peer: &ReplyTo, error: Error) -> Result<Delivery> {
    let Some(call) = call else { return Err(error) };
    let fault = Fault::new(Code::InvalidArguments, format!("the request cannot be read: {error}"));
    let mut message = Message::failed(fault);
    message.id = Some(call);
    message.reply_to = Some(peer.clone());
    Ok(Delivery::settled(message))
}
