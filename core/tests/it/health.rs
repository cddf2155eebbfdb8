//! Health and canaries over memory, and what core reports by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::health::{
    CanaryEcho, CanaryReceiver, ConnectionState, EndpointProbe, EndpointRole, EndpointState,
    Health, HealthReporter,
};
use polywire_core::transport::async_trait;
use polywire_core::{
    Address, AnyTransport, Client, Error, ErrorKind, Group, Listener, Memory, Overflow, Puller,
    Pusher, Router, Server, Subscriber, Transport, Window, Worker,
};
use tokio::time::Instant;

const LIMIT: Duration = Duration::from_secs(5);

fn states(health: &Health) -> Vec<String> {
    let state = |endpoint: &polywire_core::health::EndpointHealth| {
        format!("{} {} {}", endpoint.role, endpoint.name, endpoint.state)
    };
    health.endpoints.iter().map(state).collect()
}

#[tokio::test]
async fn each_handle_that_receives_work_consumes_once_it_is_bound() {
    let transport = AnyTransport::new(Memory::new());
    let health = transport.health();
    assert_eq!(health.current().to_string(), "connected, consuming 0 of 0");
    let _server = Server::bind(&transport, "s").await.unwrap();
    let _puller: Puller<u8> = Puller::bind(&transport, "q", MessagePack).await.unwrap();
    let subscriber =
        Subscriber::<u8>::bind(&transport, "c", MessagePack).filter("#").await.unwrap();
    let _client = Client::connect(&transport, "s", MessagePack).await.unwrap();
    let current = health.current();
    let expected = ["responder s consuming", "puller q consuming", "subscriber c consuming"];
    assert_eq!(states(&current), expected);
    assert!(current.is_ready() && (current.consuming(), current.bound()) == (3, 3));
    drop(subscriber);
    assert_eq!(states(&health.current()), expected[..2]);
}

#[tokio::test]
async fn readiness_is_off_before_a_drain_begins_and_stays_off() {
    let transport = Memory::new();
    let health = transport.health();
    let server = Server::bind(&transport, "s").await.unwrap();
    let handle = server.handle();
    let (started, mut running) = tokio::sync::mpsc::channel(1);
    let (finish, finished) = tokio::sync::watch::channel(false);
    let router = Router::new(MessagePack).method("wait", move |(): ()| {
        let (started, mut finished) = (started.clone(), finished.clone());
        async move {
            started.send(()).await.unwrap();
            finished.wait_for(|finished| *finished).await.unwrap();
            Ok(())
        }
    });
    let serving = tokio::spawn(server.serve(router));
    let client = Client::connect(&transport, "s", MessagePack).await.unwrap();
    let call = tokio::spawn(async move { client.call::<()>("wait", &()).await });
    running.recv().await.unwrap();
    // Not polled any further than the request for the drain.
    let mut draining = Box::pin(handle.drain());
    assert!(futures_util::poll!(&mut draining).is_pending());
    let current = health.current();
    assert!(!current.is_ready() && current.is_draining());
    assert_eq!(current.to_string(), "connected, consuming 0 of 1, draining");
    finish.send(true).unwrap();
    call.await.unwrap().unwrap();
    draining.await;
    serving.await.unwrap().unwrap();
    assert_eq!(states(&health.current()), ["responder s stopped"]);
    assert!(!health.current().is_ready());
    let _next = Server::bind(&transport, "s").await.unwrap();
    assert_eq!(states(&health.current()), ["responder s consuming"]);
}

#[tokio::test]
async fn listeners_report_their_drain_with_each_wrapper_of_events() {
    for (group, overflow) in [
        (Some(Group::new("g").unwrap()), Overflow::Wait),
        (None, Overflow::Wait),
        (None, Overflow::DropOldest),
        (None, Overflow::Disconnect),
    ] {
        let transport = Memory::new();
        let mut listener = Listener::bind(&transport, "c", MessagePack).filter("#");
        let grouped = group.is_some();
        if let Some(group) = group {
            listener = listener.group(group);
        }
        let listener = listener.overflow(overflow).await.unwrap();
        let (handle, health) = (listener.handle(), transport.health());
        let listening = tokio::spawn(listener.listen(async |_: u8| Ok(())));
        assert!(health.current().is_ready());
        let mut draining = Box::pin(handle.drain());
        assert!(futures_util::poll!(&mut draining).is_pending());
        let current = health.current();
        assert!(!current.is_ready() && current.is_draining(), "{grouped} {overflow:?}: {current}");
        draining.await;
        listening.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_server_whose_task_was_aborted_is_not_ready() {
    let transport = Memory::new();
    let health = transport.health();
    let server = Server::bind(&transport, "s").await.unwrap();
    drop(server.serve(Router::new(MessagePack)));
    assert_eq!(states(&health.current()), ["responder s stopped"]);
    assert!(!health.current().is_ready());
    let report = health.canary(LIMIT).await;
    assert_eq!(report.endpoints[0].outcome.as_ref().unwrap_err().kind(), ErrorKind::Closed);
    health.forget_stopped();
    assert!(health.current().is_ready());
}

#[tokio::test]
async fn canaries_come_back_and_reach_no_handler() {
    let transport = Memory::new();
    let server = Server::bind(&transport, "s").await.unwrap();
    let worker = Worker::bind(&transport, "q", MessagePack).await.unwrap();
    let listener = Listener::bind(&transport, "c", MessagePack).filter("#").await.unwrap();
    let handles = (server.handle(), worker.handle(), listener.handle());
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Ok(()) }
    };
    let router = Router::new(MessagePack).method("m", {
        let count = count.clone();
        move |(): ()| count()
    });
    tokio::spawn(server.serve(router));
    tokio::spawn(worker.work({
        let count = count.clone();
        move |_: u8| count()
    }));
    tokio::spawn(listener.listen(move |_: u8| count()));
    let report = transport.health().canary(LIMIT).await;
    assert!(report.is_ok() && report.is_own(), "{report:?}");
    assert_eq!(report.endpoints.len(), 3);
    assert!(report.round_trip_max().unwrap() < LIMIT);
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    assert_eq!(handles.0.stats(), Server::bind(&transport, "t").await.unwrap().handle().stats());
    assert_eq!((handles.1.stats().done, handles.2.stats().done), (0, 0));
    assert!(transport.health().current().endpoints.iter().all(|endpoint| endpoint.received() == 0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_receive_returns_no_canary() {
    let transport = Memory::new();
    let server = Server::bind(&transport, "s").await.unwrap();
    let health = transport.health();
    for _ in 0..3 {
        let report = health.canary(LIMIT).await;
        let error = report.endpoints[0].outcome.as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    }
    tokio::spawn(server.serve(Router::new(MessagePack)));
    assert!(health.canary(LIMIT).await.is_own());
}

#[tokio::test(start_paused = true)]
async fn a_canary_on_its_way_ends_at_once_when_its_handle_drains() {
    let transport = Memory::new();
    // The server does not receive, so that the canary stays on its way.
    let server = Server::bind(&transport, "s").await.unwrap();
    let (handle, health, sent) = (server.handle(), transport.health(), Instant::now());
    let mut sending = Box::pin(health.canary(LIMIT));
    assert!(futures_util::poll!(&mut sending).is_pending());
    // The task of the canary sends it.
    tokio::task::yield_now().await;
    let mut draining = Box::pin(handle.drain());
    assert!(futures_util::poll!(&mut draining).is_pending());
    let error = sending.await.endpoints.remove(0).outcome.unwrap_err();
    assert_eq!((error.kind(), sent.elapsed()), (ErrorKind::Closed, Duration::ZERO), "{error}");
}

#[tokio::test]
async fn each_of_several_servers_gets_its_own_canary() {
    let transport = Memory::new();
    let other = transport.peer();
    let mut handles = Vec::new();
    for transport in [&transport, &other] {
        for _ in 0..3 {
            let server = Server::bind(transport, "s").await.unwrap();
            handles.push(server.handle());
            tokio::spawn(server.serve(Router::new(MessagePack)));
        }
    }
    for transport in [&transport, &other] {
        let report = transport.health().canary(LIMIT).await;
        assert_eq!(report.endpoints.len(), 3);
        for endpoint in report.endpoints {
            let echo = endpoint.outcome.unwrap();
            assert_eq!(echo.receiver, CanaryReceiver::ThisEndpoint);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_canary_waits_behind_the_window_of_its_handle() {
    let transport = Memory::new();
    let pusher = Pusher::connect(&transport, "q", MessagePack).await.unwrap();
    let mut puller: Puller<u8> =
        Puller::bind(&transport, "q", MessagePack).window(Window::new(1)).await.unwrap();
    pusher.push(&1).await.unwrap();
    let job = puller.next().await.unwrap().unwrap();
    let health = transport.health();
    let pulling = async {
        assert!(!health.canary(LIMIT).await.is_ok());
        job.ack();
        assert!(health.canary(LIMIT).await.is_own());
    };
    tokio::select! {
        () = pulling => {}
        _ = puller.next() => panic!("a canary reached a puller"),
    }
    assert_eq!(health.current().endpoints[0].received(), 1);
}

#[tokio::test]
async fn changes_begin_with_the_current_state_and_end_with_the_transport() {
    let transport = Memory::new();
    let reader = transport.health();
    let mut changes = reader.changes();
    assert_eq!(changes.next().await.unwrap().to_string(), "connected, consuming 0 of 0");
    let server = Server::bind(&transport, "s").await.unwrap();
    assert!(changes.next().await.unwrap().endpoints.len() == 1);
    transport.close().await.unwrap();
    let closed = reader.changes().next().await.unwrap();
    assert!(matches!(closed.connection, ConnectionState::Closed) && !closed.is_ready());
    drop((server, transport));
    while changes.next().await.is_some() {}
    assert!(matches!(reader.current().connection, ConnectionState::Closed));
}

#[tokio::test]
async fn a_failed_handle_stays_in_the_health_of_its_transport() {
    let reporter = HealthReporter::new(ConnectionState::Connected);
    let name = Address::new("s").unwrap();
    let endpoint = reporter.endpoint(EndpointRole::Responder, &name, None);
    endpoint.set_consuming(true);
    let reader = reporter.reader();
    let error = reader.canary(LIMIT).await.endpoints.remove(0).outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.detail("option"), Some("HealthReader::canary"));
    endpoint.fail(Error::new(ErrorKind::Denied, "no permission"));
    // Neither has an effect on a handle that has failed.
    endpoint.set_consuming(true);
    assert!(matches!(reader.current().endpoints[0].state, EndpointState::Failed { .. }));
    let error = reader.canary(LIMIT).await.endpoints.remove(0).outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    drop(endpoint);
    assert_eq!(reader.current().bound(), 0);
}

#[tokio::test]
async fn text_names_why_handles_are_refused_and_canaries_name_the_connection() {
    let reporter = HealthReporter::new(ConnectionState::Connected);
    let name = Address::new("orders").unwrap();
    let never = Arc::new(Never) as Arc<dyn EndpointProbe>;
    let endpoint = reporter.endpoint(EndpointRole::Responder, &name, Some(never));
    endpoint.set_consuming(true);
    let health = reporter.reader();
    let outcome = async || {
        let report = health.canary(Duration::from_millis(1)).await;
        report.endpoints[0].outcome.as_ref().unwrap_err().to_string()
    };
    let missing = "cannot receive the canary: it did not come back";
    assert_eq!(outcome().await, format!("{missing} (milliseconds: 1)"));
    let reason = "low on disk".to_owned();
    reporter.set_connection(ConnectionState::Blocked { reason });
    let blocked = format!("{missing} (milliseconds: 1, connection: blocked: low on disk)");
    assert_eq!(outcome().await, blocked);
    reporter.set_connection(ConnectionState::Connected);
    endpoint.refuse(Error::new(ErrorKind::Denied, "cannot consume: no permission"));
    let text = "connected, consuming 0 of 1; responder orders: cannot consume: no permission";
    assert_eq!(health.current().to_string(), text);
}

/// A probe whose canaries are lost.
struct Never;

#[async_trait]
impl EndpointProbe for Never {
    async fn canary(&self, _: Duration) -> polywire_core::Result<CanaryEcho> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_transport_without_health_is_never_ready() {
    let reader = polywire_core::health::HealthReader::unknown();
    let current = reader.current();
    assert!(!current.is_ready() && !current.is_known());
    assert_eq!(current.to_string(), "unknown, consuming 0 of 0");
    assert!(reader.changes().next().await.is_some());
}
