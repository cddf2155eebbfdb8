//! The endpoints of a socket, and what is known about those at their other ends.

use std::sync::{Arc, Mutex};

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use omq_tokio::{MonitorEvent, MonitorRecvError, MonitorStream, Socket};
use polywire_core::Result;

use super::{Door, cannot_bind, failed};
use crate::endpoint::{Endpoint, EndpointChange, Side};
use crate::error::lock;

/// A socket that binds and dials.
pub(super) struct Port {
    pub(super) socket: Socket,
    door: Arc<Door>,
    /// What was asked for, and what it came to.
    bound: Mutex<Vec<(Endpoint, String)>>,
    dialled: Mutex<Vec<Endpoint>>,
    /// What happened since the first endpoint was dialled that is not yet known to be settled.
    events: Mutex<Option<MonitorStream>>,
}

impl Port {
    /// A new socket, with its door.
    pub(super) fn new((socket, door): (Socket, Arc<Door>)) -> Self {
        Self {
            socket,
            door,
            bound: Mutex::default(),
            dialled: Mutex::default(),
            events: Mutex::default(),
        }
    }

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
        self.door.attend(&self.socket);
        let real = self.socket.bind(endpoint.to_string()).await;
        let real = real.map_err(|error| cannot_bind(endpoint, error))?.to_string();
        lock(&self.bound).push((endpoint.clone(), real.clone()));
        Ok(real)
    }

    async fn unbind(&self, endpoint: &Endpoint) -> Result<Option<String>> {
        let name = endpoint.to_string();
        let found = {
            let mut bound = lock(&self.bound);
            let at = bound.iter().position(|(asked, real)| *real == name || asked == endpoint);
            at.map(|at| bound.swap_remove(at).1)
        };
        let Some(real) = found else { return Ok(None) };
        self.socket.unbind(real.as_str()).await.map_err(failed)?;
        // Those who came by it are still there, and would be for as long as they like.
        for connection in self.socket.connections().await.map_err(failed)? {
            if connection.endpoint.to_string() == real {
                // It may be gone by now.
                let _ = self.socket.disconnect_peer(connection.connection_id).await;
            }
        }
        Ok(Some(real))
    }

    async fn connect(&self, endpoint: &Endpoint) -> Result<Option<String>> {
        let name = endpoint.to_string();
        {
            let mut dialled = lock(&self.dialled);
            if dialled.contains(endpoint) {
                return Ok(None);
            }
            dialled.push(endpoint.clone());
            lock(&self.events).get_or_insert_with(|| self.socket.monitor());
        }
        if let Err(error) = self.socket.connect(name.as_str()).await {
            // Whoever asks for it again is to have it tried again.
            lock(&self.dialled).retain(|other| other != endpoint);
            return Err(failed(error));
        }
        Ok(Some(name))
    }

    async fn disconnect(&self, endpoint: &Endpoint) -> Result<Option<String>> {
        {
            let mut dialled = lock(&self.dialled);
            let Some(at) = dialled.iter().position(|other| other == endpoint) else {
                return Ok(None);
            };
            dialled.swap_remove(at);
        }
        let name = endpoint.to_string();
        self.socket.disconnect(name.as_str()).await.map_err(failed)?;
        Ok(Some(name))
    }

    /// Waits until all dialled endpoints are among those that are ready, or turned out to be of no
    /// use for now. `ready` is asked again whenever something happened.
    pub(super) async fn settled(
        &self,
        ready: impl Fn() -> BoxFuture<'static, Option<Vec<String>>>,
    ) {
        let Some(mut events) = lock(&self.events).take() else { return };
        let mut absent = Vec::new();
        while let Some(mut settled) = ready().await {
            settled.extend_from_slice(&absent);
            if lock(&self.dialled).iter().all(|endpoint| settled.contains(&endpoint.to_string())) {
                return;
            }
            match events.recv().await {
                Ok(
                    MonitorEvent::ConnectDelayed { endpoint, .. }
                    | MonitorEvent::ConnectStopped { endpoint, .. }
                    | MonitorEvent::HandshakeFailed { endpoint, .. }
                    | MonitorEvent::Disconnected { endpoint, .. },
                ) => absent.push(endpoint.to_string()),
                Err(MonitorRecvError::Closed) => return,
                _ => {}
            }
        }
    }

    /// Ends all that the socket has to do with others.
    pub(super) async fn retire(&self) {
        let bound = std::mem::take(&mut *lock(&self.bound));
        let dialled = std::mem::take(&mut *lock(&self.dialled));
        for (_, real) in bound {
            // It fails only if the socket is closed, and then it is done.
            let _ = self.socket.unbind(real).await;
        }
        for endpoint in dialled {
            let _ = self.socket.disconnect(endpoint.to_string()).await;
        }
        for connection in self.socket.connections().await.unwrap_or_default() {
            let _ = self.socket.disconnect_peer(connection.connection_id).await;
        }
    }

    pub(super) fn close(&self) -> BoxFuture<'static, ()> {
        let socket = self.socket.clone();
        // It fails only if it is closed already.
        async move { socket.close().await.unwrap_or_default() }.boxed()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.door.leave();
    }
}
