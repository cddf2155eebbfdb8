//! The attacks of hostile peers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use polywire_zmq::Admission;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::rng::Rng;
use crate::size::Size;
use crate::zmtp::{Malice, announced, command, frame, introduction, ping, request};

/// Sends malformed greetings, handshakes and frames, 32 connections at a time.
pub(crate) async fn malformed(server: SocketAddr, size: Size, sorts: &[Malice]) {
    let attacks = attacks(size.malformed, size, sorts);
    stream::iter(attacks).for_each_concurrent(32, |attack| attack.carry_out(server)).await;
}

/// Sends malformed bytes at a fixed rate.
pub(crate) async fn paced(server: SocketAddr, size: Size, sorts: &[Malice]) {
    let mut running = JoinSet::new();
    let mut pace = interval(Duration::from_millis(10));
    for attack in attacks(size.paced, size, sorts) {
        pace.tick().await;
        running.spawn(attack.carry_out(server));
    }
    running.join_all().await;
}

/// Returns that many malformed connections of these sorts.
fn attacks(count: usize, size: Size, sorts: &[Malice]) -> impl Iterator<Item = Attack> {
    let mut rng = Rng::new();
    (0..count).map(move |at| {
        let malice = sorts[at % sorts.len()];
        // Only a few are large, so that generating them takes little time.
        let endless = if at % 100 < 10 { size.endless_bytes } else { 10_000 };
        // Most connections wait until they are closed, some leave at once.
        Attack { bytes: malice.bytes(&mut rng, endless), waits: rng.below(10) > 0 }
    })
}

/// A connection that sends these bytes.
struct Attack {
    bytes: Vec<u8>,
    waits: bool,
}

impl Attack {
    async fn carry_out(self, server: SocketAddr) {
        let mut stream = dial(server, 1).await;
        // The server may close the connection before all bytes are written.
        let _ = stream.write_all(&self.bytes).await;
        if self.waits {
            let _ = timeout(Duration::from_millis(100), stream.read_to_end(&mut Vec::new())).await;
        }
    }
}

/// Sends a byte of the greeting every 100 milliseconds, for two handshake timeouts.
pub(crate) async fn slow(server: SocketAddr, count: usize) {
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
    let durations = futures_util::future::join_all(all).await;
    let longest = durations.into_iter().max().unwrap();
    println!("slow peers were connected for {longest:.1?} at most");
    assert!(longest < Duration::from_secs(9), "a slow peer was connected for {longest:?}");
}

/// Connects peers with one identity. The first keeps its connection, and gets the replies to its
/// own requests only.
pub(crate) async fn identity_in_use(server: SocketAddr) {
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

/// Sends a request, and waits for its reply.
async fn ask(stream: &mut TcpStream, number: u64) {
    stream.write_all(&frame(0, &request(number))).await.unwrap();
    let (mut read, id) = (Vec::new(), number.to_be_bytes());
    let answered = async {
        while !read.windows(12).any(|window| window[..4] == *b"P\x01\x02\x01" && window[4..] == id)
        {
            assert_ne!(
                stream.read_buf(&mut read).await.unwrap(),
                0,
                "the first peer was disconnected"
            );
        }
    };
    timeout(Duration::from_secs(10), answered).await.expect("the request has a reply");
}

/// Subscribes to large prefixes, and to more prefixes than allowed.
pub(crate) async fn subscriptions(server: SocketAddr, count: usize) {
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
    // The ends of subscriptions that the peer does not have make no room for others.
    for end in [Vec::new(), command(b"CANCEL", b"never subscribed")] {
        too_many(server, &end).await;
    }
}

/// Subscribes to more prefixes than allowed, and sends these bytes after each of them.
async fn too_many(server: SocketAddr, end: &[u8]) {
    let mut many = dial(server, 1).await;
    let _ = many.write_all(&introduction(b"SUB", b"")).await;
    let mut number = 0_u64;
    let disconnected = async {
        loop {
            let some: Vec<u8> = (0..100)
                .flat_map(|_| {
                    number += 1;
                    let prefix = [&[b'z'; 380][..], &number.to_be_bytes()].concat();
                    [&command(b"SUBSCRIBE", &prefix)[..], end].concat()
                })
                .collect();
            if many.write_all(&some).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(Duration::from_secs(20), disconnected)
        .await
        .expect("a peer with too many subscriptions is disconnected");
    println!("disconnected after about {number} subscriptions");
}

/// Connects eight peers that send one heartbeat after the other, and read no reply before they have
/// sent all.
pub(crate) async fn pings(server: SocketAddr, count: usize) {
    let all = (0..8).map(|_| async move {
        let mut stream = dial(server, 4).await;
        stream.write_all(&introduction(b"DEALER", b"")).await.unwrap();
        let some = ping().repeat(1000);
        for _ in 0..count / 8000 {
            // A server that stops reading until its replies are read passes as well.
            match timeout(Duration::from_secs(10), stream.write_all(&some)).await {
                Ok(Ok(())) => {}
                _ => break,
            }
        }
        stream
    });
    let held = futures_util::future::join_all(all).await;
    // The memory of the server is measured while the replies wait.
    sleep(Duration::from_millis(500)).await;
    drop(held);
}

/// Opens connections that finish their handshake, send half a message and stay. They come from
/// another host than the honest clients.
pub(crate) async fn flood(server: SocketAddr, count: usize) {
    let count = count.min(descriptors_max().saturating_sub(500));
    let held = stream::iter(0..count).map(|_| async move {
        let mut stream = dial(server, 3).await;
        let half = [introduction(b"DEALER", b""), announced(0, 1000), vec![0; 500]].concat();
        let _ = stream.write_all(&half).await;
        stream
    });
    let mut held: Vec<_> = held.buffer_unordered(64).collect().await;
    let mut open = usize::MAX;
    // Of simultaneous connections, surplus ones are closed a moment later.
    let closed = async {
        while open > Admission::default().host_connections_max {
            open = open_ones(&mut held).await;
        }
    };
    let in_time = timeout(Duration::from_secs(20), closed).await;
    println!("of {count} connections, {open} stayed open");
    assert!(in_time.is_ok(), "{open} connections of one host stayed open");
}

/// Returns the number of connections that the server has not closed.
async fn open_ones(held: &mut [TcpStream]) -> usize {
    let mut open = 0;
    for stream in held {
        let mut some = [0; 256];
        // Reads the bytes so far, and then the end of the stream if the server has closed it.
        let closed = async { while !matches!(stream.read(&mut some).await, Ok(0) | Err(_)) {} };
        open += usize::from(timeout(Duration::from_millis(1), closed).await.is_err());
    }
    open
}

/// Returns the soft limit of open files of this process.
fn descriptors_max() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).and_then(|soft| soft.parse().ok()).unwrap_or(1024)
}

/// Connects from a loopback address that the honest clients do not use.
async fn dial(server: SocketAddr, host: u8) -> TcpStream {
    for _ in 0..100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 1, host], 0))).unwrap();
        if let Ok(Ok(stream)) = timeout(Duration::from_secs(10), socket.connect(server)).await {
            return stream;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("cannot connect to {server}");
}
