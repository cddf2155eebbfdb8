//! Servers and a client of them, in every combination of engine, side and medium.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use polywire_codec::MessagePack;
use polywire_core::{CallError, CallHandle, Client, ErrorKind, Router, Window};
use polywire_zmq::{Engine, Side, Zmq, ZmqBuilder};
use tokio::time::timeout;

use super::address::own_host;
use super::engine::{ENGINE, zmq};
use super::folder::TempFolder;
use super::identified::IdentifiedServer;
use super::wait::PATIENCE;

/// An engine, the side of the client, and the medium of its connections.
#[derive(Clone, Debug)]
pub(crate) struct Setup(pub(crate) Engine, pub(crate) Side, pub(crate) Medium);

/// The medium of a connection. Socket files are in a folder that is removed with the last setup.
#[derive(Clone, Debug)]
pub(crate) enum Medium {
    Tcp,
    Ipc(Arc<TempFolder>),
}

/// Returns TCP, and socket files where there are some.
pub(crate) fn media() -> Vec<Medium> {
    match cfg!(unix) {
        true => vec![Medium::Tcp, Medium::Ipc(Arc::new(TempFolder::new()))],
        false => vec![Medium::Tcp],
    }
}

/// Returns every setup of the engine.
pub(crate) fn setups() -> Vec<Setup> {
    let media = media();
    [Side::Connect, Side::Bind]
        .into_iter()
        .flat_map(|side| media.iter().map(move |medium| Setup(ENGINE, side, medium.clone())))
        .collect()
}

/// Returns a builder of a transport with the engine of the setup.
pub(crate) fn builder(Setup(engine, ..): &Setup) -> ZmqBuilder {
    zmq().engine(*engine).connect_timeout(PATIENCE)
}

/// Returns an endpoint to bind that no other socket binds, and no other process once it is free
/// again.
pub(crate) fn free_endpoint(Setup(.., medium): &Setup) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    match medium {
        Medium::Tcp => format!("tcp://{}:*", own_host()),
        Medium::Ipc(folder) => {
            let name = format!("{}.sock", COUNT.fetch_add(1, Ordering::Relaxed));
            format!("ipc://{}", folder.file(&name).display())
        }
    }
}

/// A server of the methods `id` and `hang`, and its transport.
pub(crate) struct TestServer {
    pub(crate) transport: Zmq,
    pub(crate) server: IdentifiedServer,
}

impl TestServer {
    async fn serve(transport: Zmq, number: u32, window: usize) -> Self {
        let (window, router) = (Window::new(window), Router::new(MessagePack));
        let server = IdentifiedServer::serve(&transport, number, window, router).await;
        Self { transport, server }
    }

    /// Returns the number of requests in handlers that stay without a reply.
    pub(crate) fn running(&self) -> u64 {
        self.server.hanging()
    }
}

/// Starts servers and a client of all of them. Returns when the client has a reply of each server.
pub(crate) async fn connect_all(
    setup: &Setup,
    servers: u32,
    window: usize,
) -> (Vec<TestServer>, Client<MessagePack>, Zmq) {
    let mut served = Vec::new();
    let calling = match setup.1 {
        Side::Connect => {
            let mut calling = builder(setup);
            for number in 0..servers {
                let transport = builder(setup).bind(free_endpoint(setup)).build().unwrap();
                served.push(TestServer::serve(transport.clone(), number, window).await);
                calling = calling.connect(&transport.local_endpoints()[0]);
            }
            calling.build().unwrap()
        }
        Side::Bind => builder(setup).bind(free_endpoint(setup)).build().unwrap(),
    };
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE * 2).await.unwrap();
    if let Side::Bind = setup.1 {
        let endpoint = &calling.local_endpoints()[0];
        for number in 0..servers {
            served.push(
                TestServer::serve(
                    builder(setup).connect(endpoint).build().unwrap(),
                    number,
                    window,
                )
                .await,
            );
        }
    }
    let mut seen = Vec::new();
    let all = async {
        while seen.len() < servers as usize {
            let number = id(&client).await;
            if !seen.contains(&number) {
                seen.push(number);
            }
        }
    };
    timeout(PATIENCE, all).await.expect("each server replies");
    (served, client, calling)
}

/// Calls a server, and returns its number.
pub(crate) async fn id(client: &Client<MessagePack>) -> u32 {
    timeout(PATIENCE, client.call("id", &())).await.expect("the call ends").unwrap()
}

/// Starts a call without waiting for its reply.
pub(crate) fn start(
    client: &Client<MessagePack>,
    method: &'static str,
    idempotent: bool,
) -> CallHandle<u32> {
    let request = client.request(method);
    let request = if idempotent { request.idempotent() } else { request };
    request.start(&()).unwrap()
}

/// Returns the kind of the error that a call failed with.
pub(crate) fn kind(outcome: Result<u32, CallError>) -> ErrorKind {
    match outcome {
        Err(CallError::Failed(error)) => error.kind(),
        other => panic!("the call ended with {other:?}"),
    }
}
