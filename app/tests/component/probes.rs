//! The port of the probes.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use polywire::app::{App, BoxError, Component, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::http::{free_address, get, send};
use crate::shop::{PATIENCE, add, adder, memory_url};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        alone metrics_are_those_of_the_recorder,
        alone metrics_are_those_of_the_programs_function,
        alone head_is_answered_like_get_without_the_text,
        alone malformed_requests_are_refused,
        alone idle_connections_are_closed,
        paused port_of_a_failed_start_is_free_for_the_next,
        alone address_in_use_is_an_error_of_the_start,
    ]
}

async fn setup(app: Component) -> Result<(), BoxError> {
    Ok(app.serve("adder", adder()).await?)
}

async fn metrics_are_those_of_the_recorder() {
    // Counters belong to the process: no other test has a server of this name.
    const ANSWERED: &str = "polywire_server_answered_total{service=\"counted\"}";
    let counted =
        async |app: Component| -> Result<(), BoxError> { Ok(app.serve("counted", adder()).await?) };
    let (url, probe) = (memory_url(), free_address());
    let settings = Settings::new("counted").url(&url).probe(probe);
    let app = App::new(settings, polywire::connect).prometheus();
    let component = app.start(counted).await.unwrap();
    assert_eq!(add(&url, "counted").await.unwrap(), 5);
    let (status, text) = get(probe, "/metrics").await;
    assert_eq!(status, 200);
    for line in [
        "polywire_server_answered_total{service=\"counted\"} ",
        "polywire_requests_total{role=\"server\",name=\"counted\",method=\"add\",outcome=\"Ok\"} ",
        "polywire_request_duration_seconds_bucket{role=\"server\",name=\"counted\",method=\"add\",le=\"0.001\"}",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    // The counters go on where a server is bound again, in this component and in the next one.
    // A server counts an answer after it has sent it.
    let answered = async |expected: u64| {
        let counting = async {
            loop {
                let (_, text) = get(probe, "/metrics").await;
                let mut lines = text.lines();
                let line = lines.find(|line| line.starts_with(ANSWERED));
                let count = line.unwrap().rsplit_once(' ').unwrap().1.parse::<u64>().unwrap();
                assert!(count <= expected, "{text}");
                if count == expected {
                    return;
                }
            }
        };
        timeout(PATIENCE, counting).await.unwrap_or_else(|_| panic!("{expected} are not answered"));
    };
    answered(1).await;
    component.stop_consuming().await.unwrap();
    component.resume_consuming().await.unwrap();
    assert_eq!(add(&url, "counted").await.unwrap(), 5);
    answered(2).await;
    component.stop().await;
    // The recorder outlives the component.
    let component = app.start(counted).await.unwrap();
    assert_eq!(add(&url, "counted").await.unwrap(), 5);
    answered(3).await;
    component.stop().await;
}

async fn metrics_are_those_of_the_programs_function() {
    let probe = free_address();
    let app = |render: Option<&'static str>| {
        let settings = Settings::new("adder").url(memory_url()).probe(probe);
        let app = App::new(settings, polywire::connect);
        match render {
            None => app,
            Some(text) => app.metrics(move || text.to_owned()),
        }
    };
    for (text, expected) in [(Some("orders_total 3\n"), 200), (None, 404)] {
        let component = app(text).start(setup).await.unwrap();
        let (status, body) = get(probe, "/metrics").await;
        assert_eq!((status, text.is_none_or(|text| text == body)), (expected, true), "{body}");
        component.stop().await;
    }
}

async fn head_is_answered_like_get_without_the_text() {
    let probe = free_address();
    let settings = Settings::new("adder").url(memory_url()).probe(probe);
    let component = App::new(settings, polywire::connect).start(setup).await.unwrap();
    for (path, expected) in
        [("/live", 200), ("/ready", 200), ("/canary", 200), ("/metrics", 404), ("/", 404)]
    {
        assert_eq!(get(probe, path).await.0, expected, "{path}");
        let head = format!("HEAD {path} HTTP/1.1\r\nhost: probe\r\n\r\n");
        assert_eq!(send(probe, &head).await, (expected, String::new()), "{path}");
    }
    component.stop().await;
}

async fn malformed_requests_are_refused() {
    let probe = free_address();
    let settings = Settings::new("adder").url(memory_url()).probe(probe);
    let component = App::new(settings, polywire::connect).start(setup).await.unwrap();
    assert_eq!(get(probe, "/").await.0, 404);
    assert_eq!(send(probe, "POST /ready HTTP/1.1\r\nhost: a\r\n\r\n").await.0, 405);
    assert_eq!(send(probe, "nonsense\r\n\r\n").await.0, 400);
    let long = format!("GET /ready HTTP/1.1\r\na: {}\r\n\r\n", "a".repeat(20_000));
    let mut stream = TcpStream::connect(probe).await.unwrap();
    // The port may answer and close before all of it is written.
    let _ = stream.write_all(long.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(get(probe, "/ready").await.0, 200);
    component.stop().await;
}

async fn idle_connections_are_closed() {
    let probe = free_address();
    let settings = Settings::new("adder").url(memory_url()).probe(probe);
    let component = App::new(settings, polywire::connect).start(setup).await.unwrap();
    let begun = Instant::now();
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(probe).await.unwrap());
    }
    // Half a request, which never goes on.
    idle[0].write_all(b"GET /ready").await.unwrap();
    // The connections that wait for their turn get it, and the probe behind them.
    assert_eq!(get(probe, "/ready").await.0, 200);
    let mut rest = Vec::new();
    idle[0].read_to_end(&mut rest).await.unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"));
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    component.stop().await;
}

async fn port_of_a_failed_start_is_free_for_the_next() {
    let settings = Settings::new("adder").url(memory_url()).probe(free_address());
    let app = App::new(settings, polywire::connect);
    for _ in 0..3 {
        let exit = app.start(async |_| Err("no database".into())).await.unwrap_err();
        assert_eq!(exit.code(), 1, "{exit}");
    }
    app.start(setup).await.unwrap().stop().await;
}

async fn address_in_use_is_an_error_of_the_start() {
    let probe = free_address();
    let _taken = std::net::TcpListener::bind(probe).unwrap();
    let settings = Settings::new("adder").url(memory_url()).probe(probe);
    let exit = App::new(settings, polywire::connect).start(setup).await.unwrap_err();
    assert_eq!(exit.code(), 78);
    assert!(exit.to_string().contains(&probe.to_string()), "{exit}");
}
