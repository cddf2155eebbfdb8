//! Outcomes of calls, as layers classify them.

use std::borrow::Cow;

use crate::error::{CallError, Code, Fault};
use crate::handler_stop_reason::StopReason;
use crate::message::Deadline;
use crate::panic_containment::catch;
use crate::service::{Reply, Request};

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

/// Guard of a call that has no outcome if it is dropped, because its handler is stopped, or its
/// caller drops it. The guard then records the reason as the kind of a failure:
///
/// - `DeadlineExceeded`: the deadline has passed.
/// - `Cancelled`: the caller, or a layer in front, has dropped the call.
/// - `Drained`: the server, worker or listener was stopped without waiting for the handler.
/// - `Internal`: the handler panics.
pub(super) struct OnStop<F: FnOnce(&'static str)> {
    record: Option<F>,
    wait_until: Option<Deadline>,
}

impl<F: FnOnce(&'static str)> OnStop<F> {
    /// Creates the guard of a request.
    pub(super) fn new(request: &Request, record: F) -> Self {
        Self { record: Some(record), wait_until: request.wait_until() }
    }

    /// Ends the guard: the call has an outcome.
    pub(super) fn disarm(mut self) {
        self.record = None;
    }

    fn reason(&self) -> &'static str {
        if std::thread::panicking() {
            return Code::Internal.as_str();
        }
        let is_expired = || self.wait_until.is_some_and(Deadline::is_expired);
        StopReason::current()
            .unwrap_or_else(|| match is_expired() {
                true => StopReason::DeadlineExceeded,
                false => StopReason::Cancelled,
            })
            .as_str()
    }
}

impl<F: FnOnce(&'static str)> Drop for OnStop<F> {
    fn drop(&mut self) {
        if let Some(record) = self.record.take() {
            let reason = self.reason();
            // A recorder of the program may panic, and a second panic would end the process.
            drop(catch(|| record(reason)));
        }
    }
}
