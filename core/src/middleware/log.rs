//! A line in the log for each failure.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Middleware, failure};
use crate::error::{CallError, Code, Fault, Result};
use crate::service::{Reply, Request, Service};

/// Writes what fails to the log: at `warn`, and at `debug` what was said to be expected.
///
/// On a server, what fails are its handlers; on a client, its calls. The event has the fields
/// `service`, `method`, `topic`, `attempt`, `error` (in one word: a fault's code or an error's
/// kind), `fault` (the peer's own name), `cause` and `duration_ms`.
///
/// ```
/// use polywire_core::middleware::LogFailures;
/// use polywire_core::Code;
///
/// let log = LogFailures::of("billing").expect_code(Code::InvalidArguments).expect_kind("OutOfStock");
/// # let _ = log;
/// ```
#[derive(Clone, Debug)]
pub struct LogFailures {
    service: Arc<str>,
    codes: Arc<Vec<Code>>,
    kinds: Arc<Vec<String>>,
}

impl LogFailures {
    /// Writes down every failure of `service`: the name stands in the log.
    #[must_use]
    pub fn of(service: impl Into<Arc<str>>) -> Self {
        Self { service: service.into(), codes: Arc::default(), kinds: Arc::default() }
    }

    /// Faults with this code are expected.
    #[must_use]
    pub fn expect_code(mut self, code: Code) -> Self {
        Arc::make_mut(&mut self.codes).push(code);
        self
    }

    /// Faults of this [kind](Fault::kind) are expected.
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
        let (method, topic) = (request.message.method.clone(), request.message.topic.clone());
        let (attempt, start) = (request.attempt, Instant::now());
        let outcome = next.call(request).await;
        let Some(error) = failure::kind(&outcome) else { return outcome };

        let fault = failure::fault(&outcome);
        let cause = cause(&outcome, fault);
        let (method, topic) = (
            method.as_ref().map(tracing::field::display),
            topic.as_ref().map(tracing::field::display),
        );
        let duration_ms = start.elapsed().as_millis();
        let (service, name) = (&*self.service, fault.map(|fault| &*fault.kind));
        if fault.is_some_and(|fault| self.expects(fault)) {
            tracing::debug!(service, method, topic, attempt, %error, fault = name, cause, duration_ms, "failed as expected");
        } else {
            tracing::warn!(service, method, topic, attempt, %error, fault = name, cause, duration_ms, "failed");
        }
        outcome
    }
}

fn cause(outcome: &Result<Reply, CallError>, fault: Option<&Fault>) -> String {
    match (fault, outcome) {
        (Some(fault), _) => fault.message.clone(),
        (None, Err(CallError::Failed(error))) => crate::error::report(error),
        (None, Err(error)) => error.to_string(),
        (None, Ok(_)) => String::new(),
    }
}
