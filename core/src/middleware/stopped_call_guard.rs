//! Guard by which layers record the reason for which a call has no outcome.

use crate::error::Code;
use crate::handler_stop_reason::StopReason;
use crate::message::Deadline;
use crate::panic_containment::catch;
use crate::service::Request;

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
