//! The state that all clones of a transport share.

use std::fmt;
use std::sync::{Arc, Mutex};

use polywire_core::Result;
use tokio::sync::{OnceCell, RwLock, RwLockReadGuard};

use crate::common_errors::config;
use crate::config::Settings;
use crate::endpoint::{
    BoundEndpoints, Endpoint, EndpointChange, EndpointSet, EndpointSets, ManagedHandle,
    OpenHandles, Side,
};
use crate::lock::lock;
use crate::responder::ServerSocket;

/// The state that all clones of a transport share: its settings, its endpoints and its open
/// endpoint handles.
pub(crate) struct ZmqShared {
    /// The validated configuration.
    pub(crate) settings: Settings,
    /// The endpoints that the sockets have bound, with their real ports.
    pub(crate) bound: BoundEndpoints,
    /// The endpoint handles that are open.
    pub(crate) open: OpenHandles,
    /// The endpoints that the next handle is opened with. Written only while `changes` is
    /// write-locked.
    endpoints: Mutex<EndpointSets>,
    /// Read-locked while a handle is opened, write-locked while endpoints change: no handle misses
    /// a change.
    changes: RwLock<()>,
    /// The socket of all servers, opened with the first server.
    server: OnceCell<Arc<ServerSocket>>,
}

impl ZmqShared {
    /// Creates the state of a transport that has opened nothing yet.
    pub(crate) fn new(settings: Settings, endpoints: EndpointSets) -> Self {
        Self {
            settings,
            bound: BoundEndpoints::default(),
            open: OpenHandles::default(),
            endpoints: Mutex::new(endpoints),
            changes: RwLock::new(()),
            server: OnceCell::new(),
        }
    }

    /// Returns the endpoints of servers, pullers and publishers.
    pub(crate) fn serving(&self) -> EndpointSet {
        lock(&self.endpoints).serving.clone()
    }

    /// Returns the endpoints of clients, pushers and subscribers.
    pub(crate) fn calling(&self) -> EndpointSet {
        lock(&self.endpoints).calling.clone()
    }

    /// Waits until no change of endpoints is under way, and holds off the next one until the guard
    /// is dropped.
    ///
    /// # Errors
    ///
    /// `Closed` if the transport is closed.
    pub(crate) async fn opening(&self) -> Result<RwLockReadGuard<'_, ()>> {
        let opening = self.changes.read().await;
        self.open.check_open()?;
        Ok(opening)
    }

    /// Returns the socket of all servers, and opens it first if needed. To be called while
    /// [`opening`](Self::opening) is held.
    ///
    /// Concurrent callers wait for the one that opens the socket. If that one fails or is dropped,
    /// the next caller tries again.
    ///
    /// # Errors
    ///
    /// Those of [`ServerSocket::open`], and `Closed` if the transport is closed meanwhile.
    pub(crate) async fn server(&self) -> Result<&Arc<ServerSocket>> {
        let open = || async {
            let server = ServerSocket::open(&self.settings, &self.serving(), &self.bound).await?;
            self.open.remember(&(server.clone() as Arc<dyn ManagedHandle>)).await?;
            Ok(server)
        };
        self.server.get_or_try_init(open).await
    }

    /// Adds an endpoint to every open handle and to those that are opened later, or removes it.
    /// Returns the real endpoints of the handles that changed.
    ///
    /// The open handles change one after the other. If one fails, additions to the handles before
    /// it are undone, and handles that are opened later do not get the endpoint.
    ///
    /// # Errors
    ///
    /// `Config` for a malformed endpoint, for one that cannot be bound, and for a removed endpoint
    /// that no handle has; `Closed` if the transport is closed.
    pub(crate) async fn change(
        &self,
        side: Side,
        adds: bool,
        endpoint: &str,
    ) -> Result<Vec<String>> {
        let endpoint = Endpoint::parse(endpoint)?;
        let endpoint =
            if (side, adds) == (Side::Connect, true) { endpoint.dialed()? } else { endpoint };
        let _changing = self.changes.write().await;
        self.open.check_open()?;
        let change = EndpointChange { side, adds, endpoint };
        let changed = self.open.change(&change).await?;
        let later_changed = lock(&self.endpoints).apply(&change);
        if !adds && changed.is_empty() && !later_changed {
            let error = config("cannot remove the endpoint: no endpoint handle has it");
            return Err(error.with("endpoint", change.endpoint));
        }
        Ok(changed)
    }
}

impl fmt::Debug for ZmqShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ZmqShared")
            .field("settings", &self.settings)
            .field("bound", &self.bound)
            .finish_non_exhaustive()
    }
}
