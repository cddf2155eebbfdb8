//! The metrics that a recorder of the `metrics` facade receives.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use metrics_exporter_prometheus::PrometheusBuilder;
use polywire::middleware::{Layer, Metrics};
use polywire::{
    Client, Code, Fault, Memory, MessagePack, Overflow, Publisher, Router, Server, Subscriber,
    Window,
};

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
fn assert_told(lines: &[String], line: &str) {
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
            assert_told(&lines, &line);
        }
        assert_told(
            &lines,
            &format!(r#"polywire_request_duration_seconds_count{{{labels},method="add"}} 3"#),
        );
        assert_told(&lines, &format!(r#"polywire_in_flight{{{labels}}} 0"#));
    }
    assert_told(&lines, r#"polywire_server_answered_total{service="calculator"} 5"#);
}

#[test]
fn there_are_no_more_labels_than_256_methods() {
    let lines = told(async || {
        let service = Metrics::server("any")
            .layer(polywire::service_fn(async |_| Ok(polywire::Reply::default())));
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
    assert_told(&lines, r#"polywire_events_dropped_total{name="weather"} 6"#);
}
