//! Refusals of peers, and their ends, as the health shows them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use polywire_codec::MessagePack;
use polywire_core::health::HealthChanges;
use polywire_core::{Pusher, Subscriber, Transport};
use polywire_zmq::Zmq;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::engine::zmq;
use crate::support::wait::PATIENCE;

/// A peer that refuses every handshake, or closes each connection at once.
struct Peer {
    endpoint: String,
    refuses: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl Peer {
    /// Listens at a free port of a loopback address.
    async fn bind_tcp(address: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let port = listener.local_addr()?.port();
        let host = if address.contains(':') { "[0:0:0:0:0:0:0:1]" } else { address };
        let refuses = Arc::new(AtomicBool::new(true));
        let each = refuses.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, each.load(Ordering::Relaxed)));
            }
        });
        Ok(Self { endpoint: format!("tcp://{host}:{port}"), refuses, accepting })
    }

    /// Listens at a name without a file.
    #[cfg(target_os = "linux")]
    fn bind_name() -> Self {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net;

        use crate::support::engine::ENGINE;

        let name = format!("polywire-refusals-{}-{ENGINE}", std::process::id());
        let address = net::SocketAddr::from_abstract_name(&name).unwrap();
        let listener = net::UnixListener::bind_addr(&address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let refuses = Arc::new(AtomicBool::new(true));
        let each = refuses.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, each.load(Ordering::Relaxed)));
            }
        });
        Self { endpoint: format!("ipc://@{name}"), refuses, accepting }
    }

    /// Frees the endpoint.
    async fn stop(self) {
        self.accepting.abort();
        // The error says that the task was aborted.
        let _ = self.accepting.await;
    }
}

/// Answers a connection with a greeting that asks for CURVE, which a peer without keys refuses on
/// every engine.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, refuses: bool) {
    if refuses {
        let mut greeting = [0; 64];
        (greeting[0], greeting[9], greeting[10], greeting[11]) = (0xFF, 0x7F, 3, 1);
        greeting[12..17].copy_from_slice(b"CURVE");
        // The peer may have left already.
        let _ = stream.write_all(&greeting).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

/// A pusher and a subscriber of one peer, which watch their connections in two ways.
struct Connecting {
    changes: [HealthChanges; 2],
    _transports: [Zmq; 2],
    _pusher: Pusher<MessagePack>,
    _subscriber: Subscriber<u32>,
}

impl Connecting {
    async fn to(endpoint: &str) -> Self {
        let [pushing, reading] = [(); 2].map(|()| zmq().connect(endpoint).build().unwrap());
        Self {
            changes: [pushing.health().changes(), reading.health().changes()],
            _pusher: Pusher::connect(&pushing, "q", MessagePack).await.unwrap(),
            _subscriber: Subscriber::bind(&reading, "c", MessagePack).await.unwrap(),
            _transports: [pushing, reading],
        }
    }

    /// Waits until the health of both shows a state of the connection.
    async fn until(&mut self, state: &str) {
        for changes in &mut self.changes {
            let waiting =
                async { while changes.next().await.expect("open").connection.as_str() != state {} };
            timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never {state}"));
        }
    }
}

#[tokio::test]
async fn refusal_ends_when_the_peer_closes_connections_without_a_reason() {
    let peer = Peer::bind_tcp("127.0.0.1").await.unwrap();
    let mut connecting = Connecting::to(&peer.endpoint).await;
    for _ in 0..2 {
        peer.refuses.store(true, Ordering::Relaxed);
        connecting.until("refused").await;
        peer.refuses.store(false, Ordering::Relaxed);
        connecting.until("connecting").await;
    }
    peer.stop().await;
}

#[tokio::test]
async fn refusal_shows_at_a_long_form_of_an_address() {
    let Ok(peer) = Peer::bind_tcp("::1").await else { not_run!("there is no IPv6 loopback") };
    let mut connecting = Connecting::to(&peer.endpoint).await;
    connecting.until("refused").await;
    peer.stop().await;
    connecting.until("connecting").await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn refusal_at_a_name_without_a_file_ends_with_the_peer() {
    let peer = Peer::bind_name();
    let mut connecting = Connecting::to(&peer.endpoint).await;
    connecting.until("refused").await;
    peer.stop().await;
    connecting.until("connecting").await;
}
