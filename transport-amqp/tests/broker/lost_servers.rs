//! The cells of the table in `docs/reliability.md` about servers that are lost: with their
//! connection, or before they have begun a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ReplyMode};
use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::transport::{Delivery, Receiver};
use polywire_core::{Address, Client, Code, Router, Server, Transport, Window, at_most_once};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::context::{PATIENCE, restored, through_proxy, until};
use crate::endpoints::client;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker handlers_run_on_when_their_server_loses_its_connection,
        broker one_way_call_that_was_begun_is_begun_again,
        broker one_way_call_that_was_not_begun_is_lost_if_it_runs_at_most_once,
        broker redelivered_call_with_direct_replies_is_interrupted_if_it_runs_at_most_once,
    ]
}

/// The numbers of handlers that have begun and ended.
#[derive(Default)]
struct Runs {
    begun: AtomicU32,
    ended: AtomicU32,
}

impl Runs {
    fn begun(&self) -> u32 {
        self.begun.load(Ordering::SeqCst)
    }

    fn ended(&self) -> u32 {
        self.ended.load(Ordering::SeqCst)
    }
}

/// Serves the methods `plain` and `once`, which wait for a permit of the gate.
async fn serve(
    amqp: &Amqp,
    service: &str,
    gate: &Arc<Semaphore>,
    runs: &Arc<Runs>,
) -> ServerHandle {
    let server = Server::bind(amqp, Address::new(service).unwrap()).await.unwrap();
    let (handle, gate, runs) = (server.handle(), gate.clone(), runs.clone());
    let wait = move |n: u32| {
        let (gate, runs) = (gate.clone(), runs.clone());
        async move {
            runs.begun.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            runs.ended.fetch_add(1, Ordering::SeqCst);
            Ok(n)
        }
    };
    let router =
        Router::new(MessagePack).method("plain", wait.clone()).method("once", at_most_once(wait));
    tokio::spawn(server.serve(router));
    handle
}

/// Takes a request, and loses its connection. The request is redelivered to another server.
async fn take_and_vanish(url: &str, service: &str, send: impl AsyncFnOnce()) {
    let (proxy, builder) = through_proxy(url).await;
    let vanishing = builder.build().await.unwrap();
    let service = Address::new(service).unwrap();
    let (_replies, mut requests) = vanishing.responder(&service, Window::default()).await.unwrap();
    send().await;
    let taken = next(&mut requests).await;
    // Nothing settles the request, since the transport cannot come back.
    proxy.sever();
    drop(proxy);
    drop((taken, requests, vanishing));
}

async fn next(requests: &mut Receiver) -> Delivery {
    timeout(PATIENCE, requests.next()).await.unwrap().unwrap().unwrap()
}

async fn handlers_run_on_when_their_server_loses_its_connection(url: String) {
    for (method, idempotent) in [("plain", false), ("plain", true), ("once", false)] {
        let service = format!("run.on.{method}.{idempotent}");
        let (proxy, builder) = through_proxy(&url).await;
        let serving = builder.build().await.unwrap();
        let (gate, runs) = (Arc::new(Semaphore::new(0)), Arc::new(Runs::default()));
        let _server = serve(&serving, &service, &gate, &runs).await;
        let calling = Amqp::connect(&url).await.unwrap();
        let client = client(&calling, &service).await;
        let request = client.request(method).timeout(PATIENCE);
        let request = if idempotent { request.idempotent() } else { request };
        let call = request.start::<u32>(&7).unwrap();
        until(|| runs.begun() == 1).await;
        let mut events = serving.events();
        proxy.sever();
        restored(&mut events).await;
        gate.add_permits(1);
        // Another run of the request would need a permit of its own.
        until(|| runs.ended() == 1).await;
        gate.add_permits(9);
        match call.await {
            Ok(seven) => assert_eq!(seven, 7),
            Err(error) => {
                assert_eq!((code(&error), method), (Some(Code::Interrupted), "once"), "{error:?}");
            }
        }
        assert!(runs.begun() == 1 || method == "plain", "{method}: {}", runs.begun());
    }
}

fn code(error: &polywire_core::CallError) -> Option<Code> {
    error.fault().map(|fault| fault.code)
}

async fn one_way_call_that_was_begun_is_begun_again(url: String) {
    for idempotent in [false, true] {
        let service = format!("one.way.begun.{idempotent}");
        let (gate, runs) = (Arc::new(Semaphore::new(0)), Arc::new(Runs::default()));
        let (proxy, builder) = through_proxy(&url).await;
        let dying = builder.build().await.unwrap();
        let _first = serve(&dying, &service, &gate, &runs).await;
        let calling = Amqp::connect(&url).await.unwrap();
        send_one_way(&client(&calling, &service).await, "plain", idempotent).await;
        until(|| runs.begun() == 1).await;
        let (serving, again) = (Amqp::connect(&url).await.unwrap(), Arc::new(Runs::default()));
        let _second = serve(&serving, &service, &gate, &again).await;
        proxy.sever();
        drop((proxy, dying));
        until(|| again.begun() == 1).await;
    }
}

async fn one_way_call_that_was_not_begun_is_lost_if_it_runs_at_most_once(url: String) {
    for (method, idempotent) in [("plain", false), ("plain", true), ("once", false)] {
        let service = format!("one.way.waits.{method}.{idempotent}");
        let calling = Amqp::connect(&url).await.unwrap();
        take_and_vanish(&url, &service, async || {
            send_one_way(&client(&calling, &service).await, method, idempotent).await;
        })
        .await;
        let (gate, runs) = (Arc::new(Semaphore::new(9)), Arc::new(Runs::default()));
        let serving = Amqp::connect(&url).await.unwrap();
        let server = serve(&serving, &service, &gate, &runs).await;
        let is_lost = method == "once";
        until(|| if is_lost { server.stats().refused == 1 } else { runs.ended() == 1 }).await;
        assert_eq!(runs.begun(), u32::from(!is_lost));
    }
}

async fn send_one_way(client: &Client<MessagePack>, method: &str, idempotent: bool) {
    let request = client.request(method);
    let request = if idempotent { request.idempotent() } else { request };
    request.send(&1_u32).await.unwrap();
}

/// The caller cannot be asked, so the second server cannot know that the first one has not begun.
async fn redelivered_call_with_direct_replies_is_interrupted_if_it_runs_at_most_once(url: String) {
    let service = "direct.redelivered";
    let calling = Amqp::builder(&url).unwrap().reply_mode(ReplyMode::Direct).build().await.unwrap();
    let mut call = None;
    take_and_vanish(&url, service, async || {
        let client = client(&calling, service).await;
        let mut started = client.request("once").timeout(PATIENCE).start::<u32>(&1).unwrap();
        started.sent().await;
        call = Some(started);
    })
    .await;
    let (gate, runs) = (Arc::new(Semaphore::new(9)), Arc::new(Runs::default()));
    let serving = Amqp::connect(&url).await.unwrap();
    let _server = serve(&serving, service, &gate, &runs).await;
    let error = call.unwrap().await.unwrap_err();
    assert_eq!((code(&error), runs.begun()), (Some(Code::Interrupted), 0), "{error:?}");
}
