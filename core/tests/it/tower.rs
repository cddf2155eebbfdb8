//! Layers of tower on clients and servers.

#![cfg(feature = "tower")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use polywire_codec::MessagePack;
use polywire_core::middleware::{FromTower, ToTower};
use polywire_core::rpc::Requester;
use polywire_core::{
    Address, CallError, Client, Code, Deadline, Error, ErrorKind, Memory, Message, Reply, Request,
    Router, Server, Service, service_fn,
};
use tokio::sync::Notify;
use tower::retry::{Policy, RetryLayer};
use tower::{BoxError, ServiceBuilder};

const SECOND: Duration = Duration::from_secs(1);

fn request() -> Request {
    Request::new(Message::request(
        Address::from_static("any").unwrap(),
        Deadline::after(60 * SECOND),
    ))
}

fn never() -> impl Service {
    service_fn(|_| std::future::pending())
}

/// Starts a server of the service `doubler` and returns a requester.
async fn doubler(wrap: impl AsyncFnOnce(Server, Router<MessagePack>)) -> Requester {
    let transport = Memory::new();
    let router = Router::new(MessagePack).method("double", async |n: i64| Ok(n * 2));
    let server = Server::bind(&transport, "doubler").await.unwrap();
    wrap(server, router).await;
    Requester::open(&transport, "doubler".try_into().unwrap(), 1024).await.unwrap()
}

async fn bare() -> Requester {
    doubler(async |server, router| drop(tokio::spawn(server.serve(router)))).await
}

#[tokio::test(start_paused = true)]
async fn timeout_of_a_client_is_a_deadline() {
    let hurried = ServiceBuilder::new().timeout(SECOND).service(ToTower::new(never()));
    let client = Client::new(FromTower::new(hurried), MessagePack);
    let outcome = client.call::<()>("any", &()).await;
    assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn timeout_of_a_server_answers_with_a_fault() {
    let requester = doubler(async |server, _| {
        let hurried = ServiceBuilder::new().timeout(SECOND).service(ToTower::new(never()));
        tokio::spawn(server.serve(FromTower::new(hurried)));
    });
    let outcome = Client::new(requester.await, MessagePack).call::<i64>("double", &2).await;
    assert_eq!(outcome.unwrap_err().fault().unwrap().code, Code::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn concurrency_limit_and_load_shed_refuse_excess_requests() {
    let end = Arc::new(Notify::new());
    let notified = end.clone();
    let held = service_fn(move |_| {
        let notified = notified.clone();
        async move {
            notified.notified().await;
            Ok(Reply::default())
        }
    });
    let limited =
        ServiceBuilder::new().load_shed().concurrency_limit(1).service(ToTower::new(held));
    let service = FromTower::new(limited);
    let mut first = Box::pin(service.call(request()));
    assert!(futures_util::poll!(&mut first).is_pending());
    match service.call(request()).await {
        Err(CallError::Failed(error)) => {
            assert_eq!(error.kind(), ErrorKind::Overloaded);
            assert!(error.is_unsent());
        }
        other => panic!("{other:?}"),
    }
    end.notify_one();
    first.await.unwrap();
    end.notify_one();
    service.call(request()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn readiness_is_awaited_until_the_deadline() {
    let limited = ServiceBuilder::new().concurrency_limit(1).service(ToTower::new(never()));
    let service = FromTower::new(limited);
    let mut first = Box::pin(service.call(request()));
    assert!(futures_util::poll!(&mut first).is_pending());
    let start = tokio::time::Instant::now();
    let outcome = service.call(request()).await;
    assert!(matches!(outcome, Err(CallError::DeadlineExceeded(_))), "{outcome:?}");
    assert_eq!(start.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn buffer_and_rate_limit_pass_calls_and_errors_through() {
    let limited = ServiceBuilder::new()
        .buffer(16)
        .rate_limit(1000, SECOND)
        .service(ToTower::new(bare().await));
    let client = Client::new(FromTower::new(limited), MessagePack);
    let calls = join_all((0..10).map(|_| client.call::<i64>("double", &0))).await;
    assert!(calls.iter().all(Result::is_ok), "{calls:?}");

    let failing = service_fn(async |_| Err(Error::new(ErrorKind::Denied, "no").into()));
    let buffered = ServiceBuilder::new().buffer(16).service(ToTower::new(failing));
    let error = FromTower::new(buffered).call(request()).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Denied));
}

#[derive(Clone)]
struct Thrice(u32);

impl Policy<Request, Reply, CallError> for Thrice {
    type Future = std::future::Ready<()>;

    fn retry(
        &mut self,
        _: &mut Request,
        outcome: &mut Result<Reply, CallError>,
    ) -> Option<Self::Future> {
        self.0 += 1;
        (outcome.is_err() && self.0 < 3).then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        Some(request.again())
    }
}

#[tokio::test]
async fn retry_repeats_the_request() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    let failing_twice = service_fn(move |request: Request| {
        let call = counted.fetch_add(1, Ordering::Relaxed);
        async move {
            let lost = || Error::new(ErrorKind::Disconnected, "lost").into();
            if call < 2 { Err(lost()) } else { Ok(Reply::new(request.message.body)) }
        }
    });
    let retried = ServiceBuilder::new()
        .layer(RetryLayer::new(Thrice(0)))
        .service(ToTower::new(failing_twice));
    let echo = Request::new(Message::new("again"));
    let reply = FromTower::new(retried).call(echo).await.unwrap();
    assert_eq!(reply.message.body.into_bytes(), "again");
    assert_eq!(calls.load(Ordering::Relaxed), 3);
}

/// Service that is written for tower.
#[derive(Clone)]
struct Native {
    is_ready: bool,
}

impl tower::Service<Request> for Native {
    type Response = Reply;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Reply, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Ready at the second poll; a call before that panics.
        if !std::mem::replace(&mut self.is_ready, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        assert!(self.is_ready, "called before it was ready");
        Box::pin(async move {
            let mut reply = Reply::new(request.message.body);
            reply.message.content_type = request.message.content_type;
            Ok(reply)
        })
    }
}

#[tokio::test]
async fn tower_service_serves_and_is_called_only_when_ready() {
    let requester = doubler(async |server, _| {
        tokio::spawn(server.serve(FromTower::new(Native { is_ready: false })));
    });
    let echo = Client::new(requester.await, MessagePack);
    assert_eq!(echo.call::<i64>("any", &7).await.unwrap(), 7);
    assert_eq!(echo.call::<i64>("any", &8).await.unwrap(), 8);
}

#[tokio::test]
async fn foreign_error_keeps_its_source() {
    let failing = tower::service_fn(async |_: Request| Err::<Reply, BoxError>("no luck".into()));
    let error = FromTower::new(failing).call(request()).await.unwrap_err();
    assert_eq!(error.kind(), Some(ErrorKind::Rejected));
    assert!(format!("{error:?}").contains("no luck"), "{error:?}");
}
