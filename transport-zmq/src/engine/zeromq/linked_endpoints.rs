//! The endpoints of a socket, and the tasks that accept its links.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::FutureExt;
use polywire_core::Result;
use polywire_core::transport::LogThrottle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::connect::keep_connected;
use super::link::Link;
use super::link_set::LinkSet;
#[cfg(unix)]
use super::socket_file_guard::SocketFileGuard;
use super::streams::StreamListener;
use crate::common_errors::closed;
use crate::config::Settings;
use crate::endpoint::{Endpoint, EndpointChange, RefusingPeers, Side};
use crate::engine::SocketControl;
use crate::engine::setup_errors::cannot_bind;
use crate::lock::lock;

/// The endpoints of a socket, and its links. Dropping the value ends them.
pub(crate) struct LinkedEndpoints {
    /// The links. Shared with the tasks that accept and connect, which end with the endpoints.
    pub(super) set: Arc<LinkSet>,
    /// The time for a connection below ZMTP. The handshake has a bound of its own.
    connect_timeout: Duration,
    /// The time that a close has for queued messages.
    linger: Duration,
    /// The endpoints that are bound. Neither this lock nor the next is held across an await.
    bound: Mutex<Vec<Bound>>,
    /// The endpoints that a task of their own connects to.
    connected: Mutex<Vec<Connected>>,
    /// Refusals at these endpoints.
    refusals: RefusingPeers,
}

/// A bound endpoint: as requested, and with its real port.
struct Bound {
    requested: Endpoint,
    real: String,
    /// The task of [`accept`], which owns the listener.
    accepting: JoinHandle<()>,
    #[cfg(unix)]
    _file: Option<SocketFileGuard>,
}

/// An endpoint that the socket connects to.
struct Connected {
    endpoint: Endpoint,
    /// The task of [`keep_connected`].
    connecting: JoinHandle<()>,
    /// Set when the first attempt has failed, or its link has ended.
    failed: watch::Receiver<bool>,
    /// Set when the endpoint was waited for.
    awaited: bool,
}

/// The pause after a failure to accept: 100 ms.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl LinkedEndpoints {
    /// Wraps the links of a new socket.
    pub(super) fn new(settings: &Settings, set: Arc<LinkSet>) -> Self {
        Self {
            set,
            connect_timeout: settings.connect_timeout,
            linger: settings.linger,
            bound: Mutex::default(),
            connected: Mutex::default(),
            refusals: RefusingPeers::default(),
        }
    }

    /// Returns whether an endpoint is bound.
    pub(super) fn listens(&self) -> bool {
        !lock(&self.bound).is_empty()
    }

    /// Makes an endpoint change. Returns the endpoint with its real port, or `None` if nothing had
    /// to change.
    pub(super) async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        if self.set.is_closed() {
            return Err(closed());
        }
        let EndpointChange { side, adds, endpoint } = change;
        match (side, adds) {
            (Side::Bind, true) => self.bind(endpoint).await.map(Some),
            (Side::Bind, false) => Ok(self.unbind(endpoint).await),
            (Side::Connect, true) => Ok(self.connect(endpoint)),
            (Side::Connect, false) => Ok(self.disconnect(endpoint).await),
        }
    }

    async fn bind(&self, endpoint: &Endpoint) -> Result<String> {
        let bound = StreamListener::bind(endpoint).await;
        let (listener, real) = bound.map_err(|error| cannot_bind(endpoint, &error))?;
        #[cfg(unix)]
        let file = match real.socket_file() {
            Some(path) => {
                Some(SocketFileGuard::of(path).map_err(|error| cannot_bind(endpoint, &error))?)
            }
            None => None,
        };
        let real = real.to_string();
        let mut all = lock(&self.bound);
        // A close that has begun meanwhile ends the endpoints that are listed by then.
        if self.set.is_closed() {
            return Err(closed());
        }
        let accepting = tokio::spawn(accept(listener, self.set.clone(), real.clone()));
        all.push(Bound {
            requested: endpoint.clone(),
            real: real.clone(),
            accepting,
            #[cfg(unix)]
            _file: file,
        });
        Ok(real)
    }

    /// Unbinds an endpoint, given as requested or with its real port, and ends its links.
    async fn unbind(&self, endpoint: &Endpoint) -> Option<String> {
        let name = endpoint.to_string();
        let bound = {
            let mut bound = lock(&self.bound);
            let at = bound.iter().position(|one| one.real == name || one.requested == *endpoint)?;
            bound.swap_remove(at)
        };
        let real = bound.real.clone();
        end_task(bound.accepting).await;
        self.cut_all(|link| link.endpoint == real).await;
        Some(real)
    }

    fn connect(&self, endpoint: &Endpoint) -> Option<String> {
        let mut connected = lock(&self.connected);
        if connected.iter().any(|one| one.endpoint == *endpoint) {
            return None;
        }
        let (failing, failed) = watch::channel(false);
        let (name, endpoint) = (endpoint.to_string(), endpoint.clone());
        self.refusals.add(&name);
        let connecting = tokio::spawn(keep_connected(
            self.set.clone(),
            endpoint.clone(),
            self.refusals.clone(),
            self.connect_timeout,
            failing,
        ));
        connected.push(Connected { endpoint, connecting, failed, awaited: false });
        Some(name)
    }

    /// Stops connecting to an endpoint, and ends its link.
    async fn disconnect(&self, endpoint: &Endpoint) -> Option<String> {
        let connected = {
            let mut connected = lock(&self.connected);
            let at = connected.iter().position(|one| one.endpoint == *endpoint)?;
            connected.swap_remove(at)
        };
        let name = endpoint.to_string();
        self.refusals.remove(&name);
        end_task(connected.connecting).await;
        self.cut_all(|link| link.endpoint == name).await;
        Some(name)
    }

    /// Ends links at once, those in their handshake included, and waits for their ends in turn.
    async fn cut_all(&self, is_meant: impl Fn(&Link) -> bool) {
        for link in self.set.all_links().iter().filter(|link| is_meant(link)) {
            link.cut("the endpoint was removed");
            link.wait_end().await;
        }
    }

    /// Waits until each endpoint that the socket connects to is ready or unreachable for now. Waits
    /// only once for each of them. If the future is dropped, later calls do not wait for these
    /// endpoints any more.
    pub(super) async fn ready(&self, is_ready: impl Fn(&str) -> bool) {
        let mut waiting = Vec::new();
        for one in lock(&self.connected).iter_mut().filter(|one| !one.awaited) {
            one.awaited = true;
            waiting.push((one.endpoint.to_string(), one.failed.clone()));
        }
        for (endpoint, mut failed) in waiting {
            let mut changes = self.set.changes();
            while !self.set.is_closed() && !is_ready(&endpoint) {
                tokio::select! {
                    _ = failed.wait_for(|failed| *failed) => break,
                    _ = changes.changed() => {}
                }
            }
        }
    }

    /// Unbinds all endpoints. The peers that are connected stay.
    pub(super) fn stop_listening(&self) -> impl Future<Output = ()> + Send + use<> {
        // Drops the socket files at once.
        let bound = std::mem::take(&mut *lock(&self.bound));
        let tasks: Vec<_> = bound.into_iter().map(|one| one.accepting).collect();
        async move {
            for task in tasks {
                end_task(task).await;
            }
        }
    }

    /// Stops connecting. The peers that are connected stay.
    fn stop_connecting(&self) -> impl Future<Output = ()> + Send + use<> {
        let connected = std::mem::take(&mut *lock(&self.connected));
        self.refusals.clear();
        async move {
            for one in connected {
                end_task(one.connecting).await;
            }
        }
    }

    /// Removes all endpoints, and reads no more from any peer. The links end when what has arrived
    /// is read, and those in their handshake at once.
    pub(super) fn stop(&self) {
        self.set.close();
        for task in [self.stop_listening().boxed(), self.stop_connecting().boxed()] {
            // Without a runtime, no task can receive more.
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(task);
            }
        }
        self.set.links().iter().for_each(|link| link.relay.stop());
    }

    /// Closes the socket. The future sends what is queued, for the linger time at most.
    pub(super) fn close(&self) -> BoxFuture<'static, ()> {
        self.set.close();
        let (listening, connecting) = (self.stop_listening(), self.stop_connecting());
        let finish = self.set.clone().finish(self.linger);
        async move {
            listening.await;
            connecting.await;
            finish.await;
        }
        .boxed()
    }
}

#[async_trait]
impl SocketControl for LinkedEndpoints {
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        Self::change(self, change).await
    }

    fn peer_counts(&self) -> BoxStream<'static, usize> {
        self.set.states(LinkSet::count)
    }

    fn refusals(&self) -> RefusingPeers {
        self.refusals.clone()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        Self::close(self)
    }
}

impl Drop for LinkedEndpoints {
    fn drop(&mut self) {
        self.set.close();
        lock(&self.bound).iter().for_each(|one| one.accepting.abort());
        lock(&self.connected).iter().for_each(|one| one.connecting.abort());
        // The links send what they have, and end.
        self.set.links().iter().for_each(|link| link.outbox.end());
    }
}

/// Ends a task, and waits until its sockets are closed.
async fn end_task(task: JoinHandle<()>) {
    task.abort();
    // The error says that the task was aborted.
    let _ = task.await;
}

/// Accepts peers.
async fn accept(listener: StreamListener, set: Arc<LinkSet>, endpoint: String) {
    let failures = LogThrottle::new();
    loop {
        match listener.accept().await {
            Ok(stream) => set.admit(stream, &endpoint),
            // Too many open files, as a rule.
            Err(error) => {
                if let Some(count) = failures.note() {
                    tracing::warn!(endpoint, %error, count, "cannot accept connections");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
