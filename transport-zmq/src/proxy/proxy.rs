//! The proxy: starting, observing and stopping it.

use polywire_core::Result;

use super::endpoint::ProxyEndpoint;
use super::stats::ProxyStats;
use super::tasks::ProxyTasks;
use super::{pipeline, pubsub, request_reply};

/// The messaging pattern of a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pattern {
    /// Requests from clients at the frontend to servers at the backend, and replies the other way.
    ///
    /// Each request goes to the server with the fewest in-flight calls. A call keeps its errors,
    /// and its deadline less the time that it waits in the proxy. If no server is connected for
    /// 1 second, the call fails as unroutable. The proxy passes on the cancellation of a call. If a
    /// server dies, its calls fail as disconnected; idempotent calls go to another server instead,
    /// if one is connected in time.
    RequestReply,
    /// Jobs from pushers at the frontend to pullers at the backend, in turn.
    ///
    /// All of them must use the same queue. Without a puller the proxy buffers at most 1,000 jobs a
    /// pusher. At the backend, 16 jobs wait for each puller that connects to the proxy, since the
    /// proxy cannot attribute bytes to such a puller; 1,000 wait for a puller that the proxy
    /// connects to.
    Pipeline,
    /// Events from publishers at the frontend to subscribers at the backend.
    ///
    /// The proxy receives all events of all channels, and sends each subscriber the matching ones.
    /// A subscriber misses no event that is published after it is open.
    PubSub,
}

/// A proxy that passes messages on between two endpoints until it is stopped.
///
/// The high-water marks of its sockets bound its memory: 1,000 messages a peer, and 16 jobs for a
/// puller that connects to it. Beyond, senders wait. Large replies have further bounds: each
/// client has 64 MiB of them in the socket. Up to 256 more for each client, and 1,024 in total, of
/// any size, wait as long as a server would wait. Replies beyond that are dropped.
///
/// Dropping the proxy ends it at once.
#[derive(Debug)]
pub struct Proxy(ProxyTasks);

impl Proxy {
    /// Opens both endpoints and starts to pass messages on. A text is an endpoint to bind; see
    /// [`ProxyEndpoint`] for an endpoint to connect to.
    ///
    /// If the future is dropped, no proxy runs.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) for a malformed endpoint, or one
    /// that cannot be bound.
    pub async fn start(
        pattern: Pattern,
        frontend: impl Into<ProxyEndpoint>,
        backend: impl Into<ProxyEndpoint>,
    ) -> Result<Self> {
        let (frontend, backend) = (frontend.into().resolve()?, backend.into().resolve()?);
        let tasks = match pattern {
            Pattern::RequestReply => request_reply::start(&frontend, &backend).await,
            Pattern::Pipeline => pipeline::start(&frontend, &backend).await,
            Pattern::PubSub => pubsub::start(&frontend, &backend).await,
        };
        tasks.map(Self)
    }

    /// Returns the endpoint of clients, pushers and publishers, with its real port.
    #[must_use]
    pub fn frontend(&self) -> &str {
        &self.0.frontend
    }

    /// Returns the endpoint of servers, pullers and subscribers, with its real port.
    #[must_use]
    pub fn backend(&self) -> &str {
        &self.0.backend
    }

    /// Returns the counts of messages so far.
    #[must_use]
    pub fn stats(&self) -> ProxyStats {
        self.0.counters.stats()
    }

    /// Stops receiving, waits up to 1 second until the messages received before are passed on, and
    /// closes both endpoints.
    ///
    /// If the future is dropped, the proxy ends at once.
    pub async fn stop(self) {
        self.0.finish().await;
    }
}
