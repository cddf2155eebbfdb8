//! Starts that have to wait, and ends by failures.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use libtest_mimic::Trial;
use polywire::app::{App, BoxError, Component, Exit, Settings};
use polywire::{
    AnyTransport, CallError, Client, Error, ErrorKind, Fault, MessagePack, Overflow, Publisher,
    Result, Router, Window,
};
use tokio::time::Instant;

use crate::shop::{add, adder, app, memory_url, peer};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        paused start_waits_for_the_broker,
        paused start_wait_ends,
        paused start_wait_that_ends_within_an_attempt_names_the_host_and_the_failure_before,
        paused setup_that_exceeds_the_start_wait_closes_its_transport,
        paused refusal_ends_the_start_at_once,
        paused transport_that_is_lost_during_the_setup_is_waited_for,
        paused service_that_a_call_of_the_setup_needs_is_waited_for,
        paused service_that_a_call_with_a_declared_error_needs_is_waited_for,
        paused cause_of_a_stop_during_the_setup_wins,
        paused handler_that_goes_on_exceeds_the_grace_period,
        alone endpoint_that_ends_with_an_error_ends_the_component,
        alone dropped_start_leaves_nothing_behind,
    ]
}

/// An app whose first attempts to connect fail.
fn failing(attempts: &Arc<AtomicU32>, failures: u32, kind: ErrorKind, settings: Settings) -> App {
    let attempts = attempts.clone();
    App::new(settings, move |url: &str| {
        let url = url.to_owned();
        let attempt = attempts.fetch_add(1, Ordering::SeqCst);
        async move {
            if attempt < failures {
                return Err(Error::new(kind, "cannot connect: a test"));
            }
            Ok::<_, Error>(peer(&url))
        }
    })
}

async fn setup(app: Component) -> Result<(), BoxError> {
    Ok(app.serve("adder", adder()).await?)
}

async fn start_waits_for_the_broker() {
    let (url, attempts) = (memory_url(), Arc::default());
    let settings = Settings::new("adder").url(&url).wait_forever();
    let app = failing(&attempts, 9, ErrorKind::Disconnected, settings);
    let component = app.start(setup).await.unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), 10);
    assert_eq!(add(&url, "adder").await.unwrap(), 5);
    assert!(matches!(component.stop().await, Exit::Drained));
}

async fn start_wait_ends() {
    let attempts = Arc::default();
    let settings = Settings::new("adder").url(memory_url()).start_wait(Duration::from_secs(10));
    let app = failing(&attempts, u32::MAX, ErrorKind::Disconnected, settings);
    let begun = Instant::now();
    let exit = app.start(setup).await.unwrap_err();
    assert!(matches!(&exit, Exit::Unreachable(error) if error.kind() == ErrorKind::Disconnected));
    assert!(begun.elapsed() <= Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(attempts.load(Ordering::SeqCst) > 3);
}

async fn start_wait_that_ends_within_an_attempt_names_the_host_and_the_failure_before() {
    let attempts = AtomicU32::new(0);
    let url = "amqp://user:hunter2@rabbit:5672/shop";
    let settings = Settings::new("adder").url(url).start_wait(Duration::from_secs(10));
    let app = App::new(settings, move |_: &str| {
        let attempt = attempts.fetch_add(1, Ordering::SeqCst);
        async move {
            if attempt == 0 {
                return Err(Error::new(ErrorKind::Disconnected, "no broker listens: a test"));
            }
            std::future::pending::<Result<AnyTransport>>().await
        }
    });
    let exit = app.start(setup).await.unwrap_err();
    assert_eq!(exit.code(), 69, "{exit}");
    assert_eq!(
        exit.to_string(),
        "not reachable within the start wait: cannot connect: no answer in time \
         (host: rabbit:5672): no broker listens: a test"
    );
}

async fn setup_that_exceeds_the_start_wait_closes_its_transport() {
    let (opens, mut opened) = tokio::sync::mpsc::channel(1);
    let setup = async |component: Component| {
        opens.send(component.transport().clone()).await?;
        std::future::pending::<()>().await;
        Ok::<_, BoxError>(())
    };
    let settings = Settings::new("adder").url(memory_url()).start_wait(Duration::from_secs(10));
    let exit = App::new(settings, polywire::connect).start(setup).await.unwrap_err();
    let late = ErrorKind::DeadlineExceeded;
    assert!(matches!(&exit, Exit::Unreachable(error) if error.kind() == late), "{exit}");
    let transport = opened.recv().await.unwrap();
    let error = Client::connect(&transport, "adder", MessagePack).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
}

async fn refusal_ends_the_start_at_once() {
    for (kind, code) in [(ErrorKind::Denied, 77), (ErrorKind::Config, 78)] {
        let attempts = Arc::default();
        let settings = Settings::new("adder").url(memory_url()).wait_forever();
        let exit = failing(&attempts, u32::MAX, kind, settings).start(setup).await.unwrap_err();
        assert_eq!((exit.code(), attempts.load(Ordering::SeqCst)), (code, 1), "{exit}");
    }
}

async fn transport_that_is_lost_during_the_setup_is_waited_for() {
    let (url, attempts) = (memory_url(), AtomicU32::new(0));
    let setup = async |component: Component| {
        component.serve("adder", adder()).await?;
        match attempts.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Error::new(ErrorKind::Disconnected, "lost: a test").into()),
            _ => Ok::<_, BoxError>(()),
        }
    };
    let component = app(&url).start(setup).await.unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), 2);
    assert_eq!(add(&url, "adder").await.unwrap(), 5);
    assert!(matches!(component.stop().await, Exit::Drained));
}

async fn service_that_a_call_of_the_setup_needs_is_waited_for() {
    let (url, attempts) = (memory_url(), AtomicU32::new(0));
    let prices = app(&url);
    let setup = async |component: Component| {
        let attempt = attempts.fetch_add(1, Ordering::SeqCst);
        if attempt == 2 {
            prices
                .start(async |prices: Component| Ok(prices.serve("prices", adder()).await?))
                .await
                .unwrap();
        }
        let client = Client::connect(component.transport(), "prices", MessagePack).await?;
        assert_eq!(client.call::<i64>("add", &(2, 3)).await?, 5);
        Ok::<_, BoxError>(())
    };
    let component = app(&url).start(setup).await.unwrap();
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
    component.stop().await;

    // A fault is the answer of a service that is there.
    let setup = async |component: Component| {
        let client = Client::connect(component.transport(), "prices", MessagePack).await?;
        client.call::<i64>("none", &()).await?;
        Ok::<_, BoxError>(())
    };
    let exit = app(&url).start(setup).await.unwrap_err();
    assert_eq!(exit.code(), 1, "{exit}");
}

/// A declared error.
#[derive(Debug, Fault)]
struct NoPrice;

impl fmt::Display for NoPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no price")
    }
}

impl std::error::Error for NoPrice {}

/// An error of the program, with the failure of a call as its source.
#[derive(Debug)]
struct NoPriceList(CallError);

impl fmt::Display for NoPriceList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot read the price list")
    }
}

impl std::error::Error for NoPriceList {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

async fn service_that_a_call_with_a_declared_error_needs_is_waited_for() {
    for is_wrapped in [false, true] {
        let (url, attempts) = (memory_url(), AtomicU32::new(0));
        let prices = app(&url);
        let setup = async |component: Component| {
            if attempts.fetch_add(1, Ordering::SeqCst) == 2 {
                prices
                    .start(async |prices: Component| Ok(prices.serve("prices", adder()).await?))
                    .await
                    .unwrap();
            }
            let client = Client::connect(component.transport(), "prices", MessagePack).await?;
            let sum = client.request("add").declares::<NoPrice>().call::<i64>(&(2, 3)).await;
            let sum = sum.map_err(CallError::<Infallible>::from);
            let sum = if is_wrapped { sum.map_err(NoPriceList)? } else { sum? };
            assert_eq!(sum, 5);
            Ok::<_, BoxError>(())
        };
        let component = app(&url).start(setup).await.unwrap();
        assert_eq!(attempts.load(Ordering::SeqCst), 3);
        component.stop().await;
    }
}

async fn cause_of_a_stop_during_the_setup_wins() {
    let url = memory_url();
    let setup = async |component: Component| {
        component.serve("adder", adder()).await?;
        component.spawn("importer", async { Err("no disk".into()) });
        std::future::pending::<()>().await;
        Ok::<_, BoxError>(())
    };
    let exit = app(&url).start(setup).await.unwrap_err();
    assert_eq!((exit.code(), &*exit.to_string()), (70, "importer failed: no disk"));
    assert!(add(&url, "adder").await.is_err(), "the server has ended, too");

    let setup = async |component: Component| {
        component.request_stop();
        Err::<(), BoxError>("no database".into())
    };
    let exit = app(&url).start(setup).await.unwrap_err();
    assert!(matches!(exit, Exit::Drained), "{exit}");
}

async fn handler_that_goes_on_exceeds_the_grace_period() {
    let url = memory_url();
    let grace = Duration::from_secs(40);
    let app = App::new(Settings::new("adder").url(&url).grace(grace), polywire::connect);
    let (begins, mut begun) = tokio::sync::mpsc::channel(1);
    let setup = async |component: Component| {
        let begins = begins.clone();
        let router = Router::new(MessagePack).method("add", move |_: (i64, i64)| {
            let begins = begins.clone();
            async move {
                begins.send(()).await.unwrap();
                std::future::pending::<()>().await;
                Ok(0)
            }
        });
        Ok::<_, BoxError>(component.serve("adder", router).await?)
    };
    let component = app.start(setup).await.unwrap();
    let transport = peer(&url);
    let call = Client::connect(&transport, "adder", MessagePack).await.unwrap();
    let call = call.with_timeout(Duration::from_hours(1));
    let call = tokio::spawn(async move { call.call::<i64>("add", &(2, 3)).await });
    begun.recv().await.unwrap();
    let asked = Instant::now();
    let exit = component.stop().await;
    assert!(matches!(&exit, Exit::GraceExceeded { running } if running == &["adder"]), "{exit}");
    assert_eq!(asked.elapsed().as_secs(), grace.as_secs());
    assert!(call.await.unwrap().is_err());
}

async fn endpoint_that_ends_with_an_error_ends_the_component() {
    let url = memory_url();
    let setup = async |component: Component| {
        component.serve("adder", adder()).await?;
        let listening = component.listen_with(
            "news",
            MessagePack,
            |listener| listener.window(Window::new(1)).overflow(Overflow::Disconnect),
            async |_: u32| {
                tokio::task::yield_now().await;
                Ok(())
            },
        );
        Ok::<_, BoxError>(listening.await?)
    };
    let component = app(&url).start(setup).await.unwrap();
    let news = Publisher::connect(&peer(&url), "news", MessagePack).await.unwrap();
    let flood = async {
        loop {
            // Fails when the component is gone.
            let _ = news.publish("a", &7_u32).await;
        }
    };
    let exit = tokio::select! {
        exit = component.ended() => exit,
        () = flood => unreachable!(),
    };
    assert_eq!(exit.code(), 70);
    assert!(matches!(&exit, Exit::Failed { name, .. } if name == "news"), "{exit}");
    assert!(add(&url, "adder").await.is_err(), "the server has ended, too");
}

async fn dropped_start_leaves_nothing_behind() {
    let url = memory_url();
    let (begins, mut begun) = tokio::sync::mpsc::channel(1);
    let app = app(&url);
    let setup = async |component: Component| {
        component.serve("adder", adder()).await?;
        begins.send(()).await?;
        std::future::pending::<()>().await;
        Ok::<_, BoxError>(())
    };
    tokio::select! {
        _ = app.start(setup) => unreachable!(),
        _ = begun.recv() => {}
    }
    // The server is dropped by the end of its task.
    while add(&url, "adder").await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// Keeps the type of connectors in use.
const _: fn() -> AnyTransport = || AnyTransport::new(polywire::Memory::new());
