//! DEALER and PUSH.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use omq_tokio::{MonitorEvent, MonitorStream, Options, SocketType, TrySendError};
use polywire_core::Result;
use polywire_core::transport::LogThrottle;
use tokio::sync::watch;

use super::pull::is_of_queue;
use super::{
    HIGH_WATER_MARK, Port, RETRY_MAX, denied, failed, frames_of, given_back, message_of, open,
    options, received,
};
use crate::config::Settings;
use crate::endpoint::{Endpoint, EndpointChange};
use crate::engine::{Cargo, Ports};
use crate::error::lock;
use crate::wire::Frames;

pub(in crate::engine) struct Dealer {
    port: Port,
    cargo: Cargo,
    frames_max: usize,
    /// Whom to dial; the others dial us.
    dialled: Option<String>,
    /// The connection that was there at the end of `up`.
    connection: Mutex<Option<u64>>,
    /// Why it was lost.
    reason: Mutex<Option<String>>,
    /// The peer said in the last handshake that we may not come in.
    denied: AtomicBool,
    /// Whether the first attempt to dial has ended, one way or the other.
    tried: watch::Sender<bool>,
    refusals: LogThrottle,
    strangers: LogThrottle,
}

/// Messages of whatever size that may wait for a peer.
const LARGE_MIN: u32 = 16;

impl Dealer {
    pub(in crate::engine) fn dial(
        settings: &Settings,
        cargo: &Cargo,
        endpoint: &Endpoint,
    ) -> Result<Self> {
        let dealer = Self::open(settings, cargo, options(settings))?;
        Ok(Self { dialled: Some(endpoint.to_string()), ..dealer })
    }

    pub(in crate::engine) fn listen(settings: &Settings, cargo: &Cargo) -> Result<Self> {
        // Whose are the bytes that wait in it, it does not say.
        let largest = settings.peer_bytes_max / settings.limits.body_max.max(1);
        let most = u32::try_from(largest).unwrap_or(u32::MAX).clamp(LARGE_MIN, HIGH_WATER_MARK);
        Self::open(settings, cargo, options(settings).send_hwm(most))
    }

    fn open(settings: &Settings, cargo: &Cargo, options: Options) -> Result<Self> {
        let kind = match cargo {
            Cargo::Requests => SocketType::Dealer,
            Cargo::Jobs(_) | Cargo::AnyJobs => SocketType::Push,
        };
        let port = Port::new(open(settings, kind, options)?);
        let frames_max = settings.limits.frames_max;
        Ok(Self {
            port,
            cargo: cargo.clone(),
            frames_max,
            dialled: None,
            connection: Mutex::default(),
            reason: Mutex::default(),
            refusals: LogThrottle::new(),
            strangers: LogThrottle::new(),
            denied: AtomicBool::new(false),
            tried: watch::Sender::new(false),
        })
    }

    /// Waits until the set of connections is as it should be.
    async fn connections(
        &self,
        is_so: impl Fn(&[u64]) -> bool + Send,
    ) -> Result<Vec<u64>, omq_tokio::Error> {
        let socket = &self.port.socket;
        let mut seen = socket.connections_generation();
        loop {
            let connections = socket.connections().await?;
            let (ours, others): (Vec<_>, Vec<_>) = connections
                .iter()
                .map(|connection| (connection.connection_id, self.is_ours(&connection.identity)))
                .partition(|(_, is_ours)| *is_ours);
            for (stranger, _) in others.iter().filter(|_| self.dialled.is_none()) {
                // Jobs would go to it in turn, and it can do nothing with them.
                if let Some(count) = self.strangers.note() {
                    tracing::warn!(cargo = ?self.cargo, count, "hung up on pullers of another queue");
                }
                let _ = socket.disconnect_peer(*stranger).await;
            }
            let ids: Vec<_> = ours.into_iter().map(|(id, _)| id).collect();
            if is_so(&ids) {
                return Ok(ids);
            }
            seen = socket.connections_changed(seen).await?;
        }
    }

    /// Dials until somebody takes us in. The engine gives up on a peer that denies us; but it may
    /// be told to allow us.
    async fn dial_on(&self, endpoint: &str) -> Result<Vec<u64>, omq_tokio::Error> {
        let socket = &self.port.socket;
        let mut events = socket.monitor();
        loop {
            socket.connect(endpoint).await?;
            tokio::select! {
                connections = self.connections(|connections| !connections.is_empty()) => return connections,
                () = denied(&mut events, || _ = self.tried.send_replace(true)) => {}
            }
            self.denied.store(true, Ordering::Relaxed);
            self.tried.send_replace(true);
            if let Some(count) = self.refusals.note() {
                tracing::warn!(
                    endpoint,
                    count,
                    "the peer does not let us in: wrong credentials, or not allowed"
                );
            }
            socket.disconnect(endpoint).await?;
            tokio::time::sleep(RETRY_MAX).await;
        }
    }

    fn is_ours(&self, identity: &[u8]) -> bool {
        match &self.cargo {
            Cargo::Jobs(queue) => is_of_queue(identity, queue),
            Cargo::Requests | Cargo::AnyJobs => true,
        }
    }
}

/// Why a connection came to its end, of which there may have been several in a row.
fn reason_of(events: &mut MonitorStream) -> Option<String> {
    let mut last = None;
    while let Ok(event) = events.try_recv() {
        if let MonitorEvent::Disconnected { reason, .. } = event {
            last = Some(format!("{reason:?}"));
        }
    }
    last
}

impl Ports for Dealer {
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        self.port.change(change).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.port.close()
    }
}

impl crate::engine::Dealer for Dealer {
    fn try_send(&self, frames: Frames) -> Result<(), Frames> {
        match self.port.socket.try_send(message_of(frames)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(message)) => Err(given_back(message)),
            // Closed. The end knows, or will in a moment.
            Err(_) => Ok(()),
        }
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        self.port.socket.wait_send_ready().boxed()
    }

    fn tried(&self) -> BoxFuture<'_, ()> {
        let mut tried = self.tried.subscribe();
        // The sender lives as long as the borrow.
        async move { drop(tried.wait_for(|tried| *tried).await) }.boxed()
    }

    fn up(&self) -> BoxFuture<'_, Result<()>> {
        let up = async {
            let connections = match &self.dialled {
                Some(endpoint) => self.dial_on(endpoint).await?,
                None => self.connections(|connections| !connections.is_empty()).await?,
            };
            self.denied.store(false, Ordering::Relaxed);
            *lock(&self.connection) = connections.first().copied();
            Ok(())
        };
        up.map(|up: Result<_, omq_tokio::Error>| up.map_err(failed)).boxed()
    }

    fn is_denied(&self) -> bool {
        self.denied.load(Ordering::Relaxed)
    }

    fn down(&self) -> BoxFuture<'_, ()> {
        let connection = *lock(&self.connection);
        let mut events = self.port.socket.monitor();
        let down = async move {
            let Some(endpoint) = &self.dialled else {
                // An error says that the socket is closed: `up` will say so, too.
                let _ = self.connections(<[u64]>::is_empty).await;
                return;
            };
            // A connection that was lost and made again in one moment is another one.
            let _ =
                self.connections(|connections| connections.first() != connection.as_ref()).await;
            *lock(&self.reason) = reason_of(&mut events);
            if !matches!(self.cargo, Cargo::Requests) {
                // Jobs that are queued for the lost peer are better off with its successor than
                // lost with it.
                return;
            }
            // What is queued for the lost peer must not reach its successor: its callers are told
            // that it is lost.
            let _ = self.port.socket.disconnect(endpoint.as_str()).await;
        };
        down.boxed()
    }

    fn reason(&self) -> Option<String> {
        lock(&self.reason).take()
    }

    fn replies(&self) -> BoxStream<'static, Frames> {
        match self.cargo {
            Cargo::Requests => {
                let frames_max = self.frames_max;
                received(self.port.socket.clone())
                    .map(move |message| frames_of(message, frames_max))
                    .boxed()
            }
            Cargo::Jobs(_) | Cargo::AnyJobs => stream::empty().boxed(),
        }
    }
}
