//! What to stop calling, because it keeps failing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Middleware, failure, overloaded};
use crate::error::{CallError, Code, ErrorKind, Result};
use crate::service::{Reply, Request, Service};

/// Stops calling what keeps failing: after so many failures in a row it refuses every request for a
/// while, then lets one through to try, and goes on by what becomes of it.
///
/// A failure is a deadline that passed, a connection that is lost, nobody there, or a peer that
/// says that it cannot take calls now; never a fault of the application, which shows that the peer
/// works. What is refused was not tried: it fails with [`ErrorKind::Overloaded`] as unsent. Put
/// [`Retry`](super::Retry) in front of it.
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
    failures: u32,
    pause: Duration,
}

#[derive(Debug)]
enum Circuit {
    /// Requests go through; so many have failed in a row.
    Closed { failed: u32 },
    /// None goes through before this moment; then one does.
    Open { until: Instant },
    /// One is being tried.
    Trying,
}

impl CircuitBreaker {
    /// Opens after 5 failures in a row, for 5 seconds.
    #[must_use]
    pub fn new() -> Self {
        let circuit = Arc::new(Mutex::new(Circuit::Closed { failed: 0 }));
        Self { circuit, failures: 5, pause: Duration::from_secs(5) }
    }

    /// How many failures in a row it takes, at least one. The default is 5.
    #[must_use]
    pub fn failures(self, failures: u32) -> Self {
        Self { failures, ..self }
    }

    /// How long nothing goes through. The default is 5 seconds.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Whether requests are being refused.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !matches!(*self.lock(), Circuit::Closed { .. })
    }

    /// Lets a request through, or not. `Some(true)` is the one that is tried.
    fn admit(&self) -> Option<bool> {
        let mut circuit = self.lock();
        match *circuit {
            Circuit::Closed { .. } => Some(false),
            Circuit::Open { until } if until <= Instant::now() => {
                *circuit = Circuit::Trying;
                Some(true)
            }
            Circuit::Open { .. } | Circuit::Trying => None,
        }
    }

    fn succeeded(&self, was_trying: bool) {
        let mut circuit = self.lock();
        match *circuit {
            Circuit::Closed { .. } => *circuit = Circuit::Closed { failed: 0 },
            Circuit::Trying if was_trying => {
                tracing::info!("the circuit is closed: calls go through again");
                *circuit = Circuit::Closed { failed: 0 };
            }
            // It began before the circuit opened, and says nothing about now.
            Circuit::Open { .. } | Circuit::Trying => {}
        }
    }

    fn failed(&self, was_trying: bool) {
        let mut circuit = self.lock();
        let failed = match *circuit {
            Circuit::Closed { failed } => failed + 1,
            Circuit::Trying if was_trying => self.failures,
            Circuit::Open { .. } | Circuit::Trying => return,
        };
        if failed < self.failures {
            *circuit = Circuit::Closed { failed };
            return;
        }
        tracing::warn!(pause_ms = self.pause.as_millis(), "the circuit is open: calls are refused");
        *circuit = Circuit::Open { until: Instant::now() + self.pause };
    }

    /// Nothing panics while it holds the lock.
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
        let Some(trying) = self.admit() else { return Err(overloaded("the circuit is open")) };
        let mut trial = HalfOpenProbe(trying.then_some(self));
        let outcome = next.call(request).await;
        trial.0 = None;
        if is_failure(&outcome) {
            self.failed(trying);
        } else {
            self.succeeded(trying);
        }
        outcome
    }
}

/// The request that is tried. If it is dropped before it is over, the next one is.
struct HalfOpenProbe<'a>(Option<&'a CircuitBreaker>);

impl Drop for HalfOpenProbe<'_> {
    fn drop(&mut self) {
        if let Some(breaker) = self.0 {
            *breaker.lock() = Circuit::Open { until: Instant::now() };
        }
    }
}

fn is_failure(outcome: &Result<Reply, CallError>) -> bool {
    if let Some(fault) = failure::fault(outcome) {
        return matches!(fault.code, Code::Unavailable | Code::DeadlineExceeded);
    }
    match outcome {
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

    /// A service that can be broken and mended.
    struct Patient {
        broken: AtomicBool,
        calls: AtomicU32,
    }

    fn patient(breaker: &CircuitBreaker) -> (impl Service, Arc<Patient>) {
        let patient = Arc::new(Patient { broken: AtomicBool::new(true), calls: AtomicU32::new(0) });
        let state = patient.clone();
        let service = service_fn(move |_| {
            state.calls.fetch_add(1, Ordering::Relaxed);
            let broken = state.broken.load(Ordering::Relaxed);
            async move {
                let lost = || Error::new(ErrorKind::Disconnected, "lost").into();
                if broken { Err(lost()) } else { Ok(Reply::default()) }
            }
        });
        (breaker.layer(service), patient)
    }

    fn request() -> Request {
        Request::new(Message::default())
    }

    #[tokio::test(start_paused = true)]
    async fn what_keeps_failing_is_left_alone_and_tried_after_the_pause() {
        let breaker = CircuitBreaker::new().failures(3).pause(Duration::from_secs(5));
        let (service, patient) = patient(&breaker);
        for _ in 0..10 {
            assert!(service.call(request()).await.is_err());
        }
        assert_eq!(patient.calls.load(Ordering::Relaxed), 3);
        assert!(breaker.is_open());

        tokio::time::advance(Duration::from_secs(5)).await;
        for _ in 0..10 {
            assert!(service.call(request()).await.is_err());
        }
        assert_eq!(patient.calls.load(Ordering::Relaxed), 4, "one was tried");

        tokio::time::advance(Duration::from_secs(5)).await;
        patient.broken.store(false, Ordering::Relaxed);
        for _ in 0..10 {
            service.call(request()).await.unwrap();
        }
        assert!(!breaker.is_open());
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_in_between_and_faults_of_the_application_keep_it_closed() {
        let breaker = CircuitBreaker::new().failures(2);
        let (service, patient) = patient(&breaker);
        for broken in [true, false, true, false] {
            patient.broken.store(broken, Ordering::Relaxed);
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
    async fn a_trial_that_is_dropped_leaves_the_next_one_to_try() {
        let breaker = CircuitBreaker::new().failures(1).pause(Duration::from_secs(1));
        let (service, _) = patient(&breaker);
        assert!(service.call(request()).await.is_err());
        tokio::time::advance(Duration::from_secs(1)).await;
        let stuck = breaker.layer(service_fn(|_| std::future::pending()));
        let mut trial = Box::pin(stuck.call(request()));
        assert!(futures_util::poll!(&mut trial).is_pending());
        assert!(breaker.admit().is_none(), "one is being tried");
        drop(trial);
        assert_eq!(breaker.admit(), Some(true));
    }
}
