//! Endpoints of a socket, and the peers that the socket reaches through them.

use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use omq_tokio::{MonitorEvent, MonitorRecvError, MonitorStream, Socket};
use polywire_core::Result;
use tokio::task::AbortHandle;

use super::connection_limiter::ConnectionLimiter;
use super::engine_error::engine_error;
use super::redial_after_denial::redial;
use crate::endpoint::{Endpoint, EndpointChange, RefusingPeers, Side};
use crate::engine::SocketControl;
use crate::engine::setup_errors::cannot_bind;
use crate::lock::lock;
use crate::wire::SyncMarker;

/// A socket with the endpoints that it binds and connects to. Dropping the value stops the limiter
/// and the task of [`redial`], which hold the socket.
///
/// No lock is held across an await. In `connect`, the lock of `connected` encloses those of
/// `events` and of the refusals; elsewhere, one lock is held at a time.
pub(crate) struct SocketEndpoints {
    /// The socket of the engine. Clones are the same socket.
    pub(super) socket: Socket,
    /// Bounds on inbound connections, in effect once an endpoint is bound.
    limiter: Arc<ConnectionLimiter>,
    /// Endpoints that are bound: as requested, and with the real port.
    bound: Mutex<Vec<(Endpoint, String)>>,
    /// Endpoints to connect to. The engine reconnects to each of them until it is removed, or
    /// rejects the handshake. Shared with the task of [`redial`].
    connected: Arc<Mutex<Vec<Endpoint>>>,
    /// Refusals at these endpoints, or at that of a dealer.
    pub(super) refusals: RefusingPeers,
    /// The task of [`redial`], which begins with the first endpoint.
    redialing: OnceLock<AbortHandle>,
    /// Monitor events since the first endpoint was added that [`ready`](Self::ready) has not
    /// waited for. Begun before the engine connects, so that no event is missed.
    events: Mutex<Option<MonitorStream>>,
}

impl SocketEndpoints {
    /// Wraps a new socket and its limiter.
    pub(super) fn new((socket, limiter): (Socket, Arc<ConnectionLimiter>)) -> Self {
        Self {
            socket,
            limiter,
            bound: Mutex::default(),
            connected: Arc::default(),
            refusals: RefusingPeers::default(),
            redialing: OnceLock::new(),
            events: Mutex::default(),
        }
    }

    /// Returns the bound on the subscriptions of a peer, if there is one.
    pub(super) fn subscriptions_max(&self) -> Option<usize> {
        self.limiter.subscriptions_max()
    }

    /// Makes an endpoint change. Returns the endpoint with its real port, or `None` if nothing had
    /// to change.
    async fn change(
        &self,
        EndpointChange { side, adds, endpoint }: &EndpointChange,
    ) -> Result<Option<String>> {
        match (side, adds) {
            (Side::Bind, true) => self.bind(endpoint).await.map(Some),
            (Side::Bind, false) => self.unbind(endpoint).await,
            (Side::Connect, true) => self.connect(endpoint).await,
            (Side::Connect, false) => self.disconnect(endpoint).await,
        }
    }

    /// Binds an endpoint, with the limiter in place before the first peer can connect.
    ///
    /// If the future is dropped, the endpoint may be bound without being listed. A later unbind
    /// does not find it then.
    ///
    /// # Errors
    ///
    /// `Config` if the endpoint cannot be bound, with the cause.
    async fn bind(&self, endpoint: &Endpoint) -> Result<String> {
        self.limiter.watch(&self.socket);
        let real = self.socket.bind(endpoint.to_string()).await;
        let real = real.map_err(|error| cannot_bind(endpoint, &error))?.to_string();
        lock(&self.bound).push((endpoint.clone(), real.clone()));
        Ok(real)
    }

    /// Unbinds an endpoint, given as requested or with its real port, and disconnects its peers.
    ///
    /// `None` stands for an endpoint that is not bound. Of several entries, the first that matches
    /// is unbound.
    ///
    /// # Errors
    ///
    /// The error of the engine, such as `Closed`. The endpoint has left the list by then.
    async fn unbind(&self, endpoint: &Endpoint) -> Result<Option<String>> {
        let name = endpoint.to_string();
        let found = {
            let mut bound = lock(&self.bound);
            let at =
                bound.iter().position(|(requested, real)| *real == name || requested == endpoint);
            at.map(|at| bound.swap_remove(at).1)
        };
        let Some(real) = found else { return Ok(None) };
        self.socket.unbind(real.as_str()).await.map_err(engine_error)?;
        // Unbinding leaves the connections open that were accepted at this endpoint.
        for connection in self.socket.connections().await.map_err(engine_error)? {
            if connection.endpoint.to_string() == real {
                // An error means that the peer is gone already.
                let _ = self.socket.disconnect_peer(connection.connection_id).await;
            }
        }
        Ok(Some(real))
    }

    /// Connects to an endpoint, unless the socket does already. Returns before a peer is connected.
    ///
    /// `None` stands for an endpoint that the socket connects to already. The engine retries with
    /// pauses from 100 ms to 5 seconds. After a rejected handshake, [`redial`] goes on.
    ///
    /// # Errors
    ///
    /// The error of the engine. The endpoint is not listed then.
    async fn connect(&self, endpoint: &Endpoint) -> Result<Option<String>> {
        let name = endpoint.to_string();
        {
            let mut connected = lock(&self.connected);
            if connected.contains(endpoint) {
                return Ok(None);
            }
            connected.push(endpoint.clone());
            self.refusals.add(&name);
            lock(&self.events).get_or_insert_with(|| self.socket.monitor());
            self.redialing.get_or_init(|| {
                let (socket, events) = (self.socket.clone(), self.socket.monitor());
                let (connected, refusals) = (self.connected.clone(), self.refusals.clone());
                tokio::spawn(redial(socket, connected, refusals, events)).abort_handle()
            });
        }
        if let Err(error) = self.socket.connect(name.as_str()).await {
            // The next request for this endpoint has to try again.
            lock(&self.connected).retain(|other| other != endpoint);
            self.refusals.remove(&name);
            return Err(engine_error(error));
        }
        Ok(Some(name))
    }

    /// Stops connecting to an endpoint, and disconnects its peer.
    ///
    /// `None` stands for an endpoint that the socket does not connect to.
    ///
    /// # Errors
    ///
    /// The error of the engine. The endpoint has left the list by then.
    async fn disconnect(&self, endpoint: &Endpoint) -> Result<Option<String>> {
        {
            let mut connected = lock(&self.connected);
            let Some(at) = connected.iter().position(|other| other == endpoint) else {
                return Ok(None);
            };
            connected.swap_remove(at);
        }
        let name = endpoint.to_string();
        self.refusals.remove(&name);
        match self.socket.disconnect(name.as_str()).await {
            // The engine has dropped the endpoint already, after a rejected handshake.
            Ok(()) | Err(omq_tokio::Error::Unroutable) => Ok(Some(name)),
            Err(error) => Err(engine_error(error)),
        }
    }

    /// Waits until each endpoint that the socket connects to is ready or unreachable for now. Waits
    /// only once for the endpoints that were added before; a second call returns at once unless
    /// more were added.
    ///
    /// `ready` returns the endpoints that are ready, or `None` if the socket is closed. Each
    /// monitor event leads to another call of `ready`. If the future is dropped, later calls do not
    /// wait for these endpoints any more.
    pub(super) async fn ready(&self, ready: impl Fn() -> BoxFuture<'static, Option<Vec<String>>>) {
        let Some(mut events) = lock(&self.events).take() else { return };
        let mut unreachable = Vec::new();
        while let Some(mut done) = ready().await {
            done.extend_from_slice(&unreachable);
            if lock(&self.connected).iter().all(|endpoint| done.contains(&endpoint.to_string())) {
                return;
            }
            match next_of_connections(&mut events).await {
                Ok(
                    MonitorEvent::ConnectDelayed { endpoint, .. }
                    | MonitorEvent::ConnectStopped { endpoint, .. }
                    | MonitorEvent::HandshakeFailed { endpoint, .. }
                    | MonitorEvent::Disconnected { endpoint, .. },
                ) => unreachable.push(endpoint.to_string()),
                Err(MonitorRecvError::Closed) => return,
                _ => {}
            }
        }
    }

    /// Unbinds all endpoints. The peers that are connected stay.
    pub(super) async fn stop_listening(&self) {
        let bound = std::mem::take(&mut *lock(&self.bound));
        for (_, real) in bound {
            // An error means that the socket is closed.
            let _ = self.socket.unbind(real).await;
        }
    }

    /// Removes all endpoints and disconnects all peers, those in their handshake included. The
    /// socket stays open, so that received messages can be read. Messages on their way from the
    /// peers are lost.
    pub(super) async fn remove_all(&self) {
        // First, for the peers that finish their handshake while the endpoints are unbound.
        self.limiter.refuse_all();
        self.stop_listening().await;
        let connected = std::mem::take(&mut *lock(&self.connected));
        self.refusals.clear();
        // Each step fails only if the socket is closed.
        for endpoint in connected {
            let _ = self.socket.disconnect(endpoint.to_string()).await;
        }
        for connection in self.socket.connections().await.unwrap_or_default() {
            let _ = self.socket.disconnect_peer(connection.connection_id).await;
        }
    }
}

/// Returns the next event, without subscriptions that are no sync markers: a subscriber may send
/// thousands of them.
async fn next_of_connections(events: &mut MonitorStream) -> Result<MonitorEvent, MonitorRecvError> {
    loop {
        tokio::task::coop::consume_budget().await;
        match events.recv().await {
            Ok(MonitorEvent::SubscribeReceived { prefix, .. })
                if SyncMarker::read(&prefix).is_none() => {}
            other => return other,
        }
    }
}

impl Drop for SocketEndpoints {
    fn drop(&mut self) {
        self.limiter.stop();
        if let Some(redialing) = self.redialing.get() {
            redialing.abort();
        }
    }
}

#[async_trait]
impl SocketControl for SocketEndpoints {
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        Self::change(self, change).await
    }

    /// Returns the number of connections, now and after each change. Quick changes may be reported
    /// as one.
    fn peer_counts(&self) -> BoxStream<'static, usize> {
        let socket = self.socket.clone();
        let counts = stream::unfold((socket, None), |(socket, seen)| async move {
            // An error means that the socket is closed.
            let seen = match seen {
                Some(seen) => socket.connections_changed(seen).await.ok()?,
                None => socket.connections_generation(),
            };
            let count = socket.connections().await.ok()?.len();
            Some((count, (socket, Some(seen))))
        });
        counts.boxed()
    }

    fn refusals(&self) -> RefusingPeers {
        self.refusals.clone()
    }

    /// Returns a future that closes the socket. The engine lingers meanwhile.
    fn close(&self) -> BoxFuture<'static, ()> {
        let socket = self.socket.clone();
        // An error means that the socket is closed already.
        async move { socket.close().await.unwrap_or_default() }.boxed()
    }
}
