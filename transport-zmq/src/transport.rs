//! The transport: what it opened, and what it closes.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use futures_core::future::BoxFuture;
use futures_util::future::join_all;
use polywire_core::transport::{Filters, Receiver, Sender, Subscription};
use polywire_core::{Address, Capabilities, ErrorKind, Result, Transport, Window};
use tokio::sync::{OnceCell, RwLock};

use crate::config::{Engine, Settings, Side, ZmqBuilder};
use crate::endpoint::Endpoint;
use crate::error::{closed, config, lock};
use crate::plan::{Change, Plan, Plans};
use crate::responder::ServerSocket;
use crate::{publisher, puller, pusher, requester, responder, subscriber, url};

/// Request-reply, pipelines and publish-subscribe over ZeroMQ: the ends talk to each other, without
/// a broker.
///
/// - **Request-reply**: a serving process binds one ROUTER socket for all its services, at the
///   endpoints that it was given; each calling end opens a DEALER socket for every endpoint that it
///   connects to, or one ROUTER socket for servers to connect to. Of those that are there, a call
///   goes to the one with the fewest calls of this end, in turn to those with as many.
/// - **Pipelines**: each puller binds a PULL socket; each pusher opens a PUSH socket for every
///   endpoint that it connects to, and takes those in turn where a puller of its queue is and has
///   room.
/// - **Publish-subscribe**: each publisher binds an XPUB socket; each subscriber connects a SUB
///   socket to as many of them as there are, and is heard by all that are there when it is opened.
///
/// Either side may bind instead: see [`ZmqBuilder::serve`].
///
/// What ZeroMQ cannot do:
///
/// - It does not settle. A request that is in the queue or in the hands of a server that dies is
///   lost. Its caller gets [`Disconnected`] when the connection goes, and does not know whether the
///   work was done; unless the call is [idempotent](polywire_core::Message::idempotent), for then
///   it is sent again, to whoever is there before its deadline.
/// - **Of a puller that dies, every job is lost that it had not worked off**: those in its hands,
///   up to a window of them in its queue, and what was on its way to it. The pusher has said Ok to
///   all of them, and is told nothing. Jobs that the pusher's side still held wait for the next
///   puller at the same endpoint. The same goes for a puller that is stopped or dropped, except
///   that one that is stopped hands out what has reached it.
/// - **Jobs that wait for a puller at an endpoint go to whatever puller comes there next.** If it
///   is one of another queue, it drops them, and the pusher is told nothing: the engine hands them
///   over before anybody can look at who it is. So give an endpoint to one queue, and keep it for
///   that.
/// - A puller of another queue that dials a pusher is hung up on as soon as it is seen, and dials
///   again, for as long as it likes. Jobs that are dealt to it in between are lost.
/// - It does not keep. A job needs a puller that is there; what is published while a subscriber is
///   away, it misses.
/// - It does not balance between callers, of whom each knows its own calls only. Jobs are dealt out
///   in turn, and wait at a slow peer while another is idle, until its queue is full.
/// - What tells a server that nobody waits for a call any more takes its place behind the requests
///   before it, of which a server reads 1,000 beyond its window, and no more than 16 MiB. It is
///   lost where there is no room for it.
/// - All services of a process share one socket. One whose queue is full holds up the others, so
///   give a service that waits for another one of the same process a transport of its own.
/// - A subscriber that does not read makes its publishers wait, once the queues between them are
///   full: up to 1,000 events at the publisher, and no more than [so many
///   bytes](ZmqBuilder::peer_bytes_max), its own window, and what lies in the connection. All other
///   subscribers wait with it.
///
/// A request or a job for which there is no connection waits for one until the connect time is
/// over, then fails as [`Unroutable`]; a request for a service that the peers do not serve fails at
/// once. All are marked as unsent. What is published and nobody wants is gone.
///
/// Clones are the same transport. Its sockets live in the tokio runtime in which the ends are
/// opened: close it before that one ends, for a task that still receives may keep a runtime of
/// several threads from shutting down.
///
/// ```
/// # use polywire_codec::MessagePack;
/// use polywire_core::{Client, Router, Server};
/// use polywire_zmq::Zmq;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), polywire_core::CallError> {
/// // One process; port * is any free one.
/// let serving = Zmq::from_url("zmq+tcp://127.0.0.1:*")?;
/// let server = Server::bind(&serving, "calculator").await?;
/// tokio::spawn(server.serve(Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) })));
///
/// // Another one.
/// let calling = Zmq::builder().connect(&serving.local_endpoints()[0]).build()?;
/// let client = Client::connect(&calling, "calculator", MessagePack).await?;
/// let sum: i64 = client.call("add", &(2, 3)).await?;
/// assert_eq!(sum, 5);
/// # Ok(())
/// # }
/// ```
///
/// [`Disconnected`]: polywire_core::ErrorKind::Disconnected
/// [`Unroutable`]: polywire_core::ErrorKind::Unroutable
#[derive(Clone)]
pub struct Zmq(Arc<Inner>);

struct Inner {
    settings: Settings,
    plans: Mutex<Plans>,
    ends: Ends,
    /// Held for reading while an end is opened, and for writing while endpoints change: so no end
    /// misses a change.
    endpoints: RwLock<()>,
    bound: Bound,
    /// The serving socket, opened with the first serving end.
    hub: OnceCell<Arc<ServerSocket>>,
}

impl Zmq {
    /// A transport that a URL describes: `zmq+tcp://host:port` or `zmq+ipc:///path/x.sock`, with
    /// more endpoints after commas and options after a question mark.
    ///
    /// | option | |
    /// |---|---|
    /// | `serve=bind`, `serve=connect` | see [`ZmqBuilder::serve`] |
    /// | `engine=omq`, `engine=zeromq` | see [`ZmqBuilder::engine`] |
    /// | `connect_timeout_ms=2000` | see [`ZmqBuilder::connect_timeout`] |
    /// | `linger_ms=500`, `heartbeat_ms=1000` | see [`ZmqBuilder::linger`] and [`ZmqBuilder::heartbeat`] |
    /// | `peer_bytes_max=1000000` | see [`ZmqBuilder::peer_bytes_max`] |
    /// | `body_max=1000000`, `frames_max`, `headers_max`, `header_bytes_max` | see [`Limits`](polywire_core::Limits) |
    /// | `handshake_timeout_ms=2000`, `pending_handshakes_max=64`, `connections_max=100`, `host_connections_max=10`, `subscriptions_max=50`, `message_max=2000000` | see [`Admission`](crate::Admission) |
    /// | `curve_server_key=file:/run/secret`, with `curve_allow=file:/etc/clients` or `curve_allow=any` | the server of [CURVE](crate::curve), and whom it lets in: a public key a line |
    /// | `curve_server_public=file:/etc/public`, perhaps with `curve_key=env:SECRET` | a client of CURVE |
    /// | `plain_users=file:/run/users` | who asks for a password, see [PLAIN](crate::plain): a name, a space and a password a line |
    /// | `plain_user=alice&plain_password=env:PASSWORD` | who gives it |
    ///
    /// Keys and passwords stand in files (`file:/path`) or in the environment (`env:NAME`), and
    /// never in the URL.
    ///
    /// ```
    /// use polywire_zmq::Zmq;
    ///
    /// let transport = Zmq::from_url("zmq+tcp://10.0.0.1:5555,10.0.0.2:5555?connect_timeout_ms=2000")?;
    /// assert!(Zmq::from_url("zmq+tcp://10.0.0.1").unwrap_err().to_string().contains("it has no port"));
    /// # Ok::<(), polywire_core::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], saying what is wrong with the URL and where; and what
    /// [`ZmqBuilder::build`] says.
    pub fn from_url(url: &str) -> Result<Self> {
        url::parse(url)?.build()
    }

    /// A transport to be set up step by step.
    pub fn builder() -> ZmqBuilder {
        ZmqBuilder::new()
    }

    /// The endpoints that ends of this transport have bound, with their real ports; none once it is
    /// closed.
    #[must_use]
    pub fn local_endpoints(&self) -> Vec<String> {
        self.0.bound.names()
    }

    /// Binds one more endpoint: at every end that is open, and at those that are opened later.
    /// Returns where the open ones listen now, with their real ports; nothing if none is open.
    ///
    /// It waits for ends that are being opened, so that they have it as well, and those that are
    /// opened meanwhile wait for it: for the connect time at the most. So it is with every
    /// change of endpoints.
    ///
    /// A fixed port can be had by one end only, so bind `:*` where several are open. Dropping the
    /// future leaves it open which ends have bound it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a malformed endpoint, or one that cannot be bound, which changes
    /// nothing; [`ErrorKind::Unsupported`] if the engine cannot; [`ErrorKind::Closed`] if the
    /// transport is closed.
    ///
    /// [`ErrorKind::Config`]: polywire_core::ErrorKind::Config
    /// [`ErrorKind::Unsupported`]: polywire_core::ErrorKind::Unsupported
    /// [`ErrorKind::Closed`]: polywire_core::ErrorKind::Closed
    pub async fn bind(&self, endpoint: &str) -> Result<Vec<String>> {
        self.change(Side::Bind, true, endpoint).await
    }

    /// Unbinds an endpoint, as it was asked for or as it really is, at every end that has bound it,
    /// and hangs up on those who came by it. Returns where ends listened that listen there no
    /// more.
    ///
    /// Replies to requests that came by it cannot be sent any more. Dropping the future leaves it
    /// open which ends have unbound it.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind); [`ErrorKind::Config`] also if nobody has bound it.
    pub async fn unbind(&self, endpoint: &str) -> Result<Vec<String>> {
        self.change(Side::Bind, false, endpoint).await
    }

    /// Connects to one more endpoint: every end that is open, and those that are opened later.
    /// Requesters and pushers take it in turn with the others from now on; subscribers are
    /// heard there when this returns, if somebody is there.
    ///
    /// Dropping the future leaves it open which ends have connected.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub async fn connect(&self, endpoint: &str) -> Result<()> {
        self.change(Side::Connect, true, endpoint).await.map(drop)
    }

    /// Disconnects from an endpoint every end that is connected to it.
    ///
    /// Calls in flight there fail as [`Disconnected`](polywire_core::ErrorKind::Disconnected):
    /// whether they were carried out is not known. Jobs that were handed over go on being sent
    /// for as long as the transport is set to [linger](ZmqBuilder::linger). Dropping the future
    /// leaves it open which ends have disconnected.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind); [`ErrorKind::Config`] also if nobody is connected to it.
    pub async fn disconnect(&self, endpoint: &str) -> Result<()> {
        self.change(Side::Connect, false, endpoint).await.map(drop)
    }

    pub(crate) fn new(settings: Settings, plans: Plans) -> Self {
        let (ends, bound, hub) = (Ends::default(), Bound::default(), OnceCell::new());
        Self(Arc::new(Inner {
            settings,
            plans: Mutex::new(plans),
            ends,
            endpoints: RwLock::new(()),
            bound,
            hub,
        }))
    }

    async fn change(&self, side: Side, adds: bool, endpoint: &str) -> Result<Vec<String>> {
        let endpoint = Endpoint::parse(endpoint)?;
        let endpoint =
            if (side, adds) == (Side::Connect, true) { endpoint.dialled()? } else { endpoint };
        let _changing = self.0.endpoints.write().await;
        self.0.ends.check_open()?;
        let change = Change { side, adds, endpoint };
        let changed = self.0.ends.change(&change).await?;
        let planned = lock(&self.0.plans).apply(&change);
        if !adds && changed.is_empty() && !planned {
            return Err(config("no end has this endpoint").with("endpoint", change.endpoint));
        }
        Ok(changed)
    }

    fn serving(&self) -> Plan {
        lock(&self.0.plans).serving.clone()
    }

    fn calling(&self) -> Plan {
        lock(&self.0.plans).calling.clone()
    }

    /// The serving socket, which is opened if it was not.
    async fn hub(&self) -> Result<&Arc<ServerSocket>> {
        let Inner { settings, ends, bound, hub, .. } = &*self.0;
        let open = || async {
            let hub = ServerSocket::open(settings, &self.serving(), bound).await?;
            ends.remember(&(hub.clone() as Arc<dyn End>)).await?;
            Ok(hub)
        };
        hub.get_or_try_init(open).await
    }
}

impl Transport for Zmq {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::least(self.0.settings.limits.body_max);
        let all_patterns = self.0.settings.engine == Engine::Omq;
        (capabilities.pipeline, capabilities.pubsub) = (all_patterns, all_patterns);
        capabilities.security = all_patterns;
        (capabilities.cancellation, capabilities.declining) = (true, true);
        capabilities
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        let Inner { settings, ends, bound, endpoints, .. } = &*self.0;
        let _opening = endpoints.read().await;
        ends.check_open()?;
        let (end, sender, receiver) =
            requester::open(settings, &self.calling(), service, bound).await?;
        ends.remember(&end).await?;
        Ok((sender, receiver))
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        let _opening = self.0.endpoints.read().await;
        self.0.ends.check_open()?;
        let hub = self.hub().await?;
        Ok(responder::open(hub, service, window))
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        let Inner { settings, ends, bound, endpoints, .. } = &*self.0;
        let _opening = endpoints.read().await;
        ends.check_open()?;
        let (end, sender) = pusher::open(settings, &self.calling(), queue, bound).await?;
        ends.remember(&end).await?;
        Ok(sender)
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        let Inner { settings, ends, bound, endpoints, .. } = &*self.0;
        let _opening = endpoints.read().await;
        ends.check_open()?;
        let (end, receiver) = puller::open(settings, &self.serving(), queue, window, bound).await?;
        ends.remember(&end).await?;
        Ok(receiver)
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        let Inner { settings, ends, bound, endpoints, .. } = &*self.0;
        let _opening = endpoints.read().await;
        ends.check_open()?;
        let (end, sender) = publisher::open(settings, &self.serving(), channel, bound).await?;
        ends.remember(&end).await?;
        Ok(sender)
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        let Inner { settings, ends, bound, endpoints, .. } = &*self.0;
        let _opening = endpoints.read().await;
        ends.check_open()?;
        let (end, receiver, filters) =
            subscriber::open(settings, &self.calling(), channel, subscription, bound).await?;
        ends.remember(&end).await?;
        Ok((receiver, filters))
    }

    async fn close(&self) -> Result<()> {
        self.0.ends.close().await;
        Ok(())
    }
}

impl fmt::Debug for Zmq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.0.settings;
        f.debug_struct("Zmq")
            .field("engine", &settings.engine)
            .field("endpoints", &self.calling().names())
            .finish_non_exhaustive()
    }
}

/// Where the sockets of a transport listen.
#[derive(Clone, Default)]
pub(crate) struct Bound(Arc<Mutex<Vec<String>>>);

impl Bound {
    pub(crate) fn names(&self) -> Vec<String> {
        lock(&self.0).clone()
    }

    fn remove(&self, endpoint: &str) {
        let mut all = lock(&self.0);
        if let Some(at) = all.iter().position(|other| other == endpoint) {
            all.remove(at);
        }
    }
}

/// Where the socket of one end listens, which is forgotten with it.
pub(crate) struct Listening {
    bound: Bound,
    own: Mutex<Vec<String>>,
}

impl Listening {
    pub(crate) fn new(bound: &Bound) -> Self {
        Self { bound: bound.clone(), own: Mutex::default() }
    }

    pub(crate) fn add(&self, endpoints: Vec<String>) {
        lock(&self.bound.0).extend_from_slice(&endpoints);
        lock(&self.own).extend(endpoints);
    }

    /// Takes note of a change that came to this.
    pub(crate) fn note(&self, change: &Change, real: Option<&String>) {
        match (change.side, change.adds, real) {
            (Side::Bind, true, Some(real)) => self.add(vec![real.clone()]),
            (Side::Bind, false, Some(real)) => {
                lock(&self.own).retain(|other| other != real);
                self.bound.remove(real);
            }
            _ => {}
        }
    }

    pub(crate) fn clear(&self) {
        for endpoint in std::mem::take(&mut *lock(&self.own)) {
            self.bound.remove(&endpoint);
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What a transport opened, to be closed with it.
#[derive(Default)]
struct Ends {
    closed: AtomicBool,
    opened: Mutex<Vec<Weak<dyn End>>>,
}

/// Something that has endpoints, and is to be closed.
pub(crate) trait End: Send + Sync {
    /// Binds, unbinds, connects or disconnects. Returns the real endpoint, or nothing if there was
    /// nothing to change.
    fn change<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Option<String>>>;

    /// Ends it at once; the future lasts as long as its sockets linger.
    fn close(&self) -> BoxFuture<'static, ()>;
}

impl Ends {
    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    /// Fails if the transport was closed while the end was being opened.
    async fn remember(&self, end: &Arc<dyn End>) -> Result<()> {
        let remembered = {
            let mut opened = lock(&self.opened);
            opened.retain(|end| end.strong_count() > 0);
            opened.push(Arc::downgrade(end));
            self.check_open()
        };
        if remembered.is_err() {
            end.close().await;
        }
        remembered
    }

    /// Changes every end that is open, or none: what was added before one failed is taken back.
    /// Returns what came of it.
    async fn change(&self, change: &Change) -> Result<Vec<String>> {
        let ends: Vec<_> = lock(&self.opened).iter().filter_map(Weak::upgrade).collect();
        let mut changed = Vec::<(Arc<dyn End>, String)>::new();
        for end in ends {
            match end.change(change).await {
                Ok(real) => changed.extend(real.map(|real| (end, real))),
                // It was closed meanwhile, alone: that is no matter of the others.
                Err(error) if error.kind() == ErrorKind::Closed && self.check_open().is_ok() => {}
                Err(error) => {
                    if change.adds {
                        take_back(change.side, changed).await;
                    }
                    return Err(error);
                }
            }
        }
        Ok(changed.into_iter().map(|(_, real)| real).collect())
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let opened = std::mem::take(&mut *lock(&self.opened));
        // All are told before any is awaited.
        let closing: Vec<_> =
            opened.iter().filter_map(Weak::upgrade).map(|end| end.close()).collect();
        join_all(closing).await;
    }
}

async fn take_back(side: Side, changed: Vec<(Arc<dyn End>, String)>) {
    for (end, real) in changed {
        if let Ok(endpoint) = Endpoint::parse(&real) {
            // What is not to be had back is told by the error that led here.
            let _ = end.change(&Change { side, adds: false, endpoint }).await;
        }
    }
}
