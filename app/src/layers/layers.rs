//! The layers of a component.

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "metrics")]
use polywire_core::middleware::Metrics;
use polywire_core::middleware::{Layer, Layered, LogFailures, Trace};
use polywire_core::{CallError, Code, Reply, Request, Service};

use super::any_service::AnyService;
use super::optional::Optional;

/// Layers that a component puts around each of its servers, workers and listeners, under the name
/// of the service, the queue or the channel.
///
/// The default is [`Trace`] outermost, then `Metrics` (feature `metrics`), then [`LogFailures`].
/// Layers of the program follow behind these three.
///
/// ```
/// use std::time::Duration;
///
/// use polywire_app::Layers;
/// use polywire_core::middleware::{ConcurrencyLimit, RateLimit};
///
/// let layers = Layers::new()
///     .expect_kind("OutOfStock") // logged at `debug`
///     .layer(ConcurrencyLimit::new(64))
///     .layer(RateLimit::new(1000, Duration::from_secs(1))); // sees a request first
/// # let _ = layers;
/// ```
#[derive(Clone)]
pub struct Layers {
    is_traced: bool,
    /// Has no effect without the feature `metrics`.
    is_measured: bool,
    is_logged: bool,
    codes: Vec<Code>,
    kinds: Vec<String>,
    /// Layers of the program, from the innermost one to the outermost one.
    own: Vec<Arc<dyn Fn(AnyService) -> AnyService + Send + Sync>>,
}

/// Role of the endpoint that a service runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LayerRole {
    Server,
    Worker,
    Listener,
}

impl Layers {
    /// Creates the default layers.
    #[must_use]
    pub fn new() -> Self {
        let (codes, kinds, own) = (Vec::new(), Vec::new(), Vec::new());
        Self { is_traced: true, is_measured: true, is_logged: true, codes, kinds, own }
    }

    /// Creates no layers.
    #[must_use]
    pub fn none() -> Self {
        Self { is_traced: false, is_measured: false, is_logged: false, ..Self::new() }
    }

    /// Leaves [`Trace`] out.
    #[must_use]
    pub fn without_trace(self) -> Self {
        Self { is_traced: false, ..self }
    }

    /// Leaves `Metrics` out.
    #[must_use]
    pub fn without_metrics(self) -> Self {
        Self { is_measured: false, ..self }
    }

    /// Leaves [`LogFailures`] out.
    #[must_use]
    pub fn without_failure_log(self) -> Self {
        Self { is_logged: false, ..self }
    }

    /// Marks faults with this code as expected; see [`LogFailures::expect_code`].
    #[must_use]
    pub fn expect_code(mut self, code: Code) -> Self {
        self.codes.push(code);
        self
    }

    /// Marks faults of this kind as expected; see [`LogFailures::expect_kind`].
    #[must_use]
    pub fn expect_kind(mut self, kind: impl Into<String>) -> Self {
        self.kinds.push(kind.into());
        self
    }

    /// Adds a layer of the program around every service. The layer that is added last sees a
    /// request first. All services share the state of the layer, such as a limit.
    ///
    /// A layer for one service alone is put around that service, by [`Layer::layer`].
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<AnyService, Service: Service> + Send + Sync + 'static,
    {
        self.own.push(Arc::new(move |service| AnyService::new(layer.layer(service))));
        self
    }

    /// Wraps the service of an endpoint.
    ///
    /// From the outside: the trace, the metrics, the log of failures, the layers of the program,
    /// the service. The type of the service is erased only if the program has layers. Without them,
    /// a request costs no further allocation.
    pub(crate) fn wrap<S: Service>(&self, role: LayerRole, name: &str, service: S) -> impl Service {
        let service = match self.own.split_first() {
            None => Wrapped::Plain(service),
            Some(_) => {
                let wrap = |service, layer: &Arc<dyn Fn(_) -> _ + Send + Sync>| layer(service);
                Wrapped::Erased(self.own.iter().fold(AnyService::new(service), wrap))
            }
        };
        let service = Layered::new(Optional(self.is_logged.then(|| self.log(name))), service);
        #[cfg(feature = "metrics")]
        let service =
            Layered::new(Optional(self.is_measured.then(|| metrics(role, name))), service);
        Layered::new(Optional(self.is_traced.then(|| trace(role, name))), service)
    }

    fn log(&self, name: &str) -> LogFailures {
        let log = self.codes.iter().fold(LogFailures::of(name), |log, code| log.expect_code(*code));
        self.kinds.iter().fold(log, LogFailures::expect_kind)
    }
}

impl Default for Layers {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Layers")
            .field("trace", &self.is_traced)
            .field("metrics", &(self.is_measured && cfg!(feature = "metrics")))
            .field("failure_log", &self.is_logged)
            .field("own", &self.own.len())
            .finish_non_exhaustive()
    }
}

fn trace(role: LayerRole, name: &str) -> Trace {
    match role {
        LayerRole::Server => Trace::server(name),
        LayerRole::Worker => Trace::worker(name),
        LayerRole::Listener => Trace::listener(name),
    }
}

#[cfg(feature = "metrics")]
fn metrics(role: LayerRole, name: &str) -> Metrics {
    match role {
        LayerRole::Server => Metrics::server(name),
        LayerRole::Worker => Metrics::worker(name),
        LayerRole::Listener => Metrics::listener(name),
    }
}

/// A service as it is, or within the layers of the program.
///
/// Keeps both cases in one type, which [`Layers::wrap`] returns.
enum Wrapped<S> {
    Plain(S),
    Erased(AnyService),
}

impl<S: Service> Service for Wrapped<S> {
    async fn call(&self, request: Request) -> Result<Reply, CallError> {
        match self {
            Self::Plain(service) => service.call(request).await,
            Self::Erased(service) => service.call(request).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::{Fault, Message, service_fn};

    use super::*;
    use crate::recorded_log::RecordedLog;

    /// Calls a service within `layers` that fails.
    async fn fail(layers: &Layers) {
        let failing = service_fn(|_: Request| async {
            let fault = Fault::new(Code::Application, "none left").with_kind("OutOfStock");
            Err::<Reply, CallError>(fault.into())
        });
        let service = layers.wrap(LayerRole::Server, "stock", failing);
        assert!(service.call(Request::new(Message::new(""))).await.is_err());
    }

    #[tokio::test]
    async fn failures_are_logged_unless_they_are_expected_or_the_layer_is_left_out() {
        let (log, _guard) = RecordedLog::begin();
        let (failed, expected) = ("WARN failed", "DEBUG failed as expected");
        for (layers, line) in [
            (Layers::new(), Some(failed)),
            (Layers::default().expect_kind("OutOfPaper"), Some(failed)),
            (Layers::new().expect_kind("OutOfStock"), Some(expected)),
            (Layers::new().expect_code(Code::Application), Some(expected)),
            (Layers::new().without_failure_log(), None),
            (Layers::none(), None),
        ] {
            fail(&layers).await;
            assert_eq!(log.take(), Vec::from_iter(line), "{layers:?}");
        }
    }

    #[cfg(feature = "prometheus")]
    #[test]
    fn requests_are_measured_unless_the_layer_is_left_out() {
        use futures_util::FutureExt;
        use metrics_exporter_prometheus::PrometheusBuilder;

        for (layers, is_measured) in [
            (Layers::new(), true),
            (Layers::new().without_metrics(), false),
            (Layers::none(), false),
        ] {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            let called = ::metrics::with_local_recorder(&recorder, || fail(&layers).now_or_never());
            assert!(called.is_some(), "the service answers at once");
            let text = handle.render();
            let has_failure = text.contains("polywire_requests_total{")
                && text.contains("outcome=\"Application\"");
            assert_eq!(has_failure, is_measured, "{text}");
        }
    }
}
