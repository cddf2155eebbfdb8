//! Two proxies in a row: calls behave as without a proxy.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{
    CallError, Client, Code, Context, Deadline, ErrorKind, Fault, Router, Server, Transport, Window,
};
use polywire_zmq::Zmq;
use polywire_zmq::proxy::{Pattern, Proxy, ProxyEndpoint};
use tokio::time::timeout;

use crate::support::engine::zmq;
use crate::support::identified::IdentifiedServer;
use crate::support::wait::{PATIENCE, until};

const ANY: &str = "tcp://127.0.0.1:*";

/// Two proxies in a row, and a client. Clients connect to the outer proxy, servers to the inner
/// one.
struct ProxyChain {
    outer: Proxy,
    inner: Proxy,
    client: Client<MessagePack>,
    _calling: Zmq,
}

impl ProxyChain {
    async fn open() -> Self {
        let outer = Proxy::start(Pattern::RequestReply, ANY, ANY).await.unwrap();
        let between = ProxyEndpoint::connect(outer.backend());
        let inner = Proxy::start(Pattern::RequestReply, between, ANY).await.unwrap();
        let calling = zmq().connect(outer.frontend()).build().unwrap();
        let client =
            Client::connect(&calling, "a", MessagePack).timeout(PATIENCE * 2).await.unwrap();
        Self { outer, inner, client, _calling: calling }
    }

    /// Starts a server, and returns it with its transport.
    async fn serve(&self, number: u32) -> (Zmq, IdentifiedServer) {
        let zmq = zmq().connect(self.inner.backend()).build().unwrap();
        let router = Router::new(MessagePack)
            .method("left", |context: Context, (): ()| async move {
                Ok(context.deadline.map_or(0, Deadline::remaining_ms))
            })
            .method("fail", |(): ()| async move {
                Err::<u32, _>(Fault::new(Code::Application, "sold out").with_kind("OutOfStock"))
            });
        let server = IdentifiedServer::serve(&zmq, number, Window::default(), router).await;
        (zmq, server)
    }

    /// Waits until this server replies.
    async fn wait_for(&self, number: u32) {
        // Earlier calls may go to another server, which hangs.
        let client = self.client.with_timeout(Duration::from_secs(1));
        let answers = async {
            while !matches!(client.call::<u32>("id", &()).await, Ok(reply) if reply == number) {}
        };
        timeout(PATIENCE, answers).await.expect("the server replies");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn call_keeps_its_deadline_and_error() {
    let chain = ProxyChain::open().await;
    let (_zmq, server) = chain.serve(1).await;
    chain.wait_for(1).await;

    const TIMEOUT: Duration = Duration::from_secs(50);
    let deadline = Deadline::after(TIMEOUT);
    let left: u64 = chain.client.request("left").deadline(deadline).call(&()).await.unwrap();
    let left_after = deadline.remaining_ms();
    // Each of the three hops rounds the deadline.
    assert!(left_after <= left + 5 && left <= TIMEOUT.as_millis() as u64, "{left_after} {left}");

    match timeout(PATIENCE, chain.client.call::<u32>("fail", &())).await.unwrap() {
        Err(CallError::Fault(fault)) => assert_eq!(
            (fault.code, &*fault.kind, &*fault.message),
            (Code::Application, "OutOfStock", "sold out")
        ),
        other => panic!("the call ended with {other:?}"),
    }
    match timeout(PATIENCE, chain.client.call::<u32>("missing", &())).await.unwrap() {
        Err(CallError::Fault(fault)) => assert_eq!(fault.code, Code::MethodNotFound),
        other => panic!("the call ended with {other:?}"),
    }
    let unknown = zmq().connect(chain.outer.frontend()).build().unwrap();
    let unknown = Client::connect(&unknown, "b", MessagePack).timeout(PATIENCE).await.unwrap();
    match timeout(PATIENCE, unknown.call::<u32>("id", &())).await.unwrap() {
        Err(CallError::Failed(error)) => {
            assert!(error.kind() == ErrorKind::Unroutable && error.is_unsent(), "{error:?}");
        }
        other => panic!("the call ended with {other:?}"),
    }
    server.hang(true);
    let hurried = chain.client.with_timeout(Duration::from_millis(200));
    match timeout(PATIENCE, hurried.call::<u32>("id", &())).await.unwrap() {
        Err(CallError::DeadlineExceeded(_)) => {}
        other => panic!("the call ended with {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_call_alone_is_cancelled_at_its_server() {
    let chain = ProxyChain::open().await;
    let (_zmq, server) = chain.serve(1).await;
    chain.wait_for(1).await;
    server.hang(true);
    // The call ids of both clients are equal.
    let other = zmq().connect(chain.outer.frontend()).build().unwrap();
    let other = Client::connect(&other, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    let start = |client: &Client<_>| client.request("id").start::<u32>(&()).unwrap();
    let kept: Vec<_> = (0..20).map(|_| start(&other)).collect();
    let dropped: Vec<_> = (0..20).map(|_| start(&chain.client)).collect();
    until("all calls are in handlers", || server.hanging() == 40).await;
    drop(dropped);
    until("half of the handlers are dropped", || server.hanging() == 20).await;
    until("half of the calls are cancelled", || server.handle.stats().cancelled == 20).await;
    assert!(kept.iter().all(|call| !call.is_finished()));
}

#[tokio::test(flavor = "multi_thread")]
async fn idempotent_calls_of_a_lost_server_are_retried_and_others_fail_at_once() {
    let chain = ProxyChain::open().await;
    let (gone, server) = chain.serve(1).await;
    chain.wait_for(1).await;
    server.hang(true);
    let once = chain.client.request("id").start::<u32>(&()).unwrap();
    let often = chain.client.request("id").idempotent().start::<u32>(&()).unwrap();
    until("both calls are in handlers", || server.hanging() == 2).await;
    let _next = chain.serve(2).await;
    chain.wait_for(2).await;
    gone.close().await.unwrap();
    match timeout(PATIENCE, once).await.expect("the call ends before its deadline") {
        Err(CallError::Failed(error)) => {
            assert!(error.kind() == ErrorKind::Disconnected && !error.is_unsent(), "{error:?}");
        }
        other => panic!("the call ended with {other:?}"),
    }
    assert_eq!(timeout(PATIENCE, often).await.expect("the call has a reply").unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_are_found_at_different_servers() {
    let chain = ProxyChain::open().await;
    let mut served = Vec::new();
    for service in ["b", "c"] {
        let zmq = zmq().connect(chain.inner.backend()).build().unwrap();
        let server = Server::bind(&zmq, service).await.unwrap();
        let router =
            Router::new(MessagePack).method("name", move |(): ()| async move { Ok(service) });
        tokio::spawn(server.serve(router));
        served.push(zmq);
    }
    let calling = zmq().connect(chain.outer.frontend()).build().unwrap();
    for service in ["b", "c"] {
        let client =
            Client::connect(&calling, service, MessagePack).timeout(PATIENCE).await.unwrap();
        // Calls fail until both servers are connected.
        let reached = async { while client.call::<String>("name", &()).await.is_err() {} };
        timeout(PATIENCE, reached).await.expect("the service is reached");
        for _ in 0..20 {
            let name: String = timeout(PATIENCE, client.call("name", &())).await.unwrap().unwrap();
            assert_eq!(name, service);
        }
    }
}
