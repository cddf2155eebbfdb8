//! The options for deduplication on a server.

use std::time::Duration;

/// Bounds on the replies that a server keeps to deduplicate requests.
///
/// A request may be delivered twice, for instance because its server lost the connection before
/// the reply was confirmed. A server that deduplicates does not run such a duplicate:
///
/// - A duplicate of a finished call gets the kept reply.
/// - A duplicate of a running call waits for that call's reply.
///
/// When a bound is reached, the oldest reply is dropped first. A call is identified by its reply
/// address and its id. One-way calls have neither, and are not deduplicated. Servers of one service
/// do not share their replies.
///
/// ```
/// # use polywire_core::{Memory, Result, Server};
/// # use polywire_core::rpc::Deduplication;
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// # let transport = Memory::new();
/// let deduplication = Deduplication::default().calls(50_000).time(Duration::from_mins(1));
/// let server = Server::bind(&transport, "accounts").deduplicate(deduplication).await?;
/// # drop(server);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deduplication {
    pub(super) calls: usize,
    pub(super) time: Duration,
    pub(super) bytes: usize,
}

impl Deduplication {
    /// Sets the maximum number of replies. The default is 10,000.
    pub const fn calls(self, calls: usize) -> Self {
        Self { calls, ..self }
    }

    /// Sets the time for which a reply is kept. The default is 5 minutes, for which RabbitMQ keeps
    /// the reply queue of a client that is disconnected.
    pub const fn time(self, time: Duration) -> Self {
        Self { time, ..self }
    }

    /// Sets the maximum total size of the replies, in bytes. The default is 64 MiB.
    pub const fn bytes(self, bytes: usize) -> Self {
        Self { bytes, ..self }
    }
}

impl Default for Deduplication {
    fn default() -> Self {
        Self { calls: 10_000, time: Duration::from_mins(5), bytes: 64 << 20 }
    }
}
