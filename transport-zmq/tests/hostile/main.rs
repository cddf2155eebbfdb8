//! Strangers at the port of a server: whatever they do, it lives, stays small, and serves the
//! others.

#![cfg(all(target_os = "linux", any(feature = "engine-omq", feature = "engine-zeromq")))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is a failure"
)]

mod honest;
#[path = "../support/mod.rs"]
mod support;
mod zmtp;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use polywire_zmq::Admission;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use self::honest::Honest;
use self::support::{Dice, Process};
use self::zmtp::{Malice, announced, command, frame, greeting, introduction, ping, request};

#[test]
fn serves_in_a_process_of_its_own() {
    support::serve_if_told();
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
struct Size {
    /// Malformed greetings, handshakes and frames.
    malformed: usize,
    /// The same, one every 10 milliseconds, so that the generator leaves the processors to the
    /// others.
    paced: usize,
    /// Bytes that one writes who never comes to an end of its frames.
    endless_bytes: usize,
    /// Connections that finish their handshake and stay.
    flood: usize,
    /// Connections that write a byte now and then.
    slow: usize,
    /// Subscriptions of 1 MiB.
    subscriptions: usize,
    /// Heartbeats that ask for answers which nobody reads.
    pings: usize,
}

/// In the test command: below a minute.
const QUICK: Size = Size {
    malformed: 1000,
    paced: 100,
    endless_bytes: 1 << 20,
    flood: 1000,
    slow: 50,
    subscriptions: 40,
    pings: 100_000,
};
/// For a run of its own.
const FULL: Size = Size {
    malformed: 20_000,
    paced: 1_000,
    endless_bytes: 16 << 20,
    flood: 10_000,
    slow: 100,
    subscriptions: 400,
    pings: 2_000_000,
};

#[cfg(feature = "engine-omq")]
#[test]
fn strangers_harm_nobody() {
    battery(QUICK);
}

#[cfg(feature = "engine-omq")]
#[test]
#[ignore = "takes minutes"]
fn many_strangers_harm_nobody() {
    battery(FULL);
}

#[cfg(feature = "engine-omq")]
fn battery(size: Size) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The documentation tells who lets strangers in to set what a message may hold: a peer may make
    // that much of one.
    let mut server = Process::start("zmq+tcp://127.0.0.1:*?engine=omq&body_max=1000000");
    runtime.block_on(async {
        let quiet = Honest::start(&server).stop_after(Duration::from_secs(1)).await;
        let before = server.memory_kib().0;
        println!("quiet: {quiet}, {before} KiB");
        let requests = address(&server.endpoints[0]);
        let events = address(&server.endpoints[1]);

        during("malformed", &mut server, malformed(requests, size, &Malice::ALL)).await;
        during("malformed, paced", &mut server, paced(requests, size, &Malice::ALL)).await;
        during("slow", &mut server, slow(requests, size.slow)).await;
        during("identity in use", &mut server, identity_in_use(requests)).await;
        during("subscriptions", &mut server, subscriptions(events, size.subscriptions)).await;
        during("pings", &mut server, pings(requests, size.pings)).await;
        during("flood", &mut server, flood(requests, size.flood)).await;

        let (after, highest) = server.memory_kib();
        println!("in the end {after} KiB, {highest} KiB at the highest, before {before} KiB");
        assert!(after <= before + (64 << 10), "{after} KiB, and {before} KiB before");
    });
}

/// What `zeromq` cannot bear: it reserves whatever length is announced and aborts; it keeps frames
/// without an end; it holds silent peers for ever, and any number of connections; it lets a second
/// peer take over an identity. All of that is documented at `Engine::Zeromq`, and not run. The rest
/// is.
#[cfg(feature = "engine-zeromq")]
#[test]
fn strangers_harm_nobody_of_the_other_engine_with_what_it_can_bear() {
    let bearable = [
        Malice::Greeting,
        Malice::WrongCommand,
        Malice::Properties,
        Malice::LateCommand,
        Malice::Heartbeat,
        Malice::Envelope,
        Malice::Truncated,
    ];
    for malice in Malice::ALL.iter().filter(|malice| !bearable.contains(malice)) {
        println!("not run with engine zeromq, which has no bounds: {malice:?}");
    }
    println!(
        "not run with engine zeromq, which has no bounds: slow, identity in use, subscriptions, pings, flood"
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut server = Process::start("zmq+tcp://127.0.0.1:*?engine=zeromq");
    runtime.block_on(async {
        let requests = address(&server.endpoints[0]);
        during(
            "malformed",
            &mut server,
            malformed(requests, Size { malformed: 300, ..QUICK }, &bearable),
        )
        .await;
    });
}

/// Runs an attack while honest clients go on, and sees that they were served and that the server
/// lives.
async fn during(name: &str, server: &mut Process, attack: impl Future<Output = ()>) {
    let honest = Honest::start(server);
    let begun = Instant::now();
    timeout(Duration::from_secs(600), attack).await.expect("the attack ends");
    let took = begun.elapsed();
    let served = honest.stop_after(Duration::from_millis(300)).await;
    assert!(server.is_alive(), "{name} ended the server");
    let (now, highest) = server.memory_kib();
    println!("{name}: {took:.1?}; {served}; {now} KiB, {highest} KiB at the highest");
    assert_eq!(served.failed, 0, "{name}: honest calls failed");
    assert!(served.fresh > 0, "{name}: nobody new was let in");
}

async fn malformed(server: SocketAddr, size: Size, sorts: &[Malice]) {
    let attacks = attacks(size.malformed, size, sorts);
    stream::iter(attacks).for_each_concurrent(32, |attack| attack.carry_out(server)).await;
}

async fn paced(server: SocketAddr, size: Size, sorts: &[Malice]) {
    let mut running = JoinSet::new();
    let mut pace = interval(Duration::from_millis(10));
    for attack in attacks(size.paced, size, sorts) {
        pace.tick().await;
        running.spawn(attack.carry_out(server));
    }
    running.join_all().await;
}

fn attacks(count: usize, size: Size, sorts: &[Malice]) -> impl Iterator<Item = Attack> {
    let mut dice = Dice(1);
    (0..count).map(move |at| {
        let malice = sorts[at % sorts.len()];
        // Few are large, so that the generator is not what takes the time.
        let endless = if at % 100 < 10 { size.endless_bytes } else { 10_000 };
        // Most wait to see whether they are hung up on, some leave at once.
        Attack { bytes: malice.bytes(&mut dice, endless), waits: dice.below(10) > 0 }
    })
}

struct Attack {
    bytes: Vec<u8>,
    waits: bool,
}

impl Attack {
    async fn carry_out(self, server: SocketAddr) {
        let mut stream = dial(server, 1).await;
        // Who is hung up on while it writes has been dealt with.
        let _ = stream.write_all(&self.bytes).await;
        if self.waits {
            let _ = timeout(Duration::from_millis(100), stream.read_to_end(&mut Vec::new())).await;
        }
    }
}

/// A byte of the greeting every 100 milliseconds, for two handshake times.
async fn slow(server: SocketAddr, count: usize) {
    let all = (0..count).map(|_| async {
        let mut stream = dial(server, 2).await;
        let begun = Instant::now();
        for byte in introduction(b"DEALER", b"") {
            if stream.write_all(&[byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        begun.elapsed()
    });
    let held = futures_util::future::join_all(all).await;
    let longest = held.into_iter().max().unwrap();
    println!("slow peers were held for {longest:.1?} at the longest");
    assert!(longest < Duration::from_secs(9), "a slow peer was held for {longest:?}");
}

/// The first keeps what it has; the second is not served in its name.
async fn identity_in_use(server: SocketAddr) {
    let mut first = dial(server, 1).await;
    first.write_all(&introduction(b"DEALER", b"one of a kind")).await.unwrap();
    ask(&mut first, 1).await;
    for number in 2..20 {
        let mut second = dial(server, 1).await;
        let _ = second
            .write_all(
                &[introduction(b"DEALER", b"one of a kind"), frame(0, &request(99))].concat(),
            )
            .await;
        ask(&mut first, number).await;
    }
}

/// Asks, and waits for the answer to that very call.
async fn ask(stream: &mut TcpStream, number: u64) {
    stream.write_all(&frame(0, &request(number))).await.unwrap();
    let (mut read, id) = (Vec::new(), number.to_be_bytes());
    let answered = async {
        while !read.windows(12).any(|window| window[..4] == *b"P\x01\x02\x01" && window[4..] == id)
        {
            assert_ne!(
                stream.read_buf(&mut read).await.unwrap(),
                0,
                "the one who was first was hung up on"
            );
        }
    };
    timeout(Duration::from_secs(10), answered).await.expect("it is answered");
}

/// Large prefixes, and more prefixes than anybody may have.
async fn subscriptions(server: SocketAddr, count: usize) {
    let mut greedy = dial(server, 1).await;
    let _ = greedy.write_all(&introduction(b"SUB", b"")).await;
    let large = command(b"SUBSCRIBE", &vec![b'x'; 1 << 20]);
    let large_message = frame(0, &[&[1], &vec![b'y'; 1 << 20][..]].concat());
    for _ in 0..count / 2 {
        if greedy.write_all(&large).await.is_err()
            || greedy.write_all(&large_message).await.is_err()
        {
            greedy = dial(server, 1).await;
            let _ = greedy.write_all(&introduction(b"SUB", b"")).await;
        }
    }
    let mut many = dial(server, 1).await;
    let _ = many.write_all(&introduction(b"SUB", b"")).await;
    let mut number = 0_u64;
    let hung_up = async {
        loop {
            let some: Vec<u8> = (0..100)
                .flat_map(|_| {
                    number += 1;
                    command(b"SUBSCRIBE", &[&[b'z'; 380][..], &number.to_be_bytes()].concat())
                })
                .collect();
            if many.write_all(&some).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(20), hung_up)
        .await
        .expect("who subscribes without an end is hung up on");
    println!("hung up on after about {number} subscriptions");
}

/// Eight peers that ask for one heartbeat after the other, and read no answer until they have asked
/// for all.
async fn pings(server: SocketAddr, count: usize) {
    let all = (0..8).map(|_| async move {
        let mut stream = dial(server, 4).await;
        stream.write_all(&introduction(b"DEALER", b"")).await.unwrap();
        let some = ping().repeat(1000);
        for _ in 0..count / 8000 {
            // A server that does not read on before its answers are taken does well, too.
            match timeout(Duration::from_secs(10), stream.write_all(&some)).await {
                Ok(Ok(())) => {}
                _ => break,
            }
        }
        stream
    });
    let held = futures_util::future::join_all(all).await;
    // So that what lies there for them is weighed.
    sleep(Duration::from_millis(500)).await;
    drop(held);
}

/// Connections that finish their handshake, write half a message and stay, from a host that is not
/// ours.
async fn flood(server: SocketAddr, count: usize) {
    let count = count.min(descriptors_max().saturating_sub(500));
    let held = stream::iter(0..count).map(|_| async move {
        let mut stream = dial(server, 3).await;
        let half = [introduction(b"DEALER", b""), announced(0, 1000), vec![0; 500]].concat();
        let _ = stream.write_all(&half).await;
        stream
    });
    let mut held: Vec<_> = held.buffer_unordered(64).collect().await;
    let mut open = usize::MAX;
    // Those who came in a moment with others are hung up on a moment later.
    let shown_out = async {
        while open > Admission::default().host_connections_max {
            open = open_ones(&mut held).await;
        }
    };
    let in_time = timeout(Duration::from_secs(20), shown_out).await;
    println!("of {count} connections {open} were let in");
    assert!(in_time.is_ok(), "{open} connections of one host were let in");
}

/// How many the server has not hung up on.
async fn open_ones(held: &mut [TcpStream]) -> usize {
    let mut open = 0;
    for stream in held {
        let mut some = [0; 256];
        // What the server has said so far, and then either nothing or the end.
        let closed = async { while !matches!(stream.read(&mut some).await, Ok(0) | Err(_)) {} };
        open += usize::from(timeout(Duration::from_millis(1), closed).await.is_err());
    }
    open
}

fn descriptors_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(1024)
}

/// From a host of this machine that the honest do not use.
async fn dial(server: SocketAddr, host: u8) -> TcpStream {
    for _ in 0..100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 1, host], 0))).unwrap();
        if let Ok(Ok(stream)) = timeout(Duration::from_secs(10), socket.connect(server)).await {
            return stream;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("nobody listens at {server}");
}

fn address(endpoint: &str) -> SocketAddr {
    endpoint.strip_prefix("tcp://").unwrap().parse().unwrap()
}

#[test]
fn what_strangers_write_begins_as_it_should() {
    assert_eq!(greeting().len(), 64);
    assert!(introduction(b"DEALER", b"").starts_with(&greeting()));
}
