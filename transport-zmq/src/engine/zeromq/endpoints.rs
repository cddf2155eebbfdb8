//! The endpoints of a socket, and the tasks that accept and connect its links.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::FutureExt;
use polywire_core::Result;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::link::Link;
use super::link_set::LinkSet;
#[cfg(unix)]
use super::socket_file_guard::SocketFileGuard;
use super::streams::{Listener, PeerStream};
use crate::config::Settings;
use crate::endpoint::{Endpoint, EndpointChange, Side};
use crate::engine::SocketControl;
use crate::engine::endpoint_failure::connect_cause;
use crate::engine::error::cannot_bind;
use crate::error::{closed, lock};

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

/// The shortest pause between two attempts to connect: 100 ms. It doubles with each failure.
const RECONNECT_MIN: Duration = Duration::from_millis(100);
/// The longest pause between two attempts to connect: 5 seconds.
const RECONNECT_MAX: Duration = Duration::from_secs(5);

impl LinkedEndpoints {
    /// Wraps the links of a new socket.
    pub(super) fn new(settings: &Settings, set: Arc<LinkSet>) -> Self {
        Self {
            set,
            connect_timeout: settings.connect_timeout,
            linger: settings.linger,
            bound: Mutex::default(),
            connected: Mutex::default(),
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
        let bound = Listener::bind(endpoint).await;
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
        let (set, patience) = (self.set.clone(), self.connect_timeout);
        let connecting = tokio::spawn(keep_connected(set, endpoint.clone(), patience, failing));
        let endpoint = endpoint.clone();
        let name = endpoint.to_string();
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
async fn accept(listener: Listener, set: Arc<LinkSet>, endpoint: String) {
    loop {
        match listener.accept().await {
            Ok(stream) => set.admit(stream, &endpoint),
            // Too many open files, as a rule.
            Err(error) => {
                tracing::warn!(endpoint, %error, "cannot accept a connection");
                sleep(RECONNECT_MIN).await;
            }
        }
    }
}

/// Connects to an endpoint, again after each failure and each lost connection, until the set is
/// closed.
async fn keep_connected(
    set: Arc<LinkSet>,
    endpoint: Endpoint,
    patience: Duration,
    failing: watch::Sender<bool>,
) {
    let mut pause = RECONNECT_MIN;
    while !set.is_closed() {
        match connect(&set, &endpoint, patience).await {
            Ok(link) => {
                link.wait_end().await;
                pause = RECONNECT_MIN;
            }
            Err(reason) => {
                tracing::debug!(%endpoint, reason, "cannot connect");
                failing.send_replace(true);
                sleep(pause).await;
                pause = (pause * 2).min(RECONNECT_MAX);
                continue;
            }
        }
        failing.send_replace(true);
        sleep(RECONNECT_MIN).await;
    }
}

/// Connects to an endpoint once, and returns the open link.
///
/// # Errors
///
/// The cause, for people.
pub(super) async fn connect(
    set: &Arc<LinkSet>,
    endpoint: &Endpoint,
    patience: Duration,
) -> Result<Arc<Link>, String> {
    let connecting = timeout(patience, PeerStream::connect(endpoint)).await;
    let stream = connecting
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map_err(|error| connect_cause(endpoint, &error))?;
    let link = set.start(stream, &endpoint.to_string()).map_err(|error| error.to_string())?;
    let mut guard = LinkGuard(Some(link.clone()));
    link.wait_open().await.map_err(|reason| format!("the handshake failed: {reason}"))?;
    guard.0 = None;
    Ok(link)
}

/// The guard of a handshake. Cuts the link if the attempt to connect is given up.
struct LinkGuard(Option<Arc<Link>>);

impl Drop for LinkGuard {
    fn drop(&mut self) {
        if let Some(link) = &self.0 {
            link.cut("the attempt to connect was given up");
        }
    }
}
