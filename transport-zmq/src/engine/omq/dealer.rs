//! DEALER and PUSH: requests or jobs to one peer, or jobs to all pullers that connect.

mod connecting;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use omq_tokio::{MonitorStream, Options, SocketType, TrySendError};
use polywire_core::Result;
use polywire_core::transport::LogThrottle;
use tokio::sync::watch;

use super::engine_error::{disconnect_reason, engine_error};
use super::frame_conversion::{frames_of, message_of, unsent_frames};
use super::options::{HIGH_WATER_MARK, open, sending};
use super::pull::is_of_queue;
use super::receive::received;
use super::socket_endpoints::SocketEndpoints;
use crate::config::Settings;
use crate::endpoint::Endpoint;
use crate::engine::{Dealer, HasEndpoints, Traffic};
use crate::lock::lock;
use crate::wire::Frames;

/// A DEALER socket for requests, or a PUSH socket for jobs.
///
/// One that connects has one peer, and notices each change of the connection by its number: a
/// connection that is lost and made again at once still fails the calls of the first one. A PUSH
/// socket that pullers connect to is up while any puller of its queue is connected.
pub(in crate::engine) struct OmqDealer {
    /// The socket. Only a socket that pullers connect to has endpoints listed here.
    endpoints: SocketEndpoints,
    /// The kind of messages: requests for DEALER, jobs for PUSH.
    traffic: Traffic,
    /// Frames that the body of a received message may have.
    frames_max: usize,
    /// The endpoint that the socket connects to. `None` if pullers connect to the socket.
    remote: Option<Endpoint>,
    /// The number of the connection that was open when `up` returned, so that `down` recognizes
    /// its successor.
    connection: Mutex<Option<u64>>,
    /// The reason of the last disconnect, until it is taken for the log.
    reason: Mutex<Option<String>>,
    /// The failure of the latest attempt to connect.
    failure: Mutex<Option<String>>,
    /// Set while the peer rejects our credentials.
    denied: AtomicBool,
    /// Set after an attempt to connect has failed, and never if peers connect to the socket.
    tried: watch::Sender<bool>,
    /// Set while the engine connects to the endpoint, which includes each reconnect after a loss.
    /// A PUSH socket that connects once more has two connections to its peer.
    dials: AtomicBool,
    /// Monitor events that `up` has not read. They stay from one `up` to the next while the engine
    /// connects: the peer may reject a reconnect in between, which ends the attempts of the engine.
    events: tokio::sync::Mutex<Option<MonitorStream>>,
    /// Throttle for log lines of pullers that ask for another queue.
    wrong_queue: LogThrottle,
}

/// Messages of any size that may be queued for a puller that connects: 16.
const QUEUED_MIN: u32 = 16;

impl OmqDealer {
    /// Opens a socket for one endpoint. `up` connects it.
    pub(in crate::engine) fn connect(
        settings: &Settings,
        traffic: &Traffic,
        endpoint: &Endpoint,
    ) -> Result<Self> {
        let options = sending(settings, traffic).identity(settings.identity.clone());
        let dealer = Self::open(settings, traffic, options)?;
        dealer.endpoints.refusals.add(&endpoint.to_string());
        Ok(Self { remote: Some(endpoint.clone()), ..dealer })
    }

    /// Opens a socket that peers connect to. It has no endpoint yet.
    pub(in crate::engine) fn bind(settings: &Settings, traffic: &Traffic) -> Result<Self> {
        // The socket does not report which peer the queued bytes are for, so the byte bound
        // becomes a number of the largest messages: at least 16, at most 1,000.
        let largest = settings.peer_bytes_max / settings.limits.body_max.max(1);
        let queued = u32::try_from(largest).unwrap_or(u32::MAX).clamp(QUEUED_MIN, HIGH_WATER_MARK);
        Self::open(settings, traffic, sending(settings, traffic).send_hwm(queued))
    }

    /// Opens a socket without endpoints.
    fn open(settings: &Settings, traffic: &Traffic, options: Options) -> Result<Self> {
        let kind = match traffic {
            Traffic::Requests => SocketType::Dealer,
            Traffic::Jobs(_) | Traffic::AnyJobs => SocketType::Push,
        };
        Ok(Self {
            endpoints: SocketEndpoints::new(open(settings, kind, options)?),
            traffic: traffic.clone(),
            frames_max: settings.limits.frames_max,
            remote: None,
            connection: Mutex::default(),
            reason: Mutex::default(),
            failure: Mutex::default(),
            denied: AtomicBool::new(false),
            tried: watch::Sender::new(false),
            dials: AtomicBool::new(false),
            events: tokio::sync::Mutex::default(),
            wrong_queue: LogThrottle::new(),
        })
    }

    /// Waits until the set of connections satisfies a condition, and returns their numbers.
    ///
    /// On a PUSH socket that pullers connect to, pullers of other queues are disconnected and do
    /// not count. Jobs that the engine has sent to them before are lost.
    ///
    /// # Errors
    ///
    /// The error of the engine if the socket is closed.
    async fn connections_until(
        &self,
        condition: impl Fn(&[u64]) -> bool + Send,
    ) -> Result<Vec<u64>, omq_tokio::Error> {
        let socket = &self.endpoints.socket;
        let mut seen = socket.connections_generation();
        loop {
            let connections = socket.connections().await?;
            let (accepted, others): (Vec<_>, Vec<_>) = connections
                .iter()
                .map(|connection| (connection.connection_id, self.accepts(&connection.identity)))
                .partition(|(_, is_accepted)| *is_accepted);
            for (other, _) in others.iter().filter(|_| self.remote.is_none()) {
                // The socket would send every n-th job to this puller, which cannot process it.
                if let Some(count) = self.wrong_queue.note() {
                    tracing::warn!(traffic = ?self.traffic, count, "disconnected pullers of another queue");
                }
                let _ = socket.disconnect_peer(*other).await;
            }
            let ids: Vec<_> = accepted.into_iter().map(|(id, _)| id).collect();
            if condition(&ids) {
                return Ok(ids);
            }
            seen = socket.connections_changed(seen).await?;
        }
    }

    /// Returns whether a peer with this routing id may get the messages of this socket.
    fn accepts(&self, identity: &[u8]) -> bool {
        match &self.traffic {
            Traffic::Jobs(queue) => is_of_queue(identity, queue),
            Traffic::Requests | Traffic::AnyJobs => true,
        }
    }
}

impl HasEndpoints for OmqDealer {
    type Endpoints = SocketEndpoints;

    fn endpoints(&self) -> &SocketEndpoints {
        &self.endpoints
    }
}

#[async_trait]
impl Dealer for OmqDealer {
    /// Sends a message, or returns the frames if the queue of the peer is full. A PUSH socket that
    /// pullers connect to chooses one of them in turn.
    fn try_send(&self, frames: Frames) -> Result<(), Frames> {
        match self.endpoints.socket.try_send(message_of(frames)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(message)) => Err(unsent_frames(message)),
            // The socket is closed: the balancer closes as well, and fails the call.
            Err(_) => Ok(()),
        }
    }

    fn room(&self) -> BoxFuture<'_, ()> {
        self.endpoints.socket.wait_send_ready().boxed()
    }

    async fn tried(&self) {
        let mut tried = self.tried.subscribe();
        // Never an error: `self` holds the sender.
        let _ = tried.wait_for(|tried| *tried).await;
    }

    /// Waits for a connection, and records its number. While pullers connect to the socket, any of
    /// them counts.
    async fn up(&self) -> Result<()> {
        let connections = match &self.remote {
            Some(endpoint) => self.connect_until_accepted(endpoint).await,
            None => self.connections_until(|connections| !connections.is_empty()).await,
        };
        let connections = connections.map_err(engine_error)?;
        self.denied.store(false, Ordering::Relaxed);
        if let Some(endpoint) = &self.remote {
            self.endpoints.refusals.accept(&endpoint.to_string());
        }
        *lock(&self.failure) = None;
        *lock(&self.connection) = connections.first().copied();
        Ok(())
    }

    fn is_denied(&self) -> bool {
        self.denied.load(Ordering::Relaxed)
    }

    fn failure(&self) -> Option<String> {
        lock(&self.failure).clone()
    }

    /// Waits until the recorded connection is gone, although its endpoint may be connected anew by
    /// then. Drops queued requests by disconnecting the endpoint; the next `up` connects it again.
    async fn down(&self) {
        let connection = *lock(&self.connection);
        let mut events = self.endpoints.socket.monitor();
        let Some(endpoint) = &self.remote else {
            // An error means that the socket is closed, which `up` reports.
            let _ = self.connections_until(<[u64]>::is_empty).await;
            return;
        };
        // A connection that was lost and made again in one moment has another number.
        let _ =
            self.connections_until(|connections| connections.first() != connection.as_ref()).await;
        *lock(&self.reason) = disconnect_reason(&mut events);
        if !matches!(self.traffic, Traffic::Requests) {
            // Queued jobs go to the next puller at this endpoint; otherwise they would be lost. The
            // engine goes on connecting.
            return;
        }
        // Queued requests must not reach the next server at this endpoint: the balancer reports
        // them as lost.
        let _ = self.endpoints.socket.disconnect(endpoint.to_string()).await;
        self.dials.store(false, Ordering::Relaxed);
        // They are about attempts that have ended.
        *self.events.lock().await = None;
    }

    fn reason(&self) -> Option<String> {
        lock(&self.reason).take()
    }

    fn replies(&self) -> BoxStream<'static, Frames> {
        match self.traffic {
            Traffic::Requests => {
                let frames_max = self.frames_max;
                received(self.endpoints.socket.clone())
                    .map(move |message| frames_of(message, frames_max))
                    .boxed()
            }
            Traffic::Jobs(_) | Traffic::AnyJobs => stream::empty().boxed(),
        }
    }
}
