//! The proxy over real sockets: each thing that it is told, it does.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::io;
use std::time::Duration;

use polywire_conformance::{Direction, Proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// A proxy before a listener.
struct Line {
    proxy: Proxy,
    target: TcpListener,
}

impl Line {
    async fn new() -> Self {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::start(target.local_addr().unwrap().to_string()).await.unwrap();
        Self { proxy, target }
    }

    /// Both ends of a new connection.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.proxy.address()).await.unwrap();
        let (server, _) = self.target.accept().await.unwrap();
        (client, server)
    }
}

async fn passes(from: &mut TcpStream, to: &mut TcpStream) -> io::Result<bool> {
    from.write_all(b"message").await?;
    let mut came = [0; 7];
    to.read_exact(&mut came).await?;
    Ok(&came == b"message")
}

/// Whether the connection is over: by its end, or by an error.
async fn is_over(socket: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    timeout(Duration::from_secs(10), socket.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn bytes_and_ends_pass() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
    client.shutdown().await.unwrap();
    assert!(is_over(&mut server).await);
    assert!(passes(&mut server, &mut client).await.unwrap(), "the other way is open yet");
}

#[tokio::test]
async fn severed_connections_are_over_and_new_ones_work() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
    line.proxy.sever();
    assert!(is_over(&mut client).await && is_over(&mut server).await);
    let (mut client, mut server) = line.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
}

#[tokio::test]
async fn bytes_of_one_direction_vanish() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
    line.proxy.black_hole(Direction::ToServer);
    client.write_all(b"vanishes").await.unwrap();
    // The other direction and back again is longer than the way of what vanishes.
    assert!(passes(&mut server, &mut client).await.unwrap());
    let mut came = [0; 9];
    assert!(timeout(Duration::from_millis(50), server.read(&mut came)).await.is_err());

    line.proxy.heal();
    assert!(is_over(&mut server).await, "a stream with a hole in it");
    let (mut client, mut server) = line.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
}

#[tokio::test]
async fn what_lost_nothing_outlives_a_black_hole() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
    line.proxy.black_hole(Direction::ToServer);
    line.proxy.heal();
    assert!(passes(&mut client, &mut server).await.unwrap());
}

#[tokio::test]
async fn a_message_is_cut_in_the_middle_once() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    line.proxy.cut_mid_frame(Direction::ToServer);
    assert!(passes(&mut client, &mut server).await.unwrap(), "a heartbeat goes by");
    client.write_all(&[7; 100]).await.unwrap();
    let mut came = Vec::new();
    // It ends with an error where the cut shows as a reset.
    let _ = server.read_to_end(&mut came).await;
    assert_eq!(came, [7; 50]);
    assert!(is_over(&mut client).await);
    let (mut client, mut server) = line.connect().await;
    client.write_all(&[7; 100]).await.unwrap();
    server.read_exact(&mut [0; 100]).await.unwrap();
}

#[tokio::test]
async fn who_is_refused_is_hung_up_on() {
    let line = Line::new().await;
    line.proxy.refuse(true);
    let mut client = TcpStream::connect(line.proxy.address()).await.unwrap();
    assert!(is_over(&mut client).await);
    line.proxy.refuse(false);
    let (mut client, mut server) = line.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
}

#[tokio::test]
async fn delays_and_narrowness_take_their_time() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    line.proxy.delay(Duration::from_millis(40));
    let start = Instant::now();
    assert!(passes(&mut client, &mut server).await.unwrap());
    assert!(start.elapsed() >= Duration::from_millis(40));

    line.proxy.heal();
    line.proxy.throttle(100_000);
    let start = Instant::now();
    client.write_all(&[0; 10_000]).await.unwrap();
    server.read_exact(&mut [0; 10_000]).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(90), "it took {:?}", start.elapsed());
}

#[tokio::test]
async fn dropping_it_closes_everything() {
    let Line { proxy, target } = Line::new().await;
    let address = proxy.address();
    let mut client = TcpStream::connect(address).await.unwrap();
    let (mut server, _) = target.accept().await.unwrap();
    assert!(passes(&mut client, &mut server).await.unwrap());
    drop(proxy);
    assert!(is_over(&mut client).await && is_over(&mut server).await);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_target_that_is_away_hangs_up() {
    let Line { proxy, target } = Line::new().await;
    drop(target);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(is_over(&mut client).await);
}
