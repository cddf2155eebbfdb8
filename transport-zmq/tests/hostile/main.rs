//! Hostile peers at the port of a server: the server survives, stays small, and serves its honest
//! clients.

#![cfg(all(target_os = "linux", any(feature = "engine-omq", feature = "engine-zeromq")))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is a failure"
)]

mod attacks;
mod honest;
#[path = "../it/support/process.rs"]
mod process;
mod rng;
mod size;
mod zmtp;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use self::attacks::{flood, identity_in_use, malformed, paced, pings, slow, subscriptions};
use self::honest::HonestClients;
use self::process::ServerProcess;
use self::size::{FULL, QUICK, Size};
use self::zmtp::{Malice, greeting, introduction};

#[cfg(feature = "engine-omq")]
#[test]
fn hostile_peers_harm_no_client() {
    battery("omq", QUICK);
}

#[cfg(feature = "engine-omq")]
#[test]
#[ignore = "takes minutes"]
fn many_hostile_peers_harm_no_client() {
    battery("omq", FULL);
}

#[cfg(feature = "engine-zeromq")]
#[test]
fn hostile_peers_harm_no_client_of_engine_zeromq() {
    battery("zeromq", QUICK);
}

#[cfg(feature = "engine-zeromq")]
#[test]
#[ignore = "takes minutes"]
fn many_hostile_peers_harm_no_client_of_engine_zeromq() {
    battery("zeromq", FULL);
}

fn battery(engine: &str, size: Size) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The documentation recommends `body_max` for servers of untrusted peers: each peer may use
    // that much memory.
    let mut server =
        ServerProcess::start(&format!("zmq+tcp://127.0.0.1:*?engine={engine}&body_max=1000000"));
    runtime.block_on(async {
        let quiet = HonestClients::start(&server, engine).stop_after(Duration::from_secs(1)).await;
        let before = server.memory_kib().0;
        println!("quiet: {quiet}, {before} KiB");
        let requests = address(&server.endpoints[0]);
        let events = address(&server.endpoints[1]);

        during(engine, "malformed", &mut server, malformed(requests, size, &Malice::ALL)).await;
        during(engine, "paced", &mut server, paced(requests, size, &Malice::ALL)).await;
        during(engine, "slow", &mut server, slow(requests, size.slow)).await;
        during(engine, "identity in use", &mut server, identity_in_use(requests)).await;
        during(engine, "subscriptions", &mut server, subscriptions(events, size.subscriptions))
            .await;
        during(engine, "pings", &mut server, pings(requests, size.pings)).await;
        during(engine, "flood", &mut server, flood(requests, size.flood)).await;

        let (after, highest) = server.memory_kib();
        println!("{after} KiB at the end, {highest} KiB at most, {before} KiB before");
        assert!(after <= before + (64 << 10), "{after} KiB, and {before} KiB before");
    });
}

/// Runs an attack while honest clients call the server. Checks that their calls succeed and that
/// the server lives.
async fn during(
    engine: &str,
    name: &str,
    server: &mut ServerProcess,
    attack: impl Future<Output = ()>,
) {
    let honest = HonestClients::start(server, engine);
    let begun = Instant::now();
    timeout(Duration::from_secs(600), attack).await.expect("the attack ends");
    let took = begun.elapsed();
    let served = honest.stop_after(Duration::from_millis(300)).await;
    assert!(server.is_alive(), "{name} ended the server");
    let (now, highest) = server.memory_kib();
    println!("{name}: {took:.1?}; {served}; {now} KiB, {highest} KiB at most");
    assert_eq!(served.failed, 0, "{name}: honest calls failed");
    assert!(served.fresh > 0, "{name}: no new client was served");
}

fn address(endpoint: &str) -> SocketAddr {
    endpoint.strip_prefix("tcp://").unwrap().parse().unwrap()
}

#[test]
fn introduction_begins_with_the_greeting() {
    assert_eq!(greeting().len(), 64);
    assert!(introduction(b"DEALER", b"").starts_with(&greeting()));
}
