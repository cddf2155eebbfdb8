//! Two forwarders in a row: calls keep through them what they have without.

#![cfg(feature = "engine-omq")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is a failure"
)]

#[path = "support/who.rs"]
mod who;

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{
    CallError, Client, Code, Context, Deadline, ErrorKind, Fault, Router, Server, Transport, Window,
};
use polywire_zmq::Zmq;
use polywire_zmq::proxy::{Pattern, Proxy, ProxyEndpoint};
use tokio::time::timeout;

use self::who::Who;

const PATIENCE: Duration = Duration::from_secs(60);
const ANY: &str = "tcp://127.0.0.1:*";

/// A front that callers dial, and a back that servers dial, with two forwarders between.
struct Row {
    front: Proxy,
    back: Proxy,
    client: Client<MessagePack>,
    _calling: Zmq,
}

impl Row {
    async fn open() -> Self {
        let front = Proxy::start(Pattern::RequestReply, ANY, ANY).await.unwrap();
        let place = ProxyEndpoint::connect(front.backend());
        let back = Proxy::start(Pattern::RequestReply, place, ANY).await.unwrap();
        let calling = Zmq::builder().connect(front.frontend()).build().unwrap();
        let client =
            Client::connect(&calling, "a", MessagePack).timeout(PATIENCE * 2).await.unwrap();
        Self { front, back, client, _calling: calling }
    }

    /// One more server, and its transport.
    async fn serve(&self, name: u32) -> (Zmq, Who) {
        let zmq = Zmq::builder().connect(self.back.backend()).build().unwrap();
        let router = Router::new(MessagePack)
            .method("left", |context: Context, (): ()| async move {
                Ok(context.deadline.map_or(0, Deadline::remaining_ms))
            })
            .method("fail", |(): ()| async move {
                Err::<u32, _>(Fault::new(Code::Application, "sold out").with_kind("OutOfStock"))
            });
        let who = Who::serve(&zmq, name, Window::default(), router).await;
        (zmq, who)
    }

    /// Waits until this server answers.
    async fn reach(&self, name: u32) {
        // Until it is there, they may go to another one that hangs.
        let client = self.client.with_timeout(Duration::from_secs(1));
        let answers = async {
            while !matches!(client.call::<u32>("who", &()).await, Ok(answer) if answer == name) {}
        };
        timeout(PATIENCE, answers).await.expect("the server is reached");
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let polling = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, polling).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_keeps_its_deadline_and_its_error() {
    let row = Row::open().await;
    let (_zmq, server) = row.serve(1).await;
    row.reach(1).await;

    const TIMEOUT: Duration = Duration::from_secs(50);
    let deadline = Deadline::after(TIMEOUT);
    let left: u64 = row.client.request("left").deadline(deadline).call(&()).await.unwrap();
    let left_after = deadline.remaining_ms();
    // Rounding at each of the three hops.
    assert!(left_after <= left + 5 && left <= TIMEOUT.as_millis() as u64, "{left_after} {left}");

    match timeout(PATIENCE, row.client.call::<u32>("fail", &())).await.unwrap() {
        Err(CallError::Fault(fault)) => assert_eq!(
            (fault.code, &*fault.kind, &*fault.message),
            (Code::Application, "OutOfStock", "sold out")
        ),
        other => panic!("it ended with {other:?}"),
    }
    match timeout(PATIENCE, row.client.call::<u32>("missing", &())).await.unwrap() {
        Err(CallError::Fault(fault)) => assert_eq!(fault.code, Code::MethodNotFound),
        other => panic!("it ended with {other:?}"),
    }
    let strange = Zmq::builder().connect(row.front.frontend()).build().unwrap();
    let strange = Client::connect(&strange, "b", MessagePack).timeout(PATIENCE).await.unwrap();
    match timeout(PATIENCE, strange.call::<u32>("who", &())).await.unwrap() {
        Err(CallError::Failed(error)) => {
            assert!(error.kind() == ErrorKind::Unroutable && error.is_unsent(), "{error:?}");
        }
        other => panic!("it ended with {other:?}"),
    }
    server.hang(true);
    let hurried = row.client.with_timeout(Duration::from_millis(200));
    match timeout(PATIENCE, hurried.call::<u32>("who", &())).await.unwrap() {
        Err(CallError::DeadlineExceeded(_)) => {}
        other => panic!("it ended with {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abandoned_call_stops_at_its_server_and_no_other_one() {
    let row = Row::open().await;
    let (_zmq, server) = row.serve(1).await;
    row.reach(1).await;
    server.hang(true);
    // The numbers of the calls of both clients are alike.
    let other = Zmq::builder().connect(row.front.frontend()).build().unwrap();
    let other = Client::connect(&other, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    let start = |client: &Client<_>| client.request("who").start::<u32>(&()).unwrap();
    let kept: Vec<_> = (0..20).map(|_| start(&other)).collect();
    let dropped: Vec<_> = (0..20).map(|_| start(&row.client)).collect();
    until("all are carried out", || server.running() == 40).await;
    drop(dropped);
    until("half of them are stopped", || server.running() == 20).await;
    assert_eq!(server.handle.stats().cancelled, 20);
    assert!(kept.iter().all(|call| !call.is_finished()));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_server_that_is_gone_idempotent_calls_go_to_another_and_the_others_fail_at_once() {
    let row = Row::open().await;
    let (gone, server) = row.serve(1).await;
    row.reach(1).await;
    server.hang(true);
    let once = row.client.request("who").start::<u32>(&()).unwrap();
    let often = row.client.request("who").idempotent().start::<u32>(&()).unwrap();
    until("both are carried out", || server.running() == 2).await;
    let _heir = row.serve(2).await;
    row.reach(2).await;
    gone.close().await.unwrap();
    match timeout(PATIENCE, once).await.expect("it ends before its deadline") {
        Err(CallError::Failed(error)) => {
            assert!(error.kind() == ErrorKind::Disconnected && !error.is_unsent(), "{error:?}");
        }
        other => panic!("it ended with {other:?}"),
    }
    assert_eq!(timeout(PATIENCE, often).await.expect("it is answered").unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_may_be_served_by_different_servers() {
    let row = Row::open().await;
    let mut served = Vec::new();
    for service in ["b", "c"] {
        let zmq = Zmq::builder().connect(row.back.backend()).build().unwrap();
        let server = Server::bind(&zmq, service).await.unwrap();
        let router =
            Router::new(MessagePack).method("name", move |(): ()| async move { Ok(service) });
        tokio::spawn(server.serve(router));
        served.push(zmq);
    }
    let calling = Zmq::builder().connect(row.front.frontend()).build().unwrap();
    for service in ["b", "c"] {
        let client =
            Client::connect(&calling, service, MessagePack).timeout(PATIENCE).await.unwrap();
        // Both servers have to be there first.
        let reached = async { while client.call::<String>("name", &()).await.is_err() {} };
        timeout(PATIENCE, reached).await.expect("it is reached");
        for _ in 0..20 {
            let name: String = timeout(PATIENCE, client.call("name", &())).await.unwrap().unwrap();
            assert_eq!(name, service);
        }
    }
}
