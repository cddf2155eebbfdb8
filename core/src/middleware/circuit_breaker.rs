//! Circuit breaker.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::circuit_log::CircuitLog;
use super::overload_refusal::overloaded;
use super::{Middleware, outcome_classification};
use crate::error::{CallError, Code, ErrorKind, Result};
use crate::message::Deadline;
use crate::service::{Reply, Request, Service};

/// Middleware that refuses requests for a while after repeated failures.
///
/// - *Closed*, the initial state: requests pass. After a number of consecutive failures (default 5)
///   the circuit opens.
/// - *Open*: requests fail at once, as unsent, with [`ErrorKind::Overloaded`]. After a pause
///   (default 5 seconds) the circuit is half-open.
/// - *Half-open*: one request passes as a probe. Its success closes the circuit; its failure opens
///   the circuit for another pause.
///
/// A failure is a missed deadline, a lost connection, a missing, overloaded or refusing peer. A
/// fault of the application is no failure, since it proves that the peer works.
///
/// Place it behind [`Retry`](super::Retry) on a client. If the probe is dropped before it ends, the
/// next request becomes the probe. Any other dropped call has no effect on the circuit.
///
/// ```
/// # use std::time::Duration;
/// use polywire_core::middleware::CircuitBreaker;
///
/// let breaker = CircuitBreaker::new().failures(10).pause(Duration::from_secs(2));
/// assert!(!breaker.is_open());
/// ```
#[derive(Clone, Debug)]
pub struct CircuitBreaker {
    circuit: Arc<Mutex<Circuit>>,
    log: Arc<CircuitLog>,
    name: Option<Arc<str>>,
    failures: u32,
    pause: Duration,
}

#[derive(Debug)]
enum Circuit {
    /// Requests pass; `failed` is the number of consecutive failures.
    Closed { failed: u32 },
    /// Requests are refused until this moment.
    Open { until: Instant },
    /// A probe is in flight.
    HalfOpen,
}

/// Role of an admitted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Normal,
    /// Probe of a half-open circuit.
    Probe,
}

impl CircuitBreaker {
    /// Creates a closed circuit breaker that opens after 5 consecutive failures, for 5 seconds.
    #[must_use]
    pub fn new() -> Self {
        let circuit = Arc::new(Mutex::new(Circuit::Closed { failed: 0 }));
        let log = Arc::default();
        Self { circuit, log, name: None, failures: 5, pause: Duration::from_secs(5) }
    }

    /// Names the breaker, for its log lines and for the gauge `polywire_circuit_state` (feature
    /// `metrics`): 0 if the circuit is closed, 1 if it is half-open, 2 if it is open. An open
    /// circuit becomes half-open with the first request after its pause. A breaker without a name
    /// has no gauge.
    #[must_use]
    pub fn name(self, name: impl Into<Arc<str>>) -> Self {
        let named = Self { name: Some(name.into()), ..self };
        named.set(&mut named.lock(), Circuit::Closed { failed: 0 });
        named
    }

    /// Sets the number of consecutive failures that open the circuit, at least 1. The default is 5.
    #[must_use]
    pub fn failures(self, failures: u32) -> Self {
        Self { failures, ..self }
    }

    /// Sets the time from opening until the next probe, at most [`Deadline::MAX`]. The default is
    /// 5 seconds.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Returns whether the circuit is open or half-open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(*self.lock(), Circuit::Closed { .. })
    }

    /// Admits or refuses a request.
    fn admit(&self) -> Option<Admission> {
        let mut circuit = self.lock();
        match *circuit {
            Circuit::Closed { .. } => Some(Admission::Normal),
            Circuit::Open { until } if until <= Instant::now() => {
                self.set(&mut circuit, Circuit::HalfOpen);
                Some(Admission::Probe)
            }
            Circuit::Open { .. } | Circuit::HalfOpen => None,
        }
    }

    fn succeeded(&self, admission: Admission) {
        let mut circuit = self.lock();
        match *circuit {
            Circuit::Closed { .. } => *circuit = Circuit::Closed { failed: 0 },
            Circuit::HalfOpen if admission == Admission::Probe => {
                self.log.closed(self.name.as_deref());
                self.set(&mut circuit, Circuit::Closed { failed: 0 });
            }
            // The request began before the circuit opened, and does not show the current state.
            Circuit::Open { .. } | Circuit::HalfOpen => {}
        }
    }

    fn failed(&self, admission: Admission) {
        let mut circuit = self.lock();
        let failed = match *circuit {
            Circuit::Closed { failed } => failed + 1,
            Circuit::HalfOpen if admission == Admission::Probe => self.failures,
            Circuit::Open { .. } | Circuit::HalfOpen => return,
        };
        if failed < self.failures {
            *circuit = Circuit::Closed { failed };
            return;
        }
        let (name, pause_ms) = (self.name.as_deref(), self.pause.as_millis());
        match *circuit {
            Circuit::HalfOpen => self.log.stays_open(name, pause_ms),
            _ => self.log.opened(name, pause_ms),
        }
        self.set(&mut circuit, Circuit::Open { until: Deadline::after(self.pause).instant() });
    }

    /// Changes the circuit, and its gauge.
    fn set(&self, circuit: &mut Circuit, state: Circuit) {
        #[cfg(feature = "metrics")]
        if let Some(name) = &self.name {
            let number = match state {
                Circuit::Closed { .. } => 0,
                Circuit::HalfOpen => 1,
                Circuit::Open { .. } => 2,
            };
            super::metrics::set_circuit_state(name, number);
        }
        *circuit = state;
    }

    /// Locks the circuit. No code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self::new()
    }
}

impl Middleware for CircuitBreaker {
    async fn call<S: Service>(&self, request: Request, next: &S) -> Result<Reply, CallError> {
        let Some(admission) = self.admit() else {
            return Err(overloaded("cannot send the request: the circuit is open"));
        };
        let mut probe = HalfOpenProbe((admission == Admission::Probe).then_some(self));
        let result = next.call(request).await;
        probe.0 = None;
        if is_failure(&result) {
            self.failed(admission);
        } else {
            self.succeeded(admission);
        }
        result
    }
}

/// Guard of the probe. If it is dropped in flight, the next request becomes the probe.
struct HalfOpenProbe<'a>(Option<&'a CircuitBreaker>);

impl Drop for HalfOpenProbe<'_> {
    fn drop(&mut self) {
        if let Some(breaker) = self.0 {
            breaker.set(&mut breaker.lock(), Circuit::Open { until: Instant::now() });
        }
    }
}

fn is_failure(result: &Result<Reply, CallError>) -> bool {
    if let Some(fault) = outcome_classification::fault(result) {
        return matches!(fault.code, Code::Unavailable | Code::DeadlineExceeded);
    }
    match result {
        Err(CallError::DeadlineExceeded(_)) => true,
        Err(CallError::Failed(error)) => matches!(
            error.kind(),
            ErrorKind::DeadlineExceeded
                | ErrorKind::Disconnected
                | ErrorKind::Overloaded
                | ErrorKind::Rejected
                | ErrorKind::Unroutable
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;
    use crate::error::{Error, Fault};
    use crate::message::Message;
    use crate::middleware::Layer;
    use crate::service::service_fn;

    /// State of a service that fails on demand.
    struct ServiceState {
        broken: AtomicBool,
        calls: AtomicU32,
    }

    fn flaky(breaker: &CircuitBreaker) -> (impl Service, Arc<ServiceState>) {
        let shared =
            Arc::new(ServiceState { broken: AtomicBool::new(true), calls: AtomicU32::new(0) });
        let state = shared.clone();
        let service = service_fn(move |_| {
            state.calls.fetch_add(1, Ordering::Relaxed);
            let broken = state.broken.load(Ordering::Relaxed);
            async move {
                let lost = || Error::new(ErrorKind::Disconnected, "lost").into();
                if broken { Err(lost()) } else { Ok(Reply::default()) }
            }
        });
        (breaker.layer(service), shared)
    }

    fn request() -> Request {
        Request::new(Message::default())
    }

    #[tokio::test(start_paused = true)]
    async fn failing_service_is_refused_and_probed_after_the_pause() {
        let breaker = CircuitBreaker::new().failures(3).pause(Duration::from_secs(5));
        let (service, state) = flaky(&breaker);
        for _ in 0..10 {
            assert!(service.call(request()).await.is_err());
        }
        assert_eq!(state.calls.load(Ordering::Relaxed), 3);
        assert!(breaker.is_open());

        tokio::time::advance(Duration::from_secs(5)).await;
        for _ in 0..10 {
            assert!(service.call(request()).await.is_err());
        }
        assert_eq!(state.calls.load(Ordering::Relaxed), 4, "one request is the probe");

        tokio::time::advance(Duration::from_secs(5)).await;
        state.broken.store(false, Ordering::Relaxed);
        for _ in 0..10 {
            service.call(request()).await.unwrap();
        }
        assert!(!breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn successes_and_application_faults_keep_the_circuit_closed() {
        let breaker = CircuitBreaker::new().failures(2);
        let (service, state) = flaky(&breaker);
        for broken in [true, false, true, false] {
            state.broken.store(broken, Ordering::Relaxed);
            let _ = service.call(request()).await;
        }
        assert!(!breaker.is_open());
        let refusing = breaker.layer(service_fn(async |_| {
            Ok(Message::failed(Fault::new(Code::Application, "no")).into())
        }));
        for _ in 0..5 {
            refusing.call(request()).await.unwrap();
        }
        assert!(!breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn dropped_probe_makes_the_next_request_the_probe() {
        let breaker = CircuitBreaker::new().failures(1).pause(Duration::from_secs(1));
        let (service, _) = flaky(&breaker);
        assert!(service.call(request()).await.is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        let stuck = breaker.layer(service_fn(|_| std::future::pending()));
        let mut probe = Box::pin(stuck.call(request()));
        assert!(futures_util::poll!(&mut probe).is_pending());
        assert!(breaker.admit().is_none(), "the probe is in flight");
        drop(probe);
        assert_eq!(breaker.admit(), Some(Admission::Probe));
    }
}
