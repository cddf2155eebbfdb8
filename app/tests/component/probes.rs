//! The port of the probes.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use polywire::app::{App, BoxError, Component, Exit, Settings};
use polywire::{
    AnyTransport, Client, Error, ErrorKind, Group, MessagePack, Puller, Pusher, Result, Router,
    Window,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::http::{free_address, get, send};
use crate::shop::{PATIENCE, add, adder, memory_url, peer};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        alone metrics_are_those_of_the_recorder,
        alone metrics_are_those_of_the_programs_function,
        alone dead_letters_of_workers_and_listeners_are_a_metric,
        alone failure_of_the_start_is_the_reason_of_the_readiness,
        paused lost_canary_turns_readiness_off_until_one_comes_back,
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

async fn dead_letters_of_workers_and_listeners_are_a_metric() {
    let (url, probe) = (memory_url(), free_address());
    let transport = peer(&url);
    let pusher = Pusher::connect(&transport, "unread", MessagePack).await.unwrap();
    pusher.push(&7_u32).await.unwrap();
    let mut jobs: Puller<u32> = Puller::bind(&transport, "unread", MessagePack).await.unwrap();
    jobs.next().await.unwrap().unwrap().dead_letter("a test").unwrap();
    drop(jobs);
    let settings = Settings::new("reader").url(&url).probe(probe);
    let app = App::new(settings, polywire::connect).prometheus();
    let setup = async |app: Component| {
        drop(Puller::<u32>::bind(app.transport(), "pulled", MessagePack).await?);
        app.work("unread", MessagePack, async |_: u32| Ok(())).await?;
        let listening = app.listen_with(
            "orders",
            MessagePack,
            |listener| listener.group(Group::new("billing").unwrap()),
            async |_: u32| Ok(()),
        );
        Ok::<_, BoxError>(listening.await?)
    };
    let component = app.start(setup).await.unwrap();
    let line = "polywire_dead_letters{source=\"queue\",name=\"unread\",group=\"\"} 1";
    let of_group = "polywire_dead_letters{source=\"group\",name=\"orders\",group=\"billing\"} 0";
    let waiting = "polywire_deliveries_waiting{source=\"queue\",name=\"unread\",group=\"\"} 0";
    for line in [line, of_group, waiting] {
        let counting = async { while !get(probe, "/metrics").await.1.contains(line) {} };
        timeout(PATIENCE, counting).await.expect("the dead letters are counted");
    }
    // The program may have no use for the dead letters of its pullers.
    let (_, text) = get(probe, "/metrics").await;
    assert!(!text.contains("name=\"pulled\""), "{text}");
    component.stop().await;
}

async fn failure_of_the_start_is_the_reason_of_the_readiness() {
    let (probe, attempts) = (free_address(), AtomicU32::new(0));
    let (begins, mut begun) = mpsc::channel(1);
    let settings = Settings::new("adder").url(memory_url()).probe(probe).wait_forever();
    let app = App::new(settings, move |_: &str| {
        let (attempt, begins) = (attempts.fetch_add(1, Ordering::SeqCst), begins.clone());
        async move {
            if attempt == 0 {
                return Err(Error::new(ErrorKind::Disconnected, "no broker listens: a test"));
            }
            begins.send(()).await.unwrap();
            std::future::pending::<Result<AnyTransport>>().await
        }
    });
    let asking = async {
        begun.recv().await.unwrap();
        get(probe, "/ready").await
    };
    let answer = tokio::select! {
        _ = app.start(setup) => unreachable!(),
        answer = asking => answer,
    };
    assert_eq!(answer, (503, "cannot start yet: no broker listens: a test\n".to_owned()));
}

async fn lost_canary_turns_readiness_off_until_one_comes_back() {
    let (url, every) = (memory_url(), Duration::from_secs(30));
    let (begins, mut begun) = mpsc::channel(1);
    let (release, released) = watch::channel(false);
    let setup = async |app: Component| {
        let (begins, released) = (begins.clone(), released.clone());
        let router = Router::new(MessagePack).method("wait", move |(): ()| {
            let (begins, mut released) = (begins.clone(), released.clone());
            async move {
                begins.send(()).await.unwrap();
                released.wait_for(|released| *released).await.unwrap();
                Ok(())
            }
        });
        let serving = app.serve_with("waiter", |server| server.window(Window::new(1)), router);
        Ok::<_, BoxError>(serving.await?)
    };
    let settings = Settings::new("waiter").url(&url).canary(every);
    let component = App::new(settings, polywire::connect).start(setup).await.unwrap();
    let client = Client::connect(&peer(&url), "waiter", MessagePack).await.unwrap();
    let client = client.with_timeout(Duration::from_hours(1));
    let call = tokio::spawn(async move { client.call::<()>("wait", &()).await });
    begun.recv().await.unwrap();
    // No canary comes back while the window is full. The clock is paused.
    let begun = tokio::time::Instant::now();
    while component.is_ready() {
        sleep(Duration::from_secs(1)).await;
    }
    assert!(begun.elapsed() < 2 * every, "{:?}", begun.elapsed());
    release.send_replace(true);
    call.await.unwrap().unwrap();
    let released = tokio::time::Instant::now();
    while !component.is_ready() {
        sleep(Duration::from_secs(1)).await;
    }
    assert!(released.elapsed() < every, "{:?}", released.elapsed());
    assert!(matches!(component.stop().await, Exit::Drained));
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
