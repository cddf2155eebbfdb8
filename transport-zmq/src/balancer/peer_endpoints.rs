//! Endpoint changes of a balancer: each endpoint becomes a peer connection, or a socket that peers
//! connect to.

use std::sync::{Arc, OnceLock};

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use futures_util::future::join_all;
use polywire_core::Result;
use tokio::sync::Semaphore;

use super::inbound_peers::InboundPeers;
use super::peer::PeerKind;
use super::peer_reconnect::supervise;
use super::peer_set::PeerSet;
use super::shared_state::SharedState;
use crate::common_errors::closed;
use crate::config::Settings;
use crate::endpoint::{BindGuard, BoundEndpoints, EndpointChange, EndpointSet, Side};
use crate::engine::{self, Dealer, Traffic};

/// The endpoints of a balancer, with the sockets behind them.
///
/// - An endpoint to connect to has a socket and a peer connection of its own.
///
/// - All bound endpoints of a pusher share a PUSH socket, which is one peer connection for all its
///   pullers: jobs need no distinction between them.
///
/// - All bound endpoints of a requester share a ROUTER socket, with a peer connection for each
///   server, see [`InboundPeers`].
pub(super) struct PeerEndpoints {
    /// The settings of the transport, for each new socket.
    settings: Settings,
    /// The kind of messages, which decides on the socket types.
    traffic: Traffic,
    /// The connections that the changes add and remove.
    peers: Arc<PeerSet>,
    /// Servers that connect. Absent until a requester binds its first endpoint, and always for a
    /// pusher.
    inbound: Arc<OnceLock<InboundPeers>>,
    /// The bound endpoints, as the transport reports them.
    bound: BindGuard,
    /// One permit: endpoint changes happen one after the other. Closed with the balancer.
    changes: Semaphore,
    /// The state of the balancer, read to detect a close during a change.
    state: Arc<SharedState>,
}

/// The sockets of a balancer that takes no more changes.
pub(super) struct OpenSockets {
    /// The peer connections. Those of inbound peers are routes of the other socket.
    peers: Arc<PeerSet>,
    /// The socket of inbound peers, if there is one.
    inbound: Arc<OnceLock<InboundPeers>>,
}

impl OpenSockets {
    /// Closes all sockets. The future resolves when they have lingered, all at the same time.
    /// Dropping the future may drop messages that are still queued.
    pub(super) fn close(&self) -> BoxFuture<'static, ()> {
        let inbound = self.inbound.get().map(InboundPeers::close);
        let closing = self.peers.all().iter().map(|peer| peer.close()).chain(inbound).collect();
        join_all::<Vec<_>>(closing).map(drop).boxed()
    }
}

impl PeerEndpoints {
    /// Creates the endpoints of a balancer, without any. `bound` is where bound endpoints are
    /// reported.
    pub(super) fn new(
        settings: &Settings,
        traffic: Traffic,
        peers: Arc<PeerSet>,
        bound: &BoundEndpoints,
        state: Arc<SharedState>,
    ) -> Self {
        Self {
            settings: settings.clone(),
            traffic,
            peers,
            inbound: Arc::default(),
            bound: BindGuard::new(bound),
            changes: Semaphore::new(1),
            state,
        }
    }

    /// Adds all endpoints of a set, in their order. Stops at the first error, and leaves those
    /// before it open; the caller drops the balancer then.
    pub(super) async fn add_all(&self, endpoints: &EndpointSet) -> Result<()> {
        for change in endpoints.changes() {
            self.change(&change).await?;
        }
        Ok(())
    }

    /// Makes one endpoint change. Returns the endpoint with its real port, or `None` if nothing had
    /// to change.
    ///
    /// Changes happen one after the other. If the future is dropped, the change may or may not have
    /// been made.
    ///
    /// # Errors
    ///
    /// `Closed` if the balancer is closed, and `Config` for an endpoint that cannot be bound.
    pub(super) async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        let _permit = self.changes.acquire().await.map_err(|_| closed())?;
        match (change.side, change.adds, &self.traffic) {
            (Side::Bind, true, Traffic::Requests) => self.bind_inbound(change).await,
            (Side::Bind, true, _) => self.bind(change).await,
            (Side::Bind, false, _) => self.unbind(change).await,
            (Side::Connect, true, _) => self.connect(change).await,
            (Side::Connect, false, _) => Ok(self.disconnect(change).await),
        }
    }

    /// The kind of messages that the balancer sends.
    pub(super) fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Servers that connect, if a requester has bound an endpoint.
    pub(super) fn inbound(&self) -> Option<&InboundPeers> {
        self.inbound.get()
    }

    /// Returns the endpoints and remote addresses of all peers as one text, for errors.
    pub(super) fn names(&self) -> String {
        let peers = self.peers.all();
        let inbound = self.inbound.get().map(InboundPeers::name);
        let names: Vec<&str> = peers.iter().map(|peer| &**peer.name()).chain(inbound).collect();
        names.join(", ")
    }

    /// Refuses later changes. Returns the sockets, to be closed.
    pub(super) fn close_later(&self) -> OpenSockets {
        self.changes.close();
        self.bound.clear();
        OpenSockets { peers: self.peers.clone(), inbound: self.inbound.clone() }
    }

    /// Stops all tasks, which hold the sockets. Queued messages are dropped unless the engine still
    /// sends them.
    pub(super) fn stop(&self) {
        for peer in self.peers.all().iter() {
            peer.stop();
        }
        if let Some(inbound) = self.inbound.get() {
            inbound.stop();
        }
    }

    /// Binds an endpoint that pullers connect to.
    ///
    /// The first endpoint opens the PUSH socket. Its connection joins the peer set once the
    /// endpoint is bound.
    async fn bind(&self, change: &EndpointChange) -> Result<Option<String>> {
        if let Some(peer) = self.peers.find(PeerKind::Listening) {
            let real = engine::change_endpoint(peer.socket(), change).await?;
            self.bound.note(change, real.as_ref());
            self.check_open(|| peer.close()).await?;
            return Ok(real);
        }
        let dealer = engine::bind_dealer(&self.settings, &self.traffic)?;
        let real = engine::change_endpoint(&*dealer, change).await?;
        self.bound.note(change, real.as_ref());
        self.add(change.endpoint.to_string(), PeerKind::Listening, dealer).await?;
        Ok(real)
    }

    /// Binds an endpoint that servers connect to.
    ///
    /// The first endpoint opens the ROUTER socket, which stays open even if the bind fails.
    async fn bind_inbound(&self, change: &EndpointChange) -> Result<Option<String>> {
        let inbound = match self.inbound.get() {
            Some(inbound) => inbound,
            None => {
                let router = engine::bind_client_router(&self.settings)?;
                let name = change.endpoint.to_string();
                self.inbound.get_or_init(|| InboundPeers::new(router, name))
            }
        };
        let real = engine::change_endpoint(inbound.socket(), change).await?;
        self.bound.note(change, real.as_ref());
        inbound.start(&self.peers);
        // The reply stream has one more socket to read.
        self.peers.replace(|_, _| {});
        self.check_open(|| inbound.close()).await?;
        Ok(real)
    }

    /// Unbinds an endpoint, which disconnects its peers. Their calls fail when the engine reports
    /// that. Returns `None` if the endpoint is not bound. The socket stays open.
    async fn unbind(&self, change: &EndpointChange) -> Result<Option<String>> {
        let listening = self.peers.find(PeerKind::Listening);
        let inbound = self.inbound.get().map(InboundPeers::socket);
        let socket = inbound.or(listening.as_ref().map(|peer| peer.socket()));
        let Some(socket) = socket else { return Ok(None) };
        let real = engine::change_endpoint(socket, change).await?;
        self.bound.note(change, real.as_ref());
        Ok(real)
    }

    /// Connects to an endpoint. Returns at once; the supervisor of the connection goes on. Returns
    /// `None` if there is a connection to the endpoint already.
    ///
    /// # Errors
    ///
    /// `Config` for port 0, and the errors of the engine that opens the socket.
    async fn connect(
        &self,
        EndpointChange { endpoint, .. }: &EndpointChange,
    ) -> Result<Option<String>> {
        let endpoint = endpoint.clone().dialed()?;
        let name = endpoint.to_string();
        if self.peers.connecting_to(&name).is_some() {
            return Ok(None);
        }
        let dealer = engine::connect_dealer(&self.settings, &self.traffic, &endpoint)?;
        self.add(name.clone(), PeerKind::Connecting, dealer).await?;
        Ok(Some(name))
    }

    /// Removes a peer. Its calls fail, and its queued jobs are sent for up to the linger time.
    /// Returns after the linger, or at once with `None` if there is no such connection.
    async fn disconnect(&self, EndpointChange { endpoint, .. }: &EndpointChange) -> Option<String> {
        let peer = self.peers.connecting_to(&endpoint.to_string())?;
        // Its calls fail before it leaves the set: one that is abandoned meanwhile would not be
        // found, and sent again.
        let lingering = peer.disconnect();
        self.peers.replace(|peers, _| peers.retain(|other| !Arc::ptr_eq(other, &peer)));
        lingering.await;
        Some((**peer.name()).to_owned())
    }

    /// Adds a connection to the set, and starts its supervisor.
    async fn add(&self, name: String, kind: PeerKind, dealer: Arc<dyn Dealer>) -> Result<()> {
        let peer = self.peers.add(name, kind, dealer);
        supervise(&peer);
        self.check_open(|| peer.close()).await
    }

    /// Closes a socket that was opened while the balancer was closed.
    ///
    /// Called after the socket was added: a close before that has not seen the socket, and a
    /// close after that does.
    async fn check_open(&self, close: impl FnOnce() -> BoxFuture<'static, ()>) -> Result<()> {
        if !self.state.is_closed() {
            return Ok(());
        }
        self.bound.clear();
        close().await;
        Err(closed())
    }
}
