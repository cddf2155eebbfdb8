//! The proxy over real sockets: each disturbance, and its end.

use std::io;
use std::time::Duration;

use polywire_conformance::{Direction, FaultProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

/// A proxy in front of a listener.
struct ProxiedListener {
    proxy: FaultProxy,
    target: TcpListener,
}

impl ProxiedListener {
    async fn new() -> Self {
        let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = FaultProxy::start(target.local_addr().unwrap().to_string()).await.unwrap();
        Self { proxy, target }
    }

    /// Opens a connection. Returns the sockets of both sides.
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

/// Returns true if the connection has ended, by its end of stream or by an error.
async fn has_ended(socket: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    timeout(Duration::from_secs(10), socket.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn bytes_and_ends_pass() {
    let listener = ProxiedListener::new().await;
    let (mut client, mut server) = listener.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
    client.shutdown().await.unwrap();
    assert!(has_ended(&mut server).await);
    assert!(passes(&mut server, &mut client).await.unwrap(), "the other direction is still open");
}

#[tokio::test]
async fn severed_connections_end_and_new_ones_work() {
    let listener = ProxiedListener::new().await;
    let (mut client, mut server) = listener.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
    listener.proxy.sever();
    assert!(has_ended(&mut client).await && has_ended(&mut server).await);
    let (mut client, mut server) = listener.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
}

#[tokio::test]
async fn bytes_of_one_direction_vanish() {
    let listener = ProxiedListener::new().await;
    let (mut client, mut server) = listener.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
    listener.proxy.black_hole(Direction::ToServer);
    client.write_all(b"vanishes").await.unwrap();
    // A message in the other direction arrives later than the swallowed one would.
    assert!(passes(&mut server, &mut client).await.unwrap());
    let mut came = [0; 9];
    assert!(timeout(Duration::from_millis(50), server.read(&mut came)).await.is_err());

    listener.proxy.heal();
    assert!(has_ended(&mut server).await, "a stream with a gap");
    let (mut client, mut server) = listener.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
}

#[tokio::test]
async fn connection_without_loss_outlives_a_black_hole() {
    let listener = ProxiedListener::new().await;
    let (mut client, mut server) = listener.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
    listener.proxy.black_hole(Direction::ToServer);
    listener.proxy.heal();
    assert!(passes(&mut client, &mut server).await.unwrap());
}

#[tokio::test]
async fn a_message_is_cut_in_the_middle_once() {
    let listener = ProxiedListener::new().await;
    let (mut client, mut server) = listener.connect().await;
    listener.proxy.cut_mid_frame(Direction::ToServer);
    assert!(passes(&mut client, &mut server).await.unwrap(), "a heartbeat is forwarded whole");
    client.write_all(&[7; 100]).await.unwrap();
    let mut came = Vec::new();
    // The stream ends with an error where the cut shows as a reset.
    let _ = server.read_to_end(&mut came).await;
    assert_eq!(came, [7; 50]);
    assert!(has_ended(&mut client).await);
    let (mut client, mut server) = listener.connect().await;
    client.write_all(&[7; 100]).await.unwrap();
    server.read_exact(&mut [0; 100]).await.unwrap();
}

#[tokio::test]
async fn refused_connections_are_closed() {
    let listener = ProxiedListener::new().await;
    listener.proxy.refuse(true);
    let mut client = TcpStream::connect(listener.proxy.address()).await.unwrap();
    assert!(has_ended(&mut client).await);
    listener.proxy.refuse(false);
    let (mut client, mut server) = listener.connect().await;
    assert!(passes(&mut client, &mut server).await.unwrap());
}

#[tokio::test]
async fn delay_and_bandwidth_take_their_time() {
    let listener = ProxiedListener::new().await;
    let (mut client, mut server) = listener.connect().await;
    listener.proxy.delay(Duration::from_millis(40));
    let start = Instant::now();
    assert!(passes(&mut client, &mut server).await.unwrap());
    assert!(start.elapsed() >= Duration::from_millis(40));

    listener.proxy.heal();
    listener.proxy.throttle(100_000);
    let start = Instant::now();
    client.write_all(&[0; 10_000]).await.unwrap();
    server.read_exact(&mut [0; 10_000]).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(90), "it took {:?}", start.elapsed());
}

#[tokio::test]
async fn dropped_proxy_closes_everything() {
    let ProxiedListener { proxy, target } = ProxiedListener::new().await;
    let address = proxy.address();
    let mut client = TcpStream::connect(address).await.unwrap();
    let (mut server, _) = target.accept().await.unwrap();
    assert!(passes(&mut client, &mut server).await.unwrap());
    drop(proxy);
    assert!(has_ended(&mut client).await && has_ended(&mut server).await);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn missing_target_closes_the_connection() {
    let ProxiedListener { proxy, target } = ProxiedListener::new().await;
    drop(target);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(has_ended(&mut client).await);
}
