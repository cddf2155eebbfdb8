//! Endpoints of a socket.

use std::sync::{Arc, Mutex};

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use omq_tokio::{MonitorEvent, MonitorRecvError, MonitorStream, Socket};
use polywire_core::Result;

use super::error::engine_error;
use super::limiter::ConnectionLimiter;
use crate::endpoint::{Endpoint, EndpointChange, Side};
use crate::engine::error::cannot_bind;
use crate::error::lock;

/// A socket with the endpoints that it binds and connects to.
pub(super) struct SocketEndpoints {
    pub(super) socket: Socket,
    limiter: Arc<ConnectionLimiter>,
    /// BoundEndpoints endpoints: as requested, and with the real port.
    bound: Mutex<Vec<(Endpoint, String)>>,
    connected: Mutex<Vec<Endpoint>>,
    /// Monitor events since the first endpoint was added that [`ready`](Self::ready) has not
    /// waited for.
    events: Mutex<Option<MonitorStream>>,
}

impl SocketEndpoints {
    /// Wraps a new socket and its limiter.
    pub(super) fn new((socket, limiter): (Socket, Arc<ConnectionLimiter>)) -> Self {
        Self {
            socket,
            limiter,
            bound: Mutex::default(),
            connected: Mutex::default(),
            events: Mutex::default(),
        }
    }

    /// Makes an endpoint change. Returns the endpoint with its real port, or `None` if nothing had
    /// to change.
    pub(super) async fn change(
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

    async fn bind(&self, endpoint: &Endpoint) -> Result<String> {
        self.limiter.watch(&self.socket);
        let real = self.socket.bind(endpoint.to_string()).await;
        let real = real.map_err(|error| cannot_bind(endpoint, error))?.to_string();
        lock(&self.bound).push((endpoint.clone(), real.clone()));
        Ok(real)
    }

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

    async fn connect(&self, endpoint: &Endpoint) -> Result<Option<String>> {
        let name = endpoint.to_string();
        {
            let mut connected = lock(&self.connected);
            if connected.contains(endpoint) {
                return Ok(None);
            }
            connected.push(endpoint.clone());
            lock(&self.events).get_or_insert_with(|| self.socket.monitor());
        }
        if let Err(error) = self.socket.connect(name.as_str()).await {
            // The next request for this endpoint has to try again.
            lock(&self.connected).retain(|other| other != endpoint);
            return Err(engine_error(error));
        }
        Ok(Some(name))
    }

    async fn disconnect(&self, endpoint: &Endpoint) -> Result<Option<String>> {
        {
            let mut connected = lock(&self.connected);
            let Some(at) = connected.iter().position(|other| other == endpoint) else {
                return Ok(None);
            };
            connected.swap_remove(at);
        }
        let name = endpoint.to_string();
        self.socket.disconnect(name.as_str()).await.map_err(engine_error)?;
        Ok(Some(name))
    }

    /// Waits until each endpoint that the socket connects to is ready or unreachable for now.
    ///
    /// `ready` returns the endpoints that are ready, or `None` if the socket is closed. Each
    /// monitor event leads to another call of `ready`.
    pub(super) async fn ready(&self, ready: impl Fn() -> BoxFuture<'static, Option<Vec<String>>>) {
        let Some(mut events) = lock(&self.events).take() else { return };
        let mut unreachable = Vec::new();
        while let Some(mut done) = ready().await {
            done.extend_from_slice(&unreachable);
            if lock(&self.connected).iter().all(|endpoint| done.contains(&endpoint.to_string())) {
                return;
            }
            match events.recv().await {
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

    /// Removes all endpoints and disconnects all peers. The socket stays open, so that received
    /// messages can be read.
    pub(super) async fn remove_all(&self) {
        let bound = std::mem::take(&mut *lock(&self.bound));
        let connected = std::mem::take(&mut *lock(&self.connected));
        // Each step fails only if the socket is closed.
        for (_, real) in bound {
            let _ = self.socket.unbind(real).await;
        }
        for endpoint in connected {
            let _ = self.socket.disconnect(endpoint.to_string()).await;
        }
        for connection in self.socket.connections().await.unwrap_or_default() {
            let _ = self.socket.disconnect_peer(connection.connection_id).await;
        }
    }

    /// Closes the socket. The future resolves when it has lingered.
    pub(super) fn close(&self) -> BoxFuture<'static, ()> {
        let socket = self.socket.clone();
        // An error means that the socket is closed already.
        async move { socket.close().await.unwrap_or_default() }.boxed()
    }
}

impl Drop for SocketEndpoints {
    fn drop(&mut self) {
        self.limiter.stop();
    }
}
