//! Decoded requests on their way to a responder.

use polywire_core::message::{CallId, ReplyTo};
use polywire_core::transport::Delivery;
use polywire_core::{Address, Code, Error, Fault, Message, Result};

/// A request and the service that it asks for, between the socket and the queue of the service.
pub(super) struct ServiceRequest {
    /// The service, which need not have a responder here.
    pub(super) service: Address,
    /// The delivery for the responder, or the error that its stream yields.
    pub(super) request: Result<Delivery>,
}

/// Returns the delivery for a request that cannot be decoded: one with a fault of code
/// `InvalidArguments`, which the responder sends as the reply.
///
/// # Errors
///
/// The original error, for a request without a call id: no caller waits for a reply.
pub(super) fn undecodable(call: Option<CallId>, peer: &ReplyTo, error: Error) -> Result<Delivery> {
    let Some(call) = call else { return Err(error) };
    let fault = Fault::new(Code::InvalidArguments, format!("cannot read the request: {error}"));
    let mut message = Message::failed(fault);
    message.id = Some(call);
    message.reply_to = Some(peer.clone());
    Ok(Delivery::settled(message))
}
