//! Counts and durations, told to the `metrics` facade.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::time::Instant;

use super::{Middleware, failure};
use crate::error::{CallError, Code, Result};
use crate::message::Address;
use crate::rpc::{ClientStats, ServerStats};
use crate::service::{Reply, Request, Service};
use crate::worker::WorkStats;

/// Counts requests, how long they take and how many are under way, for whatever recorder the
/// program has installed through the [`metrics`] facade.
///
/// The names and labels stand in `docs/observability.md`. Methods have a label of their own up to
/// 256 of them, the rest and those that no service knows are `other`: what a stranger calls cannot
/// fill the memory.
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
    end: &'static str,
    name: Arc<str>,
    in_flight: Gauge,
    methods: RwLock<HashMap<Option<Address>, Arc<Method>>>,
}

/// The handles of one method. Looking them up costs more than using them.
struct Method {
    label: String,
    done: Counter,
    duration: Histogram,
}

const METHODS_MAX: usize = 256;

impl Metrics {
    /// For a client of `service`.
    #[must_use]
    pub fn client(service: impl Into<Arc<str>>) -> Self {
        Self::at("client", service.into())
    }

    /// For a server of `service`.
    #[must_use]
    pub fn server(service: impl Into<Arc<str>>) -> Self {
        Self::at("server", service.into())
    }

    /// For a worker of `queue`.
    #[must_use]
    pub fn worker(queue: impl Into<Arc<str>>) -> Self {
        Self::at("worker", queue.into())
    }

    /// For a listener to `channel`.
    #[must_use]
    pub fn listener(channel: impl Into<Arc<str>>) -> Self {
        Self::at("listener", channel.into())
    }

    fn at(end: &'static str, name: Arc<str>) -> Self {
        let in_flight = gauge!("polywire_in_flight", "end" => end, "name" => name.to_string());
        Self(Arc::new(Inner { end, name, in_flight, methods: RwLock::default() }))
    }

    /// The handles of `method`; those of `other`, if it is unknown or one too many.
    fn method(&self, method: Option<Address>) -> Arc<Method> {
        // Nothing panics while it holds the lock.
        let methods = self.0.methods.read().unwrap_or_else(PoisonError::into_inner);
        let is_full = methods.len() >= METHODS_MAX;
        if let Some(known) = methods.get(&method) {
            return known.clone();
        }
        drop(methods);
        let method = method.filter(|_| !is_full);
        let made = Arc::new(self.make(method.as_ref()));
        let mut methods = self.0.methods.write().unwrap_or_else(PoisonError::into_inner);
        methods.entry(method).or_insert(made).clone()
    }

    fn make(&self, method: Option<&Address>) -> Method {
        let label = method.map_or("other", |method| method.as_str()).to_owned();
        let (end, name) = (self.0.end, self.0.name.to_string());
        Method {
            done: counter!("polywire_requests_total", "end" => end, "name" => name.clone(), "method" => label.clone(), "outcome" => "Ok"),
            duration: histogram!("polywire_request_duration_seconds", "end" => end, "name" => name, "method" => label.clone()),
            label,
        }
    }

    fn record(&self, method: &Method, start: Instant, outcome: &Result<Reply, CallError>) {
        method.duration.record(start.elapsed());
        match failure::kind(outcome) {
            None => method.done.increment(1),
            Some(kind) => {
                let (end, name) = (self.0.end, self.0.name.to_string());
                let label = method.label.clone();
                counter!("polywire_requests_total", "end" => end, "name" => name, "method" => label, "outcome" => kind).increment(1);
            }
        }
    }
}

impl Middleware for Metrics {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Reply, CallError> {
        let (method, start) = (request.message.method.clone(), Instant::now());
        let under_way = UnderWay::begin(&self.0.in_flight);
        let outcome = next.call(request).await;
        drop(under_way);
        let is_known =
            failure::fault(&outcome).is_none_or(|fault| fault.code != Code::MethodNotFound);
        self.record(&self.method(method.filter(|_| is_known)), start, &outcome);
        outcome
    }
}

/// Counts a request as under way for as long as it lives, also if it is dropped.
struct UnderWay<'a>(&'a Gauge);

impl<'a> UnderWay<'a> {
    fn begin(gauge: &'a Gauge) -> Self {
        gauge.increment(1);
        Self(gauge)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("end", &self.0.end)
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

pub(super) fn count_retry(error: &str) {
    counter!("polywire_retries_total", "error" => error.to_owned()).increment(1);
}

/// Tells what an end has counted by itself, and whose it is.
fn set<const N: usize>(label: &'static str, whose: &str, counts: [(&'static str, u64); N]) {
    for (name, count) in counts {
        counter!(name, label => whose.to_owned()).absolute(count);
    }
}

impl ClientStats {
    /// Tells the recorder of the `metrics` facade what a client of `service` has counted. Call it
    /// before each report.
    pub fn record(&self, service: &str) {
        set(
            "service",
            service,
            [
                ("polywire_client_late_replies_total", self.late_replies),
                ("polywire_client_bad_replies_total", self.bad_replies),
            ],
        );
    }
}

impl ServerStats {
    /// Tells the recorder of the `metrics` facade what a server of `service` has counted. Call it
    /// before each report.
    pub fn record(&self, service: &str) {
        set(
            "service",
            service,
            [
                ("polywire_server_answered_total", self.answered),
                ("polywire_server_panicked_total", self.panicked),
                ("polywire_server_expired_total", self.expired),
                ("polywire_server_rejected_total", self.rejected),
                ("polywire_server_refused_total", self.refused),
                ("polywire_server_undelivered_total", self.undelivered),
                ("polywire_server_duplicates_total", self.duplicates),
                ("polywire_server_cancelled_total", self.cancelled),
                ("polywire_server_declined_total", self.declined),
                ("polywire_server_answered_early_total", self.answered_early),
                ("polywire_server_failed_late_total", self.failed_late),
            ],
        );
    }
}

impl WorkStats {
    /// Tells the recorder of the `metrics` facade what a worker of the queue `name`, or a listener
    /// to the channel, has counted. Call it before each report.
    pub fn record(&self, name: &str) {
        set(
            "name",
            name,
            [
                ("polywire_work_done_total", self.done),
                ("polywire_work_retried_total", self.retried),
                ("polywire_work_discarded_total", self.discarded),
                ("polywire_work_dead_lettered_total", self.dead_lettered),
                ("polywire_work_panicked_total", self.panicked),
                ("polywire_work_rejected_total", self.rejected),
            ],
        );
    }
}
