//! The fault of an outcome of a call, and the kind of its failure, for layers.

use std::borrow::Cow;

use crate::error::{CallError, Fault};
use crate::service::Reply;

/// Returns the fault of an outcome. On a client the reply contains the fault; on a server it may
/// also be the error.
pub(super) fn fault(outcome: &Result<Reply, CallError>) -> Option<&Fault> {
    match outcome {
        Ok(reply) => reply.message.fault.as_deref(),
        Err(error) => error.fault(),
    }
}

/// Returns the kind of a failure, for OpenTelemetry's `error.type`, or `None` for a success. The
/// number of different kinds is small.
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
