//! Metrics of calls, jobs and events.

mod export_stats;
mod waiting_retry_and_circuit_gauges;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::time::Instant;

pub(super) use self::waiting_retry_and_circuit_gauges::{WaitingRetry, set_circuit_state};
use super::stopped_call_guard::OnStop;
use super::{Middleware, outcome_classification};
use crate::error::{CallError, Code, Result};
use crate::message::Address;
use crate::service::{Reply, Request, Service};

/// Middleware that records the count, the duration and the number of in-flight requests through the
/// [`metrics`] facade.
///
/// `docs/observability.md` lists the names and labels. The first 256 methods have labels of their
/// own. Further methods, and methods that the service does not know, are recorded as `other`, so
/// that an untrusted peer cannot exhaust the memory.
///
/// Place it directly behind `Trace`. A handler that is stopped, and a call that its caller drops,
/// count with the outcome `DeadlineExceeded`, `Cancelled` or `Drained`, and with their durations.
///
/// ```
/// # use polywire_codec::MessagePack;
/// # use polywire_core::Router;
/// use polywire_core::middleware::{Layer, Metrics};
///
/// let service = Metrics::server("billing").layer(Router::new(MessagePack));
/// # let _ = service;
/// ```
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    role: &'static str,
    name: Arc<str>,
    in_flight: Gauge,
    methods: RwLock<HashMap<Option<Address>, Arc<MethodMetrics>>>,
}

/// Metric handles of one method, cached because their lookup is expensive.
struct MethodMetrics {
    label: String,
    done: Counter,
    duration: Histogram,
}

const METHODS_MAX: usize = 256;

impl Metrics {
    /// Creates a middleware for a client of `service`.
    #[must_use]
    pub fn client(service: impl Into<Arc<str>>) -> Self {
        Self::new("client", service.into())
    }

    /// Creates a middleware for a server of `service`.
    #[must_use]
    pub fn server(service: impl Into<Arc<str>>) -> Self {
        Self::new("server", service.into())
    }

    /// Creates a middleware for a worker of `queue`.
    #[must_use]
    pub fn worker(queue: impl Into<Arc<str>>) -> Self {
        Self::new("worker", queue.into())
    }

    /// Creates a middleware for a listener of `channel`.
    #[must_use]
    pub fn listener(channel: impl Into<Arc<str>>) -> Self {
        Self::new("listener", channel.into())
    }

    fn new(role: &'static str, name: Arc<str>) -> Self {
        let in_flight = gauge!("polywire_in_flight", "role" => role, "name" => name.to_string());
        Self(Arc::new(Inner { role, name, in_flight, methods: RwLock::default() }))
    }

    /// Returns the handles of `method`, or of `other` if it is unknown or the maximum is reached.
    fn method(&self, method: Option<Address>) -> Arc<MethodMetrics> {
        // No code panics while it holds the lock.
        let methods = self.0.methods.read().unwrap_or_else(PoisonError::into_inner);
        let is_full = methods.len() >= METHODS_MAX;
        if let Some(known) = methods.get(&method) {
            return known.clone();
        }
        drop(methods);
        let method = method.filter(|_| !is_full);
        let created = Arc::new(self.create(method.as_ref()));
        let mut methods = self.0.methods.write().unwrap_or_else(PoisonError::into_inner);
        methods.entry(method).or_insert(created).clone()
    }

    fn create(&self, method: Option<&Address>) -> MethodMetrics {
        let label = method.map_or("other", |method| method.as_str()).to_owned();
        let (role, name) = (self.0.role, self.0.name.to_string());
        MethodMetrics {
            done: counter!(
                "polywire_requests_total",
                "role" => role,
                "name" => name.clone(),
                "method" => label.clone(),
                "outcome" => "Ok"
            ),
            duration: histogram!(
                "polywire_request_duration_seconds",
                "role" => role,
                "name" => name,
                "method" => label.clone()
            ),
            label,
        }
    }

    /// Records the end of a call, with the kind of its failure.
    fn record(&self, method: &MethodMetrics, start: Instant, failure: Option<Cow<'static, str>>) {
        method.duration.record(start.elapsed());
        match failure {
            None => method.done.increment(1),
            Some(kind) => {
                let (role, name) = (self.0.role, self.0.name.to_string());
                let label = method.label.clone();
                let counter = counter!(
                    "polywire_requests_total",
                    "role" => role,
                    "name" => name,
                    "method" => label,
                    "outcome" => kind
                );
                counter.increment(1);
            }
        }
    }
}

impl Middleware for Metrics {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Reply, CallError> {
        let (method, start) = (request.message.method.clone(), Instant::now());
        let in_flight = InFlightGauge::begin(&self.0.in_flight);
        let on_stop = OnStop::new(&request, |reason| {
            self.record(&self.method(method.clone()), start, Some(reason.into()));
        });
        let result = next.call(request).await;
        on_stop.disarm();
        drop(in_flight);
        let is_known = outcome_classification::fault(&result)
            .is_none_or(|fault| fault.code != Code::MethodNotFound);
        self.record(
            &self.method(method.filter(|_| is_known)),
            start,
            outcome_classification::kind(&result),
        );
        result
    }

    fn waits_for_next_only(&self) -> bool {
        true
    }
}

/// Guard that counts a request as in flight until it ends or is dropped.
struct InFlightGauge<'a>(&'a Gauge);

impl<'a> InFlightGauge<'a> {
    fn begin(gauge: &'a Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for InFlightGauge<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("role", &self.0.role)
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

/// Counts a retry after this kind of error.
pub(super) fn count_retry(error: &str) {
    counter!("polywire_retries_total", "error" => error.to_owned()).increment(1);
}
