//! Counts and log lines of requests that end without a result.

use std::sync::Arc;

use super::cancellations::Stopped;
use super::server_stats::ServerCounters;
use crate::context::Context;
use crate::error::{Code, Error, Fault};
use crate::message::Address;
use crate::panic_containment::Panicked;
use crate::service::AtMostOnceGate;
use crate::transport::LogThrottle;
use crate::worker::{EndpointLabel, in_delivery};

/// The log of a server about requests that end without a result. Counts them as well.
///
/// Each line stands in the span of its delivery. Lines that a flood of requests could cause are
/// throttled.
pub(super) struct FailedRequestLog {
    label: EndpointLabel,
    counters: Arc<ServerCounters>,
    expired_log: LogThrottle,
    refused_log: LogThrottle,
    rejected_log: LogThrottle,
    dropped_log: LogThrottle,
    dead_letter_log: LogThrottle,
    panic_log: LogThrottle,
    late_log: LogThrottle,
    one_way_log: LogThrottle,
}

impl FailedRequestLog {
    /// Creates the log of the server `label`.
    pub(super) fn new(label: EndpointLabel, counters: Arc<ServerCounters>) -> Self {
        Self {
            label,
            counters,
            expired_log: LogThrottle::new(),
            refused_log: LogThrottle::new(),
            rejected_log: LogThrottle::new(),
            dropped_log: LogThrottle::new(),
            dead_letter_log: LogThrottle::new(),
            panic_log: LogThrottle::new(),
            late_log: LogThrottle::new(),
            one_way_log: LogThrottle::new(),
        }
    }

    /// Notes a request that cannot be decoded.
    pub(super) fn rejected(&self, error: &Error) {
        self.counters.rejected.increment();
        if let Some(count) = self.rejected_log.note() {
            let service = &self.label.name;
            tracing::warn!(%service, ?error, count, "rejected requests that cannot be decoded");
        }
    }

    /// Notes a request whose processing panicked outside of its handler.
    pub(super) fn dropped(&self, panic: &Panicked) {
        if let Some(count) = self.dropped_log.note() {
            let service = &self.label.name;
            in_delivery(|| {
                tracing::error!(%service, %panic, count, "dropped requests after internal errors");
            });
        }
    }

    /// Notes a request that was not run.
    pub(super) fn refused(&self, method: Option<&Address>, why: &str) {
        self.counters.refused.increment();
        if let Some(count) = self.refused_log.note() {
            let (service, method) = (&self.label.name, method.map(Address::as_str));
            in_delivery(|| tracing::warn!(%service, method, count, why, "refused requests"));
        }
    }

    /// Notes a request that was not begun, because another delivery may have been.
    pub(super) fn not_begun(&self, gate: &AtMostOnceGate) {
        if gate.is_refused() {
            self.counters.refused.increment();
            let service = &self.label.name;
            in_delivery(|| {
                tracing::debug!(%service, "did not begin a request: it runs at most once");
            });
        }
    }

    /// Notes a request that seems to crash its servers, and is a dead letter now. Runs in the
    /// span of its delivery.
    pub(super) fn dead_lettered(&self, method: Option<&Address>, attempt: u32) {
        let (service, method) = (&self.label.name, method.map(Address::as_str));
        if let Some(count) = self.dead_letter_log.note() {
            tracing::error!(%service, method, attempt, count, "dead-lettered requests: they exceeded the delivery limit");
        }
    }

    /// Notes a request that seems to crash its servers, and could not be kept as a dead letter.
    /// Runs in the span of its delivery. The line is the last trace of the request, and is always
    /// written.
    pub(super) fn lost(&self, method: Option<&Address>, attempt: u32) {
        let (service, method) = (&self.label.name, method.map(Address::as_str));
        tracing::error!(%service, method, attempt, "discarded a request: it exceeded the delivery limit");
    }

    /// Notes a handler whose caller stopped waiting.
    pub(super) fn stopped(&self, method: Option<&Address>, reason: Stopped) {
        if reason == Stopped::Expired {
            return self.expired(method, "ran until the deadline of its caller");
        }
        self.counters.cancelled.increment();
        let service = &self.label.name;
        in_delivery(|| tracing::debug!(%service, "stopped a handler: its caller cancelled"));
    }

    /// Notes a request that did not end, or did not begin, in time.
    pub(super) fn expired(&self, method: Option<&Address>, what: &str) {
        self.counters.expired.increment();
        if let Some(count) = self.expired_log.note() {
            let (service, method) = (&self.label.name, method.map(Address::as_str));
            in_delivery(|| tracing::warn!(%service, method, what, count, "requests expired"));
        }
    }

    /// Notes that the handler in whose context this runs has panicked. Returns its fault.
    pub(super) fn panicked(&self, panic: &str) -> Fault {
        self.counters.panicked.increment();
        let method = Context::current().and_then(|context| context.method);
        let (service, method) = (&self.label.name, method.as_ref().map(Address::as_str));
        if let Some(count) = self.panic_log.note() {
            in_delivery(|| tracing::error!(%service, method, panic, count, "a handler panicked"));
        }
        Fault::new(Code::Internal, format!("the handler panicked: {panic}")).with_kind("Panic")
    }

    /// Notes the failure of a handler that had replied before.
    pub(super) fn failed_late(&self, fault: &Fault) {
        self.counters.failed_late.increment();
        if let Some(count) = self.late_log.note() {
            let service = &self.label.name;
            in_delivery(|| {
                tracing::warn!(%service, %fault, count, "handlers failed after their replies");
            });
        }
    }

    /// Notes the failure of a one-way call, which has no reply.
    pub(super) fn failed_one_way(&self, fault: &Fault) {
        if let Some(count) = self.one_way_log.note() {
            let service = &self.label.name;
            in_delivery(|| tracing::warn!(%service, %fault, count, "one-way calls failed"));
        }
    }
}
