//! The endpoints that the sockets of a transport have bound.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use polywire_core::Address;
use polywire_core::health::{EndpointProbe, EndpointReporter, EndpointRole};
use tokio::task::AbortHandle;

use super::endpoint_set::EndpointChange;
use super::refusing_peers::RefusingPeers;
use super::side::Side;
use super::transport_health::{SocketPresence, TransportHealth};
use crate::lock::lock;

/// The endpoints that the sockets of a transport have bound, with their real ports.
///
/// Clones share one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct BoundEndpoints {
    /// One entry for each socket and endpoint. Locked for a moment, never across an await.
    names: Arc<Mutex<Vec<String>>>,
    /// Health of the transport, to which each socket contributes.
    health: TransportHealth,
}

impl BoundEndpoints {
    /// Returns the endpoints in the order in which they were bound.
    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.names).clone()
    }

    /// Returns the health of the transport.
    pub(crate) fn health(&self) -> &TransportHealth {
        &self.health
    }

    /// Removes one entry of this endpoint, if there is one.
    fn remove(&self, endpoint: &str) {
        let mut all = lock(&self.names);
        if let Some(at) = all.iter().position(|other| other == endpoint) {
            all.remove(at);
        }
    }
}

/// The bound endpoints of one socket. Dropping the guard removes them from the list of the
/// transport.
///
/// Owned by the handle of the socket. The lock of `own` may enclose that of the list, never the
/// other way round.
#[derive(Debug)]
pub(crate) struct BindGuard {
    /// The list of the transport.
    bound: BoundEndpoints,
    /// The entries of this socket.
    own: Mutex<Vec<String>>,
    /// The socket within the health of the transport.
    presence: Arc<SocketPresence>,
    /// The task that counts the peers of the socket.
    watch: OnceLock<AbortHandle>,
    /// Set by [`clear`](Self::clear).
    is_cleared: AtomicBool,
}

impl BindGuard {
    /// Creates a guard of a socket that has bound nothing yet.
    pub(crate) fn new(bound: &BoundEndpoints) -> Self {
        Self {
            bound: bound.clone(),
            own: Mutex::default(),
            presence: Arc::new(bound.health.add_socket()),
            watch: OnceLock::new(),
            is_cleared: AtomicBool::new(false),
        }
    }

    /// Registers an endpoint handle that receives through the socket. The handle consumes while the
    /// socket has bound an endpoint or has a peer, and is refused while its peers refuse it.
    pub(crate) fn add_handle(
        &self,
        role: EndpointRole,
        name: &Address,
        probe: Arc<dyn EndpointProbe>,
    ) -> Arc<EndpointReporter> {
        self.presence.add_handle(role, name, probe)
    }

    /// Returns whether the socket is stopped or closed.
    pub(crate) fn is_cleared(&self) -> bool {
        self.is_cleared.load(Ordering::Acquire)
    }

    /// Returns the first endpoint that the socket has bound.
    pub(crate) fn first(&self) -> Option<String> {
        lock(&self.own).first().cloned()
    }

    /// Watches the refusals and the number of peers of a socket that connects, unless it is watched
    /// already. Ends when the guard is cleared or dropped. Requires a tokio runtime.
    ///
    /// The task holds the stream of counts, and with it the socket. A cleared guard starts no
    /// second task.
    pub(crate) fn watch_peers(
        &self,
        refusals: &RefusingPeers,
        counts: impl FnOnce() -> BoxStream<'static, usize>,
    ) {
        self.watch.get_or_init(|| {
            refusals.report_to(&self.presence);
            let (mut counts, presence) = (counts(), self.presence.clone());
            let watching = async move {
                while let Some(count) = counts.next().await {
                    presence.set_has_peer(count > 0);
                }
            };
            tokio::spawn(watching).abort_handle()
        });
    }

    /// Adds endpoints that the socket has bound.
    pub(crate) fn add(&self, endpoints: Vec<String>) {
        for endpoint in &endpoints {
            tracing::info!(endpoint, "listening");
        }
        lock(&self.bound.names).extend_from_slice(&endpoints);
        lock(&self.own).extend(endpoints);
        self.report();
    }

    /// Records the result of a change: `real` is the endpoint that was bound or unbound.
    pub(crate) fn note(&self, change: &EndpointChange, real: Option<&String>) {
        match (change.side, change.adds, real) {
            (Side::Bind, true, Some(real)) => self.add(vec![real.clone()]),
            (Side::Bind, false, Some(real)) => {
                lock(&self.own).retain(|other| other != real);
                self.bound.remove(real);
                self.report();
            }
            _ => {}
        }
    }

    /// Removes all endpoints of the socket, which is stopped or closed.
    ///
    /// The socket does not count for the health any more. A second call changes nothing.
    pub(crate) fn clear(&self) {
        // First, so that a socket without endpoints is known to be closed.
        self.is_cleared.store(true, Ordering::Release);
        for endpoint in std::mem::take(&mut *lock(&self.own)) {
            self.bound.remove(&endpoint);
        }
        if let Some(watch) = self.watch.get() {
            // The task holds the socket.
            watch.abort();
        }
        self.presence.close();
    }

    /// Reports whether the socket has bound an endpoint.
    fn report(&self) {
        let is_bound = !lock(&self.own).is_empty();
        self.presence.set_bound(is_bound);
    }
}

impl Drop for BindGuard {
    fn drop(&mut self) {
        self.clear();
    }
}
