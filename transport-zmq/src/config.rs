//! How a transport is set up.

use std::time::Duration;

use polywire_core::{Error, ErrorKind, Limits, Result};

use crate::Zmq;
use crate::admission::Admission;
use crate::endpoint::Endpoint;
use crate::error::config;
use crate::plan::{Plan, Plans};
#[cfg(feature = "engine-omq")]
use crate::security::Security;
#[cfg(feature = "engine-omq")]
use crate::{curve, plain};

/// Which side of a connection listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Side {
    /// It listens, and others dial it.
    Bind,
    /// It dials, again and again until somebody listens.
    Connect,
}

/// The crate that moves the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Engine {
    /// `omq-tokio`, behind feature `engine-omq`: the default, and the choice for networks.
    Omq,
    /// `zeromq`, behind feature `engine-zeromq`: for comparison, and among peers that can be
    /// trusted.
    ///
    /// It has no limit on what it receives: **a stranger who reaches the port can make the process
    /// run out of memory and abort**. It has no heartbeats, so that a peer that vanished
    /// without a word is noticed by the deadlines of calls only, and it drops peers of other
    /// implementations that send them. What was not sent when an end is closed may be lost, for
    /// it has no linger. It buffers up to 100,000 messages a peer. Calling ends
    /// can only connect and serving ends only bind; anything else is [`ErrorKind::Unsupported`]. So
    /// are pipelines, for a PUSH socket of it does not notice that its puller is gone, and
    /// loses what it takes; publish-subscribe, for it drops what a slow subscriber has no room
    /// for beyond those 100,000 messages, without a word; CURVE, PLAIN and
    /// bounds of [`Admission`], for it has none of them; and another endpoint for an end that is
    /// open, but for requesters.
    Zeromq,
}

/// Sets up a [`Zmq`] transport; made by [`Zmq::builder`].
///
/// ```
/// use std::time::Duration;
/// use polywire_zmq::{Side, Zmq};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), polywire_core::Error> {
/// // Workers that dial their clients: the client is the one with the well-known address.
/// let workers = Zmq::builder().endpoint("tcp://127.0.0.1:5555").serve(Side::Connect);
/// let transport = workers.connect_timeout(Duration::from_secs(2)).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct ZmqBuilder {
    endpoints: Vec<(Option<Side>, String)>,
    serve: Side,
    engine: Option<Engine>,
    limits: Limits,
    admission: Option<Admission>,
    #[cfg(feature = "engine-omq")]
    security: Security,
    connect_timeout: Duration,
    linger: Duration,
    heartbeat: Duration,
    peer_bytes_max: usize,
}

impl ZmqBuilder {
    pub(crate) fn new() -> Self {
        Self {
            endpoints: Vec::new(),
            serve: Side::Bind,
            engine: None,
            limits: Limits::default(),
            admission: None,
            #[cfg(feature = "engine-omq")]
            security: Security::None,
            connect_timeout: Duration::from_secs(10),
            linger: Duration::from_secs(1),
            heartbeat: Duration::from_secs(5),
            peer_bytes_max: PEER_BYTES_MAX,
        }
    }

    /// Adds an endpoint whose side follows from the end: servers, pullers and publishers bind it,
    /// and clients, pushers and subscribers connect to it, unless [`serve`](Self::serve) says
    /// otherwise.
    pub fn endpoint(self, endpoint: impl Into<String>) -> Self {
        self.add(None, endpoint.into())
    }

    /// Adds an endpoint that every end binds, such as `tcp://0.0.0.0:5555`, `tcp://127.0.0.1:*` for
    /// any free port, or `ipc:///run/x.sock`.
    pub fn bind(self, endpoint: impl Into<String>) -> Self {
        self.add(Some(Side::Bind), endpoint.into())
    }

    /// Adds an endpoint that every end connects to.
    pub fn connect(self, endpoint: impl Into<String>) -> Self {
        self.add(Some(Side::Connect), endpoint.into())
    }

    fn add(mut self, side: Option<Side>, endpoint: String) -> Self {
        self.endpoints.push((side, endpoint));
        self
    }

    /// What serving ends do at an [`endpoint`](Self::endpoint); calling ends do the other. The
    /// default is to bind.
    ///
    /// Responders, pullers and publishers serve; requesters, pushers and subscribers call.
    /// Endpoints that were added by [`bind`](Self::bind) or [`connect`](Self::connect) are
    /// bound or dialled by every end, whatever it is, so that each combination can be had: a
    /// pusher that binds for pullers that connect, a subscriber that binds for publishers
    /// that connect.
    ///
    /// The responders of a transport share one socket. Every other end has sockets of its own, so
    /// one that binds has its endpoint for itself: a transport with two ends that bind needs
    /// any free port (`:*`), or fails to bind the second time, and the error says so.
    pub fn serve(self, serve: Side) -> Self {
        Self { serve, ..self }
    }

    /// The engine. The default is [`Engine::Omq`], or the one that is compiled in.
    pub fn engine(self, engine: Engine) -> Self {
        Self { engine: Some(engine), ..self }
    }

    /// Bounds what a message may hold. See [`Limits`] for the defaults.
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Bounds on what strangers can do to the sockets that listen. See [`Admission`] for the
    /// defaults.
    pub fn admission(self, admission: Admission) -> Self {
        Self { admission: Some(admission), ..self }
    }

    /// Makes every socket the server of CURVE: it has these keys, and lets in who is allowed. See
    /// [`curve`].
    ///
    /// It holds for all ends of the transport, whichever side binds. A second call of this kind
    /// replaces the first.
    #[cfg(feature = "engine-omq")]
    pub fn curve_server(self, server: curve::Server) -> Self {
        Self { security: Security::CurveServer(server), ..self }
    }

    /// Makes every socket a client of CURVE: its peers have this key. See [`curve`].
    #[cfg(feature = "engine-omq")]
    pub fn curve_client(self, client: curve::Client) -> Self {
        Self { security: Security::CurveClient(client), ..self }
    }

    /// Makes every socket ask for a name and a password. See [`plain`].
    #[cfg(feature = "engine-omq")]
    pub fn plain_server(self, server: plain::Server) -> Self {
        Self { security: Security::PlainServer(server), ..self }
    }

    /// Makes every socket give this name and password. See [`plain`].
    #[cfg(feature = "engine-omq")]
    pub fn plain_client(self, client: plain::Client) -> Self {
        Self { security: Security::PlainClient(client), ..self }
    }

    /// The bounds as they are, to change some of them.
    pub(crate) fn bounds(&self) -> (Limits, Admission) {
        (self.limits, self.admission.unwrap_or_default())
    }

    /// How long a request waits for a connection before it fails as unroutable. The default is 10
    /// seconds.
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Self { connect_timeout, ..self }
    }

    /// How long closing goes on delivering what was handed over. The default is 1 second.
    pub fn linger(self, linger: Duration) -> Self {
        Self { linger, ..self }
    }

    /// How often a silent peer is asked whether it is there; it is given up after twice that time.
    /// The default is 5 seconds.
    pub fn heartbeat(self, heartbeat: Duration) -> Self {
        Self { heartbeat, ..self }
    }

    /// How many bytes may be under way to one peer: of requests that it has not answered, of
    /// replies and jobs that it has not taken, and of events that some subscriber has not
    /// taken. Of what is smaller than a thousandth of it, a thousand more messages. A single
    /// message may pass it. Beyond, senders wait; replies for as long as they wait for a caller
    /// that does not read. The default is 64 MiB.
    ///
    /// A pusher that pullers dial cannot tell how much each of them has yet to take: there, the
    /// queue for each is as many messages long as bodies of the [largest
    /// size](Limits::body_max) would fill this, but 16 at the least.
    pub fn peer_bytes_max(self, peer_bytes_max: usize) -> Self {
        Self { peer_bytes_max, ..self }
    }

    /// Makes the transport. No socket is opened before an end is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a malformed endpoint, or none, or a bound that lets nobody in;
    /// [`ErrorKind::Unsupported`] if the engine is not compiled in, naming its feature, or
    /// cannot do what is asked of it.
    pub fn build(self) -> Result<Zmq> {
        let plans =
            Plans { serving: self.plan(self.serve)?, calling: self.plan(self.serve.other())? };
        if self.endpoints.is_empty() {
            return Err(config("no endpoint was given"));
        }
        let engine = self.engine.map_or_else(default_engine, compiled_in)?;
        if engine != Engine::Omq && self.admission.is_some() {
            return Err(lacks("bounds of admission"));
        }
        #[cfg(feature = "engine-omq")]
        if engine != Engine::Omq && !matches!(self.security, Security::None) {
            return Err(lacks("security"));
        }
        let admission = self.admission.unwrap_or_default();
        admission.check()?;
        if self.peer_bytes_max == 0 {
            return Err(config("a bound that lets nothing out").with("bound", "peer_bytes_max"));
        }
        let settings = Settings {
            engine,
            limits: self.limits,
            admission,
            #[cfg(feature = "engine-omq")]
            security: self.security,
            connect_timeout: self.connect_timeout,
            linger: self.linger,
            heartbeat: self.heartbeat,
            peer_bytes_max: self.peer_bytes_max,
        };
        Ok(Zmq::new(settings, plans))
    }

    /// What an end binds and dials whose endpoints are on `side` by default.
    fn plan(&self, side: Side) -> Result<Plan> {
        let mut plan = Plan::default();
        for (own, endpoint) in &self.endpoints {
            let endpoint = Endpoint::parse(endpoint)?;
            match own.unwrap_or(side) {
                Side::Bind => plan.bind.push(endpoint),
                Side::Connect => plan.connect.push(endpoint),
            }
        }
        Ok(plan)
    }
}

impl Side {
    fn other(self) -> Self {
        match self {
            Self::Bind => Self::Connect,
            Self::Connect => Self::Bind,
        }
    }
}

/// A valid set-up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) engine: Engine,
    pub(crate) limits: Limits,
    #[cfg_attr(
        not(feature = "engine-omq"),
        allow(dead_code, reason = "the other engine has none")
    )]
    pub(crate) admission: Admission,
    #[cfg(feature = "engine-omq")]
    pub(crate) security: Security,
    pub(crate) connect_timeout: Duration,
    #[cfg_attr(not(any(feature = "engine-omq", feature = "engine-zeromq")), allow(dead_code))]
    pub(crate) linger: Duration,
    #[cfg_attr(
        not(feature = "engine-omq"),
        allow(dead_code, reason = "the other engine has none")
    )]
    pub(crate) heartbeat: Duration,
    pub(crate) peer_bytes_max: usize,
}

/// What may be under way to one peer, unless it is said otherwise.
pub(crate) const PEER_BYTES_MAX: usize = 64 << 20;

fn default_engine() -> Result<Engine> {
    compiled_in(Engine::Omq).or_else(|_| compiled_in(Engine::Zeromq)).map_err(|_| off("engine-omq"))
}

fn compiled_in(engine: Engine) -> Result<Engine> {
    match engine {
        Engine::Omq if cfg!(feature = "engine-omq") => Ok(engine),
        Engine::Omq => Err(off("engine-omq")),
        Engine::Zeromq if cfg!(feature = "engine-zeromq") => Ok(engine),
        Engine::Zeromq => Err(off("engine-zeromq")),
    }
}

/// An engine that cannot do what was asked of it is not to do less.
fn lacks(what: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, "this engine of ZeroMQ cannot do that")
        .with("what", what)
        .unsent()
}

fn off(feature: &'static str) -> Error {
    let error = Error::new(
        ErrorKind::Unsupported,
        "this engine of ZeroMQ is not compiled in: turn on its feature",
    );
    error.with("feature", feature).unsent()
}
