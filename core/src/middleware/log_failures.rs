//! Log lines of failures.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::field::display;

use super::failure_log_throttle::{FailureKind, FailureLogThrottle};
use super::stopped_call_guard::OnStop;
use super::{Middleware, outcome_classification};
use crate::error::{CallError, Code, Fault, Result};
use crate::handler_stop_reason::StopReason;
use crate::message::{Address, MessageId};
use crate::service::{Reply, Request, Service};

/// Middleware that logs failures at `warn`, and expected failures at `debug`.
///
/// On a server it logs failed handlers, on a client failed calls. The log line has these fields:
///
/// - `service`, `method`, `topic`, `message_id`, `attempt`
/// - `error`: the code of a fault or the kind of an error
/// - `fault`: the kind of a fault, as the peer named it
/// - `cause`: the text of the fault or the error
/// - `duration_ms`
/// - `count`: the number of failures that the line stands for
///
/// Ten failures of one kind are logged in ten seconds: those of one method or topic, one `error`
/// and one `fault`. Further ones are counted, and the next line of the kind stands for them, too.
/// Expected failures are not bounded.
///
/// Place it behind `Trace`, so that the line belongs to the span, and in front of everything whose
/// failures it should log. A handler that is stopped, and a call that its caller drops, are logged
/// with the `error` `DeadlineExceeded`, `Cancelled` or `Drained`. Cancelled ones are expected.
///
/// ```
/// use polywire_core::Code;
/// use polywire_core::middleware::LogFailures;
///
/// let log =
///     LogFailures::of("billing").expect_code(Code::InvalidArguments).expect_kind("OutOfStock");
/// # let _ = log;
/// ```
#[derive(Clone, Debug)]
pub struct LogFailures {
    service: Arc<str>,
    codes: Arc<Vec<Code>>,
    kinds: Arc<Vec<String>>,
    throttle: Arc<FailureLogThrottle>,
}

impl LogFailures {
    /// Creates a middleware that logs every failure with this service name.
    #[must_use]
    pub fn of(service: impl Into<Arc<str>>) -> Self {
        Self {
            service: service.into(),
            codes: Arc::default(),
            kinds: Arc::default(),
            throttle: Arc::default(),
        }
    }

    /// Marks faults with this code as expected.
    #[must_use]
    pub fn expect_code(mut self, code: Code) -> Self {
        Arc::make_mut(&mut self.codes).push(code);
        self
    }

    /// Marks faults of this [kind](Fault::kind) as expected.
    #[must_use]
    pub fn expect_kind(mut self, kind: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.kinds).push(kind.into());
        self
    }

    fn expects(&self, fault: &Fault) -> bool {
        self.codes.contains(&fault.code) || self.kinds.contains(&fault.kind)
    }
}

impl Middleware for LogFailures {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Reply, CallError> {
        let called = Called {
            service: &self.service,
            throttle: &self.throttle,
            method: request.message.method.clone(),
            topic: request.message.topic.clone(),
            message_id: request.known_message_id(),
            attempt: request.attempt,
            start: Instant::now(),
        };
        let on_stop = OnStop::new(&request, |reason| {
            let is_expected = reason == StopReason::Cancelled.as_str()
                || self.codes.iter().any(|code| code.as_str() == reason);
            called.log(reason, None, "stopped before its end", is_expected);
        });
        let result = next.call(request).await;
        on_stop.disarm();
        if let Some(error) = outcome_classification::kind(&result) {
            let fault = outcome_classification::fault(&result);
            let is_expected = fault.is_some_and(|fault| self.expects(fault));
            let kind = fault.map(|fault| &*fault.kind);
            called.log(&error, kind, &cause(&result, fault), is_expected);
        }
        result
    }

    fn waits_for_next_only(&self) -> bool {
        true
    }
}

/// A call, a job or an event that is observed.
struct Called<'l> {
    service: &'l str,
    throttle: &'l FailureLogThrottle,
    method: Option<Address>,
    topic: Option<Address>,
    message_id: Option<MessageId>,
    attempt: u32,
    start: Instant,
}

impl Called<'_> {
    /// Logs a failure: at `debug` if it is expected, else at `warn`.
    fn log(&self, error: &str, fault: Option<&str>, cause: &str, is_expected: bool) {
        let Self { service, attempt, .. } = self;
        let kind = || FailureKind {
            name: self.method.clone().or_else(|| self.topic.clone()),
            error: error.to_owned(),
            fault: fault.map(str::to_owned),
        };
        let Some(count) = (if is_expected { Some(1) } else { self.throttle.note(kind()) }) else {
            return;
        };
        let (method, topic) = (self.method.as_ref().map(display), self.topic.as_ref().map(display));
        let message_id = self.message_id.as_ref().map(display);
        let duration_ms = self.start.elapsed().as_millis();
        if is_expected {
            tracing::debug!(
                service,
                method,
                topic,
                message_id,
                attempt,
                %error,
                fault,
                cause,
                duration_ms,
                "failed as expected"
            );
        } else {
            tracing::warn!(
                service,
                method,
                topic,
                message_id,
                attempt,
                %error,
                fault,
                cause,
                duration_ms,
                count,
                "failed"
            );
        }
    }
}

fn cause(result: &Result<Reply, CallError>, fault: Option<&Fault>) -> String {
    match (fault, result) {
        (Some(fault), _) => fault.message.clone(),
        (None, Err(CallError::Failed(error))) => crate::error::report(error),
        (None, Err(error)) => error.to_string(),
        (None, Ok(_)) => String::new(),
    }
}
