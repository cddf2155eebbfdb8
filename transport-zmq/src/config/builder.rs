//! The builder of a transport.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
#[cfg(feature = "engine-omq")]
use polywire_core::{Error, ErrorKind};
use polywire_core::{Limits, Result};

use super::batching::Batching;
use super::engine::Engine;
use super::settings::{PEER_BYTES_MAX, Settings};
use crate::common_errors::config;
use crate::endpoint::{Endpoint, EndpointSet, EndpointSets, Side};
use crate::security::Admission;
#[cfg(feature = "curve")]
use crate::security::curve;
#[cfg(feature = "engine-omq")]
use crate::security::{Security, plain};

/// The builder of a [`Zmq`](crate::Zmq) transport; [`Zmq::builder`](crate::Zmq::builder) makes one.
///
/// ```
/// use polywire_zmq::{Side, Zmq};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), polywire_core::Error> {
/// // Workers that dial their clients: the client has the well-known address.
/// let workers = Zmq::builder().endpoint("tcp://127.0.0.1:5555").server_side(Side::Connect);
/// let transport = workers.connect_timeout(Duration::from_secs(2)).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ZmqBuilder {
    /// The endpoints, not parsed yet. A side of `None` depends on the endpoint handle.
    endpoints: Vec<(Option<Side>, String)>,
    server_side: Side,
    engine: Option<Engine>,
    limits: Limits,
    /// The bounds on peers. `None` stands for the defaults.
    admission: Option<Admission>,
    #[cfg(feature = "engine-omq")]
    security: Security,
    connect_timeout: Duration,
    linger: Duration,
    heartbeat: Duration,
    peer_bytes_max: usize,
    batching: Batching,
}

impl ZmqBuilder {
    /// Creates a builder without endpoints, with the defaults that the methods document.
    pub(crate) fn new() -> Self {
        Self {
            endpoints: Vec::new(),
            server_side: Side::Bind,
            engine: None,
            limits: Limits::default(),
            admission: None,
            #[cfg(feature = "engine-omq")]
            security: Security::None,
            connect_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(1),
            heartbeat: Duration::from_secs(5),
            peer_bytes_max: PEER_BYTES_MAX,
            batching: Batching::Off,
        }
    }

    /// Adds an endpoint whose side depends on the endpoint handle.
    ///
    /// Servers, pullers and publishers bind the endpoint. Clients, pushers and subscribers connect
    /// to it. [`server_side`](Self::server_side) swaps the two.
    pub fn endpoint(self, endpoint: impl Into<String>) -> Self {
        self.add(None, endpoint.into())
    }

    /// Adds an endpoint that every endpoint handle binds, such as `tcp://0.0.0.0:5555`,
    /// `tcp://127.0.0.1:*` for any free port, or `ipc:///run/x.sock`.
    pub fn bind(self, endpoint: impl Into<String>) -> Self {
        self.add(Some(Side::Bind), endpoint.into())
    }

    /// Adds an endpoint that every endpoint handle connects to.
    ///
    /// Opening an endpoint handle fails as [`ErrorKind::Config`] if the port is 0 or `*`.
    ///
    /// [`ErrorKind::Config`]: polywire_core::ErrorKind::Config
    pub fn connect(self, endpoint: impl Into<String>) -> Self {
        self.add(Some(Side::Connect), endpoint.into())
    }

    fn add(mut self, side: Option<Side>, endpoint: String) -> Self {
        self.endpoints.push((side, endpoint));
        self
    }

    /// Sets the side that servers, pullers and publishers take at an [`endpoint`](Self::endpoint).
    /// Clients, pushers and subscribers take the other side. The default is [`Side::Bind`].
    ///
    /// The side of an endpoint added by [`bind`](Self::bind) or [`connect`](Self::connect) does not
    /// depend on this setting. Every combination is possible: a pusher that binds for pullers that
    /// connect, a subscriber that binds for publishers that connect.
    ///
    /// All servers of a transport share one socket. Every other endpoint handle has its own
    /// sockets, so only one handle can bind a fixed port. A transport with two handles that bind
    /// needs an endpoint with any free port (`:*`). Otherwise the second bind fails, and the error
    /// names this cause.
    pub fn server_side(self, server_side: Side) -> Self {
        Self { server_side, ..self }
    }

    /// Sets the engine. The default is [`Engine::Omq`], or the engine that is compiled in.
    pub fn engine(self, engine: Engine) -> Self {
        Self { engine: Some(engine), ..self }
    }

    /// Sets the bounds on the size of a message. See [`Limits`] for the defaults.
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Sets the bounds on the peers of sockets that listen. See [`Admission`] for the defaults.
    pub fn admission(self, admission: Admission) -> Self {
        Self { admission: Some(admission), ..self }
    }

    /// Makes every socket a CURVE server with these keys and allowed clients. See [`curve`].
    ///
    /// The setting holds for all endpoint handles of the transport, whichever side binds. Of
    /// several calls that set the security mechanism, the last one counts.
    #[cfg(feature = "curve")]
    pub fn curve_server(self, server: curve::CurveServer) -> Self {
        Self { security: Security::CurveServer(server), ..self }
    }

    /// Makes every socket a CURVE client of peers with this key, in place of a security mechanism
    /// that was set before. See [`curve`].
    #[cfg(feature = "curve")]
    pub fn curve_client(self, client: curve::CurveClient) -> Self {
        Self { security: Security::CurveClient(client), ..self }
    }

    /// Makes every socket ask its peers for a name and a password, in place of a security mechanism
    /// that was set before. See [`plain`].
    #[cfg(feature = "engine-omq")]
    pub fn plain_server(self, server: plain::PlainServer) -> Self {
        Self { security: Security::PlainServer(server), ..self }
    }

    /// Makes every socket send this name and password to its peers, in place of a security
    /// mechanism that was set before. See [`plain`].
    #[cfg(feature = "engine-omq")]
    pub fn plain_client(self, client: plain::PlainClient) -> Self {
        Self { security: Security::PlainClient(client), ..self }
    }

    /// Returns the current bounds, to change some of them.
    pub(crate) fn bounds(&self) -> (Limits, Admission) {
        (self.limits, self.admission.unwrap_or_default())
    }

    /// Sets the time that a request or a job waits for a connection before it fails as unroutable.
    /// The default is 10 seconds. An earlier deadline ends the wait.
    ///
    /// Clients and pushers wait for their peers when they are opened, too: for this time, but no
    /// longer than 1 second.
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// Sets the time that a closing socket goes on sending accepted messages. The default is
    /// 1 second.
    ///
    /// A client that has sent one-way calls waits for up to that time until its servers have read
    /// them. A server of another kind, which does not answer the question for that, takes all of
    /// it.
    ///
    /// A server takes leave of its clients for up to that time, before its socket closes. With 0,
    /// neither client nor server waits, and calls on their way may end with an unknown outcome.
    pub fn linger(self, linger: Duration) -> Self {
        Self { linger, ..self }
    }

    /// Sets the interval of heartbeats to a silent peer. The connection is closed if the peer stays
    /// silent for twice that time, or a subscriber for six times. The default is 5 seconds.
    ///
    /// Pushers send no heartbeats, since a puller that is busy reads none. Pullers of engine `omq`
    /// send none, since a pusher that has closed would not answer. The kernel finds dead hosts for
    /// them, over TCP.
    ///
    /// On Linux, a connection for calls is closed as well if the peer takes no bytes for six times
    /// that time, while some wait for it. The calls of a live server that reads nothing for so long
    /// end as `Disconnected`. A subscriber has sixty times the interval and misses events then,
    /// since the other subscribers of its publisher wait for it. Jobs wait for a slow worker
    /// without a bound in time.
    ///
    /// The interval is from 100 ms to 1 hour; [`build`](Self::build) refuses any other. A shorter
    /// one would cut connections to peers that are only slow.
    pub fn heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat, ..self }
    }

    /// Sets the limit on the bytes that are on their way to one peer. The default is 64 MiB.
    ///
    /// The limit counts requests that the peer has not answered, replies and jobs that the peer has
    /// not received, and events that some subscriber has not received. A single message may exceed
    /// the limit. So may up to 1,000 messages, each smaller than a thousandth of the limit. Beyond
    /// the limit, senders wait. A reply waits as long as replies wait for a client that does not
    /// read.
    ///
    /// A pusher that binds does not know how much each puller has yet to receive. Its queue for
    /// each puller is as many messages long as bodies of the [largest size](Limits::body_max) would
    /// fill the limit, but at least 16.
    pub fn peer_bytes_max(self, peer_bytes_max: usize) -> Self {
        Self { peer_bytes_max, ..self }
    }

    /// Sets whether calls to one peer, and replies to one, are joined under load. The default is
    /// [`Batching::Off`].
    pub fn batching(self, batching: Batching) -> Self {
        Self { batching, ..self }
    }

    /// Validates the configuration. Fails as [`build`](Self::build) documents.
    ///
    /// The error is that of the first check that fails: endpoints, engine, security, admission,
    /// bytes, heartbeat.
    pub(crate) fn settings(self) -> Result<(Settings, EndpointSets)> {
        let endpoints = EndpointSets {
            serving: self.endpoint_set(self.server_side)?,
            calling: self.endpoint_set(self.server_side.other())?,
        };
        if self.endpoints.is_empty() {
            return Err(config("cannot build the transport: no endpoint was given"));
        }
        let engine = self.engine.map_or_else(Engine::default_one, Engine::compiled_in)?;
        #[cfg(feature = "engine-omq")]
        if engine != Engine::Omq && !matches!(self.security, Security::None) {
            return Err(lacks(self.security.option()));
        }
        let admission = self.admission.unwrap_or_default();
        admission.check()?;
        if self.peer_bytes_max == 0 {
            let error = config("cannot build the transport: this bound must not be 0");
            return Err(error.with("bound", "peer_bytes_max"));
        }
        if !HEARTBEATS.contains(&self.heartbeat) {
            let error = config("cannot build the transport: the heartbeat is out of bounds");
            return Err(error
                .with("bound", "heartbeat")
                .with("ms", self.heartbeat.as_millis())
                .with("least_ms", HEARTBEATS.start().as_millis())
                .with("most_ms", HEARTBEATS.end().as_millis()));
        }
        let settings = Settings {
            engine,
            limits: self.limits,
            admission,
            #[cfg(feature = "engine-omq")]
            security: self.security,
            identity: Bytes::new(),
            connect_timeout: self.connect_timeout,
            linger: self.linger,
            heartbeat: self.heartbeat,
            peer_bytes_max: self.peer_bytes_max,
            batching: self.batching,
        };
        Ok((settings, endpoints))
    }

    /// Returns the endpoints of a handle whose default side is `side`, in the order in which they
    /// were added. Fails as `Config` for the first malformed one.
    fn endpoint_set(&self, side: Side) -> Result<EndpointSet> {
        let mut endpoints = EndpointSet::default();
        for (own, endpoint) in &self.endpoints {
            let endpoint = Endpoint::parse(endpoint)?;
            match own.unwrap_or(side) {
                Side::Bind => endpoints.bind.push(endpoint),
                Side::Connect => endpoints.connect.push(endpoint),
            }
        }
        Ok(endpoints)
    }
}

/// Intervals that are neither shorter than a pause of a busy peer nor longer than the engine's
/// clock and the kernel's timers can count.
const HEARTBEATS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);

/// Returns the error for an option that the engine cannot honor. Ignoring the option would be less
/// safe than failing.
#[cfg(feature = "engine-omq")]
fn lacks(option: &'static str) -> Error {
    let text = format!("the engine does not support `{option}`: use the engine `omq`");
    Error::new(ErrorKind::Unsupported, text).with_named("option", option).unsent()
}
