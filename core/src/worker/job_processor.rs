//! The processing of jobs and events: run, then acknowledge, retry, dead-letter or discard.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::delivery_span::{describe, in_delivery};
use super::final_failure_log::{FailureEnd, FinalFailure, FinalFailureLog};
use super::job_expiry::take_expired;
use super::processor::{EndpointLabel, Processor};
use super::retries::{OnExhausted, Retries, dead_letter_or_discard};
use super::work_stats::WorkCounters;
use crate::error::{CallError, Code, Error, ErrorKind, Fault, Result};
use crate::message::{Address, DeadLetterReason, Message};
use crate::panic_containment::{Panicked, catch, contain};
use crate::service::{Reply, Request, Service};
use crate::transport::{
    Abandoned, Capabilities, DeadLetterSource, Delivery, LogThrottle, Outcome, Receipt, RetryAfter,
    Settled, Suspect,
};

/// The processor of jobs or events, which runs a service for each.
pub(super) struct JobProcessor<S> {
    label: EndpointLabel,
    /// The log of deliveries that fail for good.
    failures: Arc<FinalFailureLog>,
    service: S,
    retries: Retries,
    can: Capabilities,
    counters: Arc<WorkCounters>,
    /// Throttle for the log line of deliveries that cannot be decoded.
    unreadable: LogThrottle,
    /// Throttle for the log line of gaps between deliveries.
    gaps: LogThrottle,
    /// Throttle for the log line of handlers that panic.
    panics: LogThrottle,
    /// Throttle for the log line of retries.
    retrying: LogThrottle,
    /// Throttle for the log line of deliveries that expired.
    expired: LogThrottle,
}

/// The outcome of a delivery, with its failure in case it is not attempted again.
struct Settling {
    outcome: Outcome,
    failure: Option<FinalFailure>,
}

impl From<Outcome> for Settling {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, failure: None }
    }
}

impl<S> JobProcessor<S> {
    /// Creates the processor of the worker or listener `label`.
    pub(super) fn new(
        label: EndpointLabel,
        source: Option<DeadLetterSource>,
        service: S,
        retries: Retries,
        can: Capabilities,
        counters: Arc<WorkCounters>,
    ) -> Self {
        let failures = Arc::new(FinalFailureLog::new(label.clone(), source));
        let [unreadable, gaps, panics, retrying, expired] = [(); 5].map(|()| LogThrottle::new());
        Self {
            label,
            failures,
            service,
            retries,
            can,
            counters,
            unreadable,
            gaps,
            panics,
            retrying,
            expired,
        }
    }
}

impl<S: Service> Processor for JobProcessor<S> {
    // Deliveries that the backend cannot requeue would be lost.
    const DRAINS_UNTIL_END: bool = true;

    async fn handle(self: Arc<Self>, delivery: Delivery) {
        if delivery.suspect.is_some_and(|suspect| !suspect.is_isolated) {
            return delivery.receipt.requeue();
        }
        let (begun, redelivered) = (delivery.attempt_with_crashes(), delivery.is_redelivered());
        let Delivery { mut message, receipt, attempt, suspect } = delivery;
        describe(&message, begun);
        if let Some(outcome) = take_expired(&mut message, &self.can) {
            self.note_expired(&message);
            return receipt.settle(outcome);
        }
        let settles = receipt.is_some();
        let request = Request { attempt: begun, redelivered, ..Request::new(message) };
        let outcome = contain(self.process(request, settles, attempt, suspect)).await;
        let outcome = outcome.unwrap_or_else(|panic| self.after_panic(&panic, settles, attempt));
        self.settle(receipt, outcome);
    }

    async fn refuse_delivery(self: Arc<Self>, delivery: Delivery) {
        self.handle(delivery).await;
    }

    // Jobs and events have no callers.
    fn cancel(&self, _: Abandoned) {}

    fn label(&self) -> &EndpointLabel {
        &self.label
    }

    fn reject(&self, error: &Error) {
        let EndpointLabel { role, name } = &self.label;
        if error.kind() == ErrorKind::Disconnected {
            // The backend reports a gap between deliveries, and no delivery.
            if let Some(count) = self.gaps.note() {
                tracing::warn!(role, %name, %error, count, "deliveries may be missing");
            }
            return;
        }
        self.counters.rejected.increment();
        if let Some(count) = self.unreadable.note() {
            tracing::warn!(role, %name, ?error, count, "rejected deliveries that cannot be decoded");
        }
    }
}

impl<S: Service> JobProcessor<S> {
    /// Counts and logs a delivery that did not begin within its time to live.
    fn note_expired(&self, message: &Message) {
        self.counters.expired.increment();
        let EndpointLabel { role, name } = &self.label;
        if let Some(count) = self.expired.note() {
            let method = message.method.as_ref().map(Address::as_str);
            in_delivery(|| tracing::warn!(role, %name, method, count, "deliveries expired"));
        }
    }

    /// Runs a delivery, and decides how to settle it. The receipt stays with the caller, so that a
    /// panic here does not requeue the delivery without a count.
    async fn process(
        &self,
        request: Request,
        settles: bool,
        attempt: u32,
        suspect: Option<Suspect>,
    ) -> Settling {
        if settles && self.exceeds_delivery_limit(attempt, suspect) {
            let attempt = request.attempt;
            let error = format!("delivered {attempt} times");
            let why = "delivery limit exceeded with no recorded outcome";
            return self.give_up(DeadLetterReason::Crashed, &error, attempt, why);
        }
        let running = self.counters.running.enter();
        let failed = self.run(request).await.err();
        // Dropped before the delivery is settled, so that a settled delivery is not counted.
        drop(running);
        match failed {
            None => Outcome::Ack.into(),
            Some(fault) if settles => self.outcome_of(&fault, attempt),
            Some(fault) => {
                let why = "the transport does not settle";
                self.final_failure(&fault, attempt, why).log(FailureEnd::Discarded);
                Outcome::Discard.into()
            }
        }
    }

    /// Decides how to settle a delivery after a panic outside of its handler: as a failed attempt.
    fn after_panic(&self, panic: &Panicked, settles: bool, attempt: u32) -> Settling {
        if !settles {
            return Outcome::Discard.into();
        }
        let fault = || Fault::new(Code::Internal, format!("internal error: {panic}"));
        // What panicked may be a subscriber of the log, which panics here as well.
        catch(|| self.outcome_of(&fault().with_kind("Panic"), attempt)).unwrap_or_else(|panic| {
            self.after_last_attempt(DeadLetterReason::Crashed, panic.to_string()).into()
        })
    }

    /// Runs the service in the context of the job. Returns the fault of a failed job.
    async fn run(&self, request: Request) -> Result<(), Fault> {
        let context = request.context();
        let call = contain(async {
            match self.service.call(request).await {
                Ok(Reply { message }) => message.fault.map_or(Ok(()), |fault| Err(*fault)),
                Err(CallError::Fault(fault)) => Err(fault),
                Err(error) => Err(Fault::new(Code::Internal, error.to_string())),
            }
        });
        // Boxed so that the enclosing futures do not each embed the handler.
        let outcome = Box::pin(context.carry(call)).await;
        match outcome {
            Ok(outcome) => outcome,
            Err(panic) => {
                self.counters.panicked.increment();
                let (panic, EndpointLabel { role, name }) = (panic.message(), &self.label);
                if let Some(count) = self.panics.note() {
                    in_delivery(
                        || tracing::error!(role, %name, panic, count, "a handler panicked"),
                    );
                }
                Err(Fault::new(Code::Internal, format!("the handler panicked: {panic}"))
                    .with_kind("Panic"))
            }
        }
    }

    /// Returns `true` if a suspect has crashed its workers too often. Where suspects are not
    /// isolated, returns `true` if more attempts were started than the policy allows, so that the
    /// last one crashed its worker. One attempt too many proves nothing: a delivery that a worker
    /// requeued unseen counts as attempted.
    fn exceeds_delivery_limit(&self, attempt: u32, suspect: Option<Suspect>) -> bool {
        let ends = self.can.dead_letters || self.retries.on_exhausted == OnExhausted::Discard;
        let is_exceeded = match suspect {
            Some(suspect) => suspect.is_convicted(attempt, self.retries.attempts),
            None => attempt > self.retries.attempts.max(2),
        };
        self.can.attempts && ends && is_exceeded
    }

    /// Decides how to settle a failed delivery: by another attempt, if one may succeed.
    fn outcome_of(&self, fault: &Fault, attempt: u32) -> Settling {
        if matches!(fault.code, Code::InvalidArguments | Code::MethodNotFound) {
            return self.give_up(DeadLetterReason::Unreadable, fault, attempt, "it is unreadable");
        }
        if fault.is_permanent() {
            return self.give_up(
                DeadLetterReason::Refused,
                fault,
                attempt,
                "the fault is permanent",
            );
        }
        if attempt >= self.retries.attempts {
            let why = "this was the last attempt";
            return self.give_up(DeadLetterReason::Exhausted, fault, attempt, why);
        }
        if !self.can.delayed_retries {
            self.log_retry(fault, attempt, Duration::ZERO);
            return self.try_again(Outcome::Requeue, fault, attempt);
        }
        let after = self.retries.pause(attempt);
        self.log_retry(fault, attempt, after);
        let retry = RetryAfter::new(after, fault.to_string());
        self.try_again(Outcome::Retry(Box::new(retry)), fault, attempt)
    }

    /// Settles a failed delivery by another attempt. The failure is logged only if the backend
    /// dead-letters or discards the delivery instead.
    fn try_again(&self, outcome: Outcome, fault: &Fault, attempt: u32) -> Settling {
        let why = "the transport could not keep it for its next attempt";
        let failure = self.final_failure(fault, attempt, why).outside_of_layers();
        Settling { outcome, failure: Some(failure) }
    }

    /// Decides how to settle a delivery that is not attempted again.
    fn give_up(
        &self,
        reason: DeadLetterReason,
        error: &dyn fmt::Display,
        attempt: u32,
        why: &'static str,
    ) -> Settling {
        let outcome = self.after_last_attempt(reason, error.to_string());
        Settling { outcome, failure: Some(self.final_failure(error, attempt, why)) }
    }

    fn final_failure(
        &self,
        fault: &dyn fmt::Display,
        attempt: u32,
        why: &'static str,
    ) -> FinalFailure {
        FinalFailure::new(&self.failures, fault.to_string(), attempt, why)
    }

    /// Logs a failed delivery that is retried. The last of its attempts has a line of its own.
    fn log_retry(&self, fault: &Fault, attempt: u32, after: Duration) {
        let EndpointLabel { role, name } = &self.label;
        if let Some(count) = self.retrying.note() {
            in_delivery(|| {
                tracing::warn!(role, %name, %fault, attempt, ?after, count, "failed; retrying");
            });
        }
    }

    /// Decides how to settle a delivery that is not attempted again.
    fn after_last_attempt(&self, reason: DeadLetterReason, error: String) -> Outcome {
        match self.retries.on_exhausted {
            OnExhausted::Discard => Outcome::Discard,
            OnExhausted::DeadLetterOrDiscard | OnExhausted::DeadLetter => {
                dead_letter_or_discard(&self.can, reason, error)
            }
        }
    }

    /// Settles a delivery, counts the outcome and logs a failure for good. A retry or a dead letter
    /// is counted and logged once the backend has the message there.
    fn settle(&self, receipt: Receipt, settling: Settling) {
        let Settling { outcome, failure } = settling;
        let log = move |end| {
            if let Some(failure) = failure {
                failure.log(end);
            }
        };
        let is_retry = match outcome {
            Outcome::Ack => {
                self.counters.done.increment();
                return receipt.settle(outcome);
            }
            Outcome::Discard => {
                log(FailureEnd::Discarded);
                self.counters.discarded.increment();
                return receipt.settle(outcome);
            }
            Outcome::Requeue | Outcome::Decline(_) | Outcome::Retry(_) => true,
            Outcome::DeadLetter(_) => false,
        };
        let counters = self.counters.clone();
        let count = move |settled| match settled {
            Settled::Done if is_retry => counters.retried.increment(),
            Settled::Done | Settled::DeadLettered => {
                log(FailureEnd::DeadLettered);
                counters.dead_lettered.increment();
            }
            Settled::Discarded => {
                log(FailureEnd::Lost);
                counters.discarded.increment();
            }
            Settled::Requeued => {}
        };
        receipt.settle_then(outcome, Box::new(count));
    }
}
