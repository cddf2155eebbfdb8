//! The metrics that a recorder of the `metrics` facade receives.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use polywire::middleware::{Backoff, CircuitBreaker, Layer, Metrics, Retry};
use polywire::pipeline::WaitingRetries;
use polywire::{
    Client, Code, DeadLetters, Error, ErrorKind, Fault, Memory, Message, MessagePack, Overflow,
    Publisher, Puller, Pusher, Reply, Request, Router, Server, Service, Subscriber, Transport,
    Window, Worker, service_fn,
};
use tokio::sync::Notify;

/// Returns the metrics that are recorded while `work` runs, as lines.
fn told(work: impl AsyncFnOnce()) -> Vec<String> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let prometheus = recorder.handle();
    // The recorder is local to the thread, so everything runs on this thread.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(work()));
    prometheus.render().lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_contains(lines: &[String], line: &str) {
    assert!(lines.iter().any(|it| it == line), "{line} is not in {lines:#?}");
}

#[test]
fn calls_are_counted_on_both_ends_by_method_and_outcome() {
    let lines = told(async || {
        let transport = Memory::new();
        let router = Router::new(MessagePack)
            .method("add", async |(a, b): (i64, i64)| Ok(a + b))
            .method("fail", async |(): ()| Err::<(), _>(Fault::new(Code::Application, "no")));
        let server = Server::bind(&transport, "calculator").await.unwrap();
        let handle = server.handle();
        tokio::spawn(server.serve(Metrics::server("calculator").layer(router)));
        let client = Client::connect(&transport, "calculator", MessagePack).await.unwrap();
        let client = client.layer(&Metrics::client("calculator"));
        for _ in 0..3 {
            client.call::<i64>("add", &(2, 3)).await.unwrap();
        }
        client.call::<()>("fail", &()).await.unwrap_err();
        client.call::<()>("what.a.stranger.says", &()).await.unwrap_err();
        handle.stats().record("calculator");
    });
    for role in ["client", "server"] {
        let labels = format!(r#"role="{role}",name="calculator""#);
        for (method, outcome, count) in
            [("add", "Ok", 3), ("fail", "Application", 1), ("other", "MethodNotFound", 1)]
        {
            let line = format!(
                r#"polywire_requests_total{{{labels},method="{method}",outcome="{outcome}"}} {count}"#
            );
            assert_contains(&lines, &line);
        }
        assert_contains(
            &lines,
            &format!(r#"polywire_request_duration_seconds_count{{{labels},method="add"}} 3"#),
        );
        assert_contains(&lines, &format!(r#"polywire_in_flight{{{labels}}} 0"#));
    }
    assert_contains(&lines, r#"polywire_server_answered_total{service="calculator"} 5"#);
}

#[test]
fn there_are_no_more_labels_than_256_methods() {
    let lines = told(async || {
        let service = Metrics::server("any").layer(service_fn(async |_| Ok(Reply::default())));
        let client = Client::new(service, MessagePack);
        for n in 0..300 {
            // The reply is empty, which the codec does not decode as a unit; the test only needs a
            // reply.
            let _ = client.call::<()>(format!("method{n}").as_str(), &()).await;
        }
    });
    let labels = lines.iter().filter(|line| line.starts_with("polywire_requests_total{")).count();
    assert!((256..=257).contains(&labels), "{labels}");
    assert!(
        lines.iter().any(|line| line.contains(r#"method="other""#) && line.ends_with(" 44")),
        "{lines:#?}"
    );
}

#[test]
fn events_that_a_slow_subscriber_misses_are_counted() {
    let lines = told(async || {
        let transport = Memory::new();
        let bind =
            || Subscriber::<u32>::bind(&transport, "weather", MessagePack).window(Window::new(2));
        let oldest = bind().overflow(Overflow::DropOldest).await.unwrap();
        let newest = bind().overflow(Overflow::DropNewest).await.unwrap();
        let weather = Publisher::connect(&transport, "weather", MessagePack).await.unwrap();
        for n in 0..5 {
            weather.publish("paris", &n).await.unwrap();
        }
        while oldest.dropped() + newest.dropped() < 6 {
            tokio::task::yield_now().await;
        }
    });
    assert_contains(&lines, r#"polywire_events_dropped_total{name="weather"} 6"#);
}

/// A service whose only method `wait` announces that it has begun, and never ends.
fn waiting(begun: &Arc<Notify>) -> Router<MessagePack> {
    let begun = begun.clone();
    Router::new(MessagePack).method("wait", move |(): ()| {
        let begun = begun.clone();
        async move {
            begun.notify_one();
            std::future::pending::<()>().await;
            Ok(())
        }
    })
}

#[test]
fn stopped_handlers_are_counted_with_their_reasons() {
    let lines = told(async || {
        let (transport, begun) = (Memory::new(), Arc::new(Notify::new()));
        let server = Server::bind(&transport, "bank").await.unwrap();
        let stats = server.handle();
        let service = Metrics::server("bank").layer(waiting(&begun));
        let serving = tokio::spawn(server.serve(service));
        let client = Client::connect(&transport, "bank", MessagePack).await.unwrap();
        let client = client.layer(&Metrics::client("bank"));
        let call = || client.request("wait").start::<()>(&()).unwrap();
        // The deadline.
        let timeout = Duration::from_millis(50);
        client.request("wait").timeout(timeout).call::<()>(&()).await.unwrap_err();
        begun.notified().await;
        // The caller cancels.
        let cancelled = call();
        begun.notified().await;
        drop(cancelled);
        while stats.stats().cancelled == 0 {
            tokio::task::yield_now().await;
        }
        // The server is dropped.
        let _drained = call();
        begun.notified().await;
        serving.abort();
        while stats.stats().running > 0 {
            tokio::task::yield_now().await;
        }
        // The worker is dropped.
        let worker = Worker::bind(&transport, "jobs", MessagePack).await.unwrap();
        let handle = worker.handle();
        let working = tokio::spawn(worker.serve(Metrics::worker("jobs").layer(waiting(&begun))));
        let pusher = Pusher::connect(&transport, "jobs", MessagePack).await.unwrap();
        pusher.push_call("wait", &()).await.unwrap();
        begun.notified().await;
        working.abort();
        while handle.stats().running > 0 {
            tokio::task::yield_now().await;
        }
    });
    for (role, name, outcome) in [
        ("server", "bank", "DeadlineExceeded"),
        ("server", "bank", "Cancelled"),
        ("server", "bank", "Drained"),
        ("worker", "jobs", "Drained"),
        ("client", "bank", "DeadlineExceeded"),
        ("client", "bank", "Cancelled"),
    ] {
        let labels = format!(r#"role="{role}",name="{name}",method="wait",outcome="{outcome}""#);
        assert_contains(&lines, &format!("polywire_requests_total{{{labels}}} 1"));
    }
    let labels = r#"role="server",name="bank""#;
    assert_contains(
        &lines,
        &format!(r#"polywire_request_duration_seconds_count{{{labels},method="wait"}} 3"#),
    );
    assert_contains(&lines, &format!("polywire_in_flight{{{labels}}} 0"));
}

#[test]
fn state_of_a_circuit_is_a_gauge() {
    let gauge = |state: u8| format!(r#"polywire_circuit_state{{name="bank"}} {state}"#);
    let breaker = || CircuitBreaker::new().failures(1).pause(Duration::ZERO).name("bank");
    let request = || Request::new(Message::default());
    let failing =
        || service_fn(async |_| Err(Fault::new(Code::Unavailable, "it is closed").into()));
    let lines = told(async || drop(breaker()));
    assert_contains(&lines, &gauge(0));
    let lines = told(async || {
        breaker().layer(failing()).call(request()).await.unwrap_err();
    });
    assert_contains(&lines, &gauge(2));
    let lines = told(async || {
        let breaker = breaker();
        breaker.layer(failing()).call(request()).await.unwrap_err();
        let probing = breaker.layer(service_fn(|_| std::future::pending()));
        let probe = request();
        // In flight until the runtime ends, which is after the metrics are read.
        tokio::spawn(async move { probing.call(probe).await });
        tokio::task::yield_now().await;
    });
    assert_contains(&lines, &gauge(1));
    let lines = told(async || {
        let breaker = breaker();
        breaker.layer(failing()).call(request()).await.unwrap_err();
        breaker.layer(service_fn(async |_| Ok(Reply::default()))).call(request()).await.unwrap();
    });
    assert_contains(&lines, &gauge(0));
}

#[test]
fn retry_that_waits_is_a_gauge() {
    let lines = told(async || {
        let failing = service_fn(async |_| {
            Err(Error::new(ErrorKind::Disconnected, "cannot connect").unsent().into())
        });
        let retry = Retry::new().backoff(Backoff::constant(Duration::from_secs(3600)));
        let service = retry.layer(failing);
        // In flight until the runtime ends, which is after the metrics are read.
        tokio::spawn(async move { service.call(Request::new(Message::default())).await });
        tokio::task::yield_now().await;
    });
    assert_contains(&lines, "polywire_retries_waiting 1");
    assert_contains(&lines, r#"polywire_retries_total{error="Disconnected"} 1"#);
}

#[test]
fn gauge_of_waiting_retries_goes_down_after_the_pause_and_with_a_dropped_call() {
    let lines = told(async || {
        let lost = || Error::new(ErrorKind::Disconnected, "cannot connect").unsent().into();
        let calls = AtomicU32::new(0);
        let failing_once = service_fn(move |_: Request| {
            let is_first = calls.fetch_add(1, Ordering::Relaxed) == 0;
            async move { if is_first { Err(lost()) } else { Ok(Reply::default()) } }
        });
        let retry = Retry::new().backoff(Backoff::constant(Duration::from_millis(1)));
        let service = retry.layer(failing_once);
        service.call(Request::new(Message::default())).await.unwrap();

        let failing = service_fn(async |_| {
            Err(Error::new(ErrorKind::Disconnected, "cannot connect").unsent().into())
        });
        let retry = Retry::new().backoff(Backoff::constant(Duration::from_secs(3600)));
        let service = retry.layer(failing);
        let mut waiting = Box::pin(service.call(Request::new(Message::default())));
        tokio::select! {
            biased;
            _ = &mut waiting => unreachable!("the retry waits for an hour"),
            () = tokio::task::yield_now() => {}
        }
        drop(waiting);
    });
    assert_contains(&lines, r#"polywire_retries_total{error="Disconnected"} 2"#);
    assert_contains(&lines, "polywire_retries_waiting 0");
}

#[test]
fn dead_letters_are_a_gauge_of_their_source() {
    let lines = told(async || {
        let transport = Memory::new();
        let mut jobs: Puller<u32> = Puller::bind(&transport, "jobs", MessagePack).await.unwrap();
        let pusher = Pusher::connect(&transport, "jobs", MessagePack).await.unwrap();
        for n in 0..3_u32 {
            pusher.push(&n).await.unwrap();
            jobs.next().await.unwrap().unwrap().dead_letter("no").unwrap();
        }
        let dead = DeadLetters::of_queue(&transport, "jobs").unwrap();
        assert_eq!(dead.record().await.unwrap(), 3);
        assert_eq!(dead.count().await.unwrap(), 3, "they are not taken");
        let group = polywire::Group::new("forecast").unwrap();
        let binding = Subscriber::<u32>::bind(&transport, "weather", MessagePack);
        drop(binding.group(group.durable()).await.unwrap());
        let of_group = DeadLetters::of_group(&transport, "weather", "forecast").unwrap();
        assert_eq!(of_group.record().await.unwrap(), 0);
    });
    assert_contains(&lines, r#"polywire_dead_letters{source="queue",name="jobs",group=""} 3"#);
    assert_contains(
        &lines,
        r#"polywire_dead_letters{source="group",name="weather",group="forecast"} 0"#,
    );
}

#[test]
fn deliveries_that_wait_for_a_retry_are_a_gauge_of_their_source() {
    let lines = told(async || {
        let transport = Memory::new();
        let mut jobs: Puller<u32> = Puller::bind(&transport, "jobs", MessagePack).await.unwrap();
        let pusher = Pusher::connect(&transport, "jobs", MessagePack).await.unwrap();
        for n in 0..2_u32 {
            pusher.push(&n).await.unwrap();
            let job = jobs.next().await.unwrap().unwrap();
            job.retry_after(Duration::from_secs(3600), "busy").unwrap();
        }
        let waiting = WaitingRetries::of_queue(&transport, "jobs").unwrap();
        assert_eq!(waiting.record().await.unwrap(), 2);
    });
    assert_contains(
        &lines,
        r#"polywire_deliveries_waiting{source="queue",name="jobs",group=""} 2"#,
    );
}

#[test]
fn dead_letters_that_cannot_be_counted_are_no_number() {
    let lines = told(async || {
        let transport = Memory::new();
        drop(Puller::<u32>::bind(&transport, "jobs", MessagePack).await.unwrap());
        let dead = DeadLetters::of_queue(&transport, "jobs").unwrap();
        assert_eq!(dead.record().await.unwrap(), 0);
        transport.close().await.unwrap();
        assert_eq!(dead.record().await.unwrap_err().kind(), ErrorKind::Closed);
    });
    assert_contains(&lines, r#"polywire_dead_letters{source="queue",name="jobs",group=""} NaN"#);
}
