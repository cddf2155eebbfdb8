//! The outcome of a service as the message that the caller gets.

use crate::error::{CallError, Code, ErrorKind, Fault, Result};
use crate::message::Message;
use crate::service::Reply;

/// Converts the outcome of a service into the message that the caller gets.
pub(super) fn into_message(outcome: Result<Reply, CallError>) -> Box<Message> {
    let fault = match outcome {
        Ok(reply) => return reply.message,
        Err(CallError::Fault(fault)) => fault,
        Err(CallError::DeadlineExceeded(_)) => {
            Fault::new(Code::DeadlineExceeded, "the service timed out")
        }
        // A limit of a layer on this server: another server may accept the request.
        Err(CallError::Failed(error)) if error.kind() == ErrorKind::Overloaded => {
            Fault::new(Code::Unavailable, error.to_string())
        }
        Err(CallError::Failed(error)) => Fault::new(Code::Internal, error.to_string()),
        Err(CallError::Declared(never)) => match never {},
    };
    Box::new(Message::failed(fault))
}
