//! What layers see of an outcome.

use std::borrow::Cow;

use crate::error::{CallError, Fault};
use crate::service::Reply;

/// The fault that was answered, however it came: on a server it may be an error or in the reply, on
/// a client it is in the reply.
pub(super) fn fault(outcome: &Result<Reply, CallError>) -> Option<&Fault> {
    match outcome {
        Ok(reply) => reply.message.fault.as_deref(),
        Err(error) => error.fault(),
    }
}

/// A failure in one word, of which there are few: OpenTelemetry's `error.type`. Nothing for a
/// success.
pub(super) fn kind(outcome: &Result<Reply, CallError>) -> Option<Cow<'static, str>> {
    if let Some(fault) = fault(outcome) {
        return Some(fault.code.as_str().into());
    }
    match outcome {
        Err(CallError::DeadlineExceeded(_)) => Some("DeadlineExceeded".into()),
        Err(CallError::Failed(error)) => Some(format!("{:?}", error.kind()).into()),
        _ => None,
    }
}
