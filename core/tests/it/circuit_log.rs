//! The log lines of a circuit that opens again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use polywire_core::middleware::{CircuitBreaker, Layer};
use polywire_core::{Error, ErrorKind, Message, Reply, Request, Service, service_fn};
use tokio::time::advance;

use crate::watching::watch;

const OPEN: &str = "the circuit is open";
const CLOSED: &str = "the circuit is closed";

#[tokio::test(start_paused = true)]
async fn circuit_that_opens_again_and_again_is_a_line_with_a_count() {
    let (seen, _guard) = watch();
    let pause = Duration::from_millis(100);
    let breaker = CircuitBreaker::new().name("prices").failures(1).pause(pause);
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = is_broken.clone();
    let service = breaker.layer(service_fn(move |_: Request| {
        let is_broken = broken.load(Ordering::Relaxed);
        async move {
            let lost = || Error::new(ErrorKind::Disconnected, "a test").into();
            if is_broken { Err(lost()) } else { Ok(Reply::default()) }
        }
    }));
    let open_and_close = async || {
        for broken in [true, false] {
            is_broken.store(broken, Ordering::Relaxed);
            let outcome = service.call(Request::new(Message::default())).await;
            assert_eq!(outcome.is_err(), broken);
            advance(pause).await;
        }
    };
    for _ in 0..20 {
        open_and_close().await;
    }
    let lines = |message: &str| {
        let level =
            |level: &str| seen.said(message).iter().filter(|line| line["level"] == level).count();
        (level("WARN"), level("INFO"), level("DEBUG"))
    };
    // The first opening and its end; the others are counted.
    assert_eq!((lines(OPEN), lines(CLOSED)), ((1, 0, 19), (0, 1, 19)));
    advance(Duration::from_secs(10)).await;
    open_and_close().await;
    assert_eq!((lines(OPEN), lines(CLOSED)), ((2, 0, 19), (0, 2, 19)));
    let warning = seen.said(OPEN).pop().unwrap();
    let fields = ["level", "name", "count", "pause_ms"].map(|field| &*warning[field]);
    assert_eq!(fields, ["WARN", "prices", "20", "100"]);

    // It opens again while no line is due, and stays open: its probes fail for 12 s.
    is_broken.store(true, Ordering::Relaxed);
    for _ in 0..=120 {
        let outcome = service.call(Request::new(Message::default())).await;
        assert!(outcome.is_err());
        advance(pause).await;
    }
    assert_eq!(lines(OPEN).0, 3);
    is_broken.store(false, Ordering::Relaxed);
    let outcome = service.call(Request::new(Message::default())).await;
    assert!(outcome.is_ok());
    assert_eq!(lines(CLOSED).1, 3);
}
