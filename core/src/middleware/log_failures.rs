//! Log lines of failures.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Middleware, outcome};
use crate::error::{CallError, Code, Fault, Result};
use crate::service::{Reply, Request, Service};

/// Middleware that logs failures at `warn`, and expected failures at `debug`.
///
/// On a server it logs failed handlers, on a client failed calls. The log line has these fields:
///
/// - `service`, `method`, `topic`, `attempt`
/// - `error`: the code of a fault or the kind of an error
/// - `fault`: the kind of a fault, as the peer named it
/// - `cause`: the text of the fault or the error
/// - `duration_ms`
///
/// Place it behind `Trace`, so that the line belongs to the span, and in front of everything whose
/// failures it should log. A dropped call is not logged.
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
}

impl LogFailures {
    /// Creates a middleware that logs every failure with this service name.
    #[must_use]
    pub fn of(service: impl Into<Arc<str>>) -> Self {
        Self { service: service.into(), codes: Arc::default(), kinds: Arc::default() }
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
        let (method, topic) = (request.message.method.clone(), request.message.topic.clone());
        let (attempt, start) = (request.attempt, Instant::now());
        let result = next.call(request).await;
        let Some(error) = outcome::kind(&result) else { return result };

        let fault = outcome::fault(&result);
        let cause = cause(&result, fault);
        let (method, topic) = (
            method.as_ref().map(tracing::field::display),
            topic.as_ref().map(tracing::field::display),
        );
        let duration_ms = start.elapsed().as_millis();
        let (service, name) = (&*self.service, fault.map(|fault| &*fault.kind));
        if fault.is_some_and(|fault| self.expects(fault)) {
            tracing::debug!(
                service,
                method,
                topic,
                attempt,
                %error,
                fault = name,
                cause,
                duration_ms,
                "failed as expected"
            );
        } else {
            tracing::warn!(
                service,
                method,
                topic,
                attempt,
                %error,
                fault = name,
                cause,
                duration_ms,
                "failed"
            );
        }
        result
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
