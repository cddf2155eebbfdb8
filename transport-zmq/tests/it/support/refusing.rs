//! A peer that refuses every handshake.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::address::own_host;

/// A listener whose greeting asks for CURVE, which a peer without keys refuses on every engine.
pub(crate) struct RefusingPeer {
    pub(crate) endpoint: String,
    accepting: JoinHandle<()>,
    /// One value for each connection that has ended.
    attempts: mpsc::UnboundedReceiver<()>,
}

/// Attempts to connect after which a second log line would be there.
const ATTEMPTS: usize = 5;
/// The time after which a wait for an attempt has failed.
const PATIENCE: Duration = Duration::from_secs(60);

impl RefusingPeer {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind((own_host(), 0)).await.unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let (attempt, attempts) = mpsc::unbounded_channel();
        let accepting = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let attempt = attempt.clone();
                tokio::spawn(async move {
                    let mut greeting = [0; 64];
                    (greeting[0], greeting[9], greeting[10], greeting[11]) = (0xFF, 0x7F, 3, 1);
                    greeting[12..17].copy_from_slice(b"CURVE");
                    // The peer may have left already, and the test may have ended.
                    let _ = stream.write_all(&greeting).await;
                    let _ = stream.read_to_end(&mut Vec::new()).await;
                    let _ = attempt.send(());
                });
            }
        });
        Self { endpoint, accepting, attempts }
    }

    /// Waits for several refused attempts, and frees the port.
    pub(crate) async fn stop(mut self) -> String {
        for _ in 0..ATTEMPTS {
            timeout(PATIENCE, self.attempts.recv()).await.expect("another attempt").unwrap();
        }
        self.accepting.abort();
        // The error says that the task was aborted.
        let _ = self.accepting.await;
        self.endpoint
    }
}
