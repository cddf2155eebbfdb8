//! Servers that drain and close again and again under calls: each call ends with a known outcome.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use polywire_codec::MessagePack;
use polywire_core::rpc::ServerHandle;
use polywire_core::{CallError, Client, Code, ErrorKind, Router, Server, Transport, Window};
use polywire_zmq::{Side, Zmq};
use tokio::task::{JoinSet, yield_now};

use crate::support::context::{Setup, builder, free_endpoint, setups};
use crate::support::wait::{PATIENCE, until};

/// Calls that run at the same time.
const CALLERS: usize = 64;
/// Servers that serve and drain, one after the other.
const ROUNDS: u64 = 5;
/// Calls that each server answers before it drains.
const ANSWERED: u64 = 100;

/// Counts of the calls, by outcome.
#[derive(Default)]
struct Outcomes {
    /// The numbers of the calls whose handler has begun.
    begun: Mutex<HashSet<u64>>,
    calls: AtomicU64,
    answered: AtomicU64,
    /// Calls that were refused, so that a second attempt is safe.
    refused: AtomicU64,
    /// Calls that ended without a known outcome, with their numbers.
    unknown: Mutex<Vec<(u64, String)>>,
}

impl Outcomes {
    fn record(&self, number: u64, outcome: Result<u64, CallError>) {
        match outcome {
            Ok(_) => self.answered.fetch_add(1, Ordering::Relaxed),
            Err(CallError::Failed(error)) if error.is_unsent() => {
                self.refused.fetch_add(1, Ordering::Relaxed)
            }
            // The client was closed at the end.
            Err(CallError::Failed(error)) if error.kind() == ErrorKind::Closed => 0,
            // The server answers that it drains. Another fault is that of a handler.
            Err(CallError::Fault(fault)) if fault.code == Code::Unavailable => {
                self.refused.fetch_add(1, Ordering::Relaxed)
            }
            Err(error) => {
                self.unknown.lock().unwrap().push((number, error.to_string()));
                0
            }
        };
    }

    /// Calls `m` with new numbers until `done`.
    async fn call(self: Arc<Self>, client: Client<MessagePack>, done: Arc<AtomicBool>) {
        while !done.load(Ordering::Relaxed) {
            let number = self.calls.fetch_add(1, Ordering::Relaxed);
            self.record(number, client.call::<u64>("m", &number).await);
            yield_now().await;
        }
    }
}

/// Serves `m`, which records the numbers of its calls.
async fn serve(transport: &Zmq, outcomes: &Arc<Outcomes>) -> ServerHandle {
    let server = Server::bind(transport, "a").window(Window::new(8)).await.unwrap();
    let (handle, outcomes) = (server.handle(), outcomes.clone());
    let router = Router::new(MessagePack).method("m", move |number: u64| {
        let outcomes = outcomes.clone();
        async move {
            outcomes.begun.lock().unwrap().insert(number);
            yield_now().await;
            Ok(number)
        }
    });
    tokio::spawn(server.serve(router));
    handle
}

/// Drains and closes `ROUNDS` servers at one endpoint. Returns the outcomes.
async fn drain_repeatedly(setup: &Setup, drains: bool) -> Arc<Outcomes> {
    let outcomes = Arc::<Outcomes>::default();
    let open = |endpoint: &str| {
        let builder = builder(setup).linger(PATIENCE);
        match setup.1 {
            Side::Connect => builder.bind(endpoint).build().unwrap(),
            _ => builder.connect(endpoint).build().unwrap(),
        }
    };
    let (calling, endpoint, mut serving) = match setup.1 {
        Side::Connect => {
            let serving =
                builder(setup).bind(free_endpoint(setup)).linger(PATIENCE).build().unwrap();
            let handle = serve(&serving, &outcomes).await;
            let endpoint = serving.local_endpoints()[0].clone();
            let calling = builder(setup).connect(&endpoint).build().unwrap();
            (calling, endpoint, Some((serving, handle)))
        }
        _ => (builder(setup).bind(free_endpoint(setup)).build().unwrap(), String::new(), None),
    };
    let client = Client::connect(&calling, "a", MessagePack).timeout(PATIENCE).await.unwrap();
    let endpoint = match &serving {
        Some(_) => endpoint,
        None => calling.local_endpoints()[0].clone(),
    };
    let done = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(outcomes.clone().call(client.clone(), done.clone()));
    }
    for round in 1..=ROUNDS {
        let (transport, handle) = match serving.take() {
            Some(serving) => serving,
            None => {
                let transport = open(&endpoint);
                let handle = serve(&transport, &outcomes).await;
                (transport, handle)
            }
        };
        until("the server answers calls", || {
            outcomes.answered.load(Ordering::Relaxed) >= round * ANSWERED
        })
        .await;
        if round == ROUNDS {
            done.store(true, Ordering::Relaxed);
        }
        if drains {
            handle.drain().await;
        }
        transport.close().await.unwrap();
    }
    calling.close().await.unwrap();
    while callers.join_next().await.is_some() {}
    outcomes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_server_refuses_what_it_does_not_begin() {
    for setup in setups() {
        let outcomes = drain_repeatedly(&setup, true).await;
        let unknown = outcomes.unknown.lock().unwrap();
        // The calls that were waiting for a server when the client closed are unsent, too.
        assert!(
            unknown.is_empty(),
            "{setup:?}: {} of {} calls have no known outcome: {:?}",
            unknown.len(),
            outcomes.calls.load(Ordering::Relaxed),
            unknown.first()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_server_leaves_no_call_in_doubt_that_it_has_not_begun() {
    for setup in setups() {
        let outcomes = drain_repeatedly(&setup, false).await;
        let (unknown, begun) = (outcomes.unknown.lock().unwrap(), outcomes.begun.lock().unwrap());
        let lost: Vec<_> = unknown.iter().filter(|(number, _)| !begun.contains(number)).collect();
        assert!(lost.is_empty(), "{setup:?}: {} calls, such as {:?}", lost.len(), lost.first());
    }
}
