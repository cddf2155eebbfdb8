//! The transport.

use std::fmt;
use std::sync::Arc;

use polywire_core::health::{ConnectionState, HealthReader};
use polywire_core::transport::{Filters, Receiver, Sender, Subscription};
use polywire_core::{Address, Capabilities, Result, Transport, Window};

use crate::config::{Engine, ZmqBuilder};
use crate::endpoint::Side;
use crate::shared::ZmqShared;
use crate::{publisher, puller, pusher, requester, responder, subscriber, url};

#[doc = include_str!("../docs/sockets.md")]
///
/// # Example
///
/// ```
/// # use polywire_codec::MessagePack;
/// use polywire_core::{Client, Router, Server};
/// use polywire_zmq::Zmq;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), polywire_core::CallError> {
/// // The server process; port * is any free port.
/// let serving = Zmq::connect("zmq+tcp://127.0.0.1:*").await?;
/// let server = Server::bind(&serving, "calculator").await?;
/// tokio::spawn(server.serve(
///     Router::new(MessagePack).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) }),
/// ));
///
/// // The client process.
/// let calling = Zmq::builder().connect(&serving.local_endpoints()[0]).build()?;
/// let client = Client::connect(&calling, "calculator", MessagePack).await?;
/// let sum: i64 = client.call("add", &(2, 3)).await?;
/// assert_eq!(sum, 5);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Zmq(Arc<ZmqShared>);

impl Zmq {
    /// Makes a transport from a URL: `zmq+tcp://host:port` or `zmq+ipc:///path/x.sock`, with more
    /// endpoints after commas and options after a question mark.
    ///
    /// No socket is opened before an endpoint handle is, so the future never waits for a peer. It
    /// is async so that all transports are opened in the same way. Dropping it has no effect.
    ///
    /// | option | |
    /// |---|---|
    /// | `serve=bind`, `serve=connect` | see [`ZmqBuilder::server_side`] |
    /// | `engine=omq`, `engine=zeromq` | see [`ZmqBuilder::engine`] |
    /// | `connect_timeout_ms=2000` | see [`ZmqBuilder::connect_timeout`] |
    /// | `linger_ms=500`, `heartbeat_ms=1000` | see [`ZmqBuilder::linger`] and [`ZmqBuilder::heartbeat`] |
    /// | `batch=auto` | see [`ZmqBuilder::batching`]; the default is `off` |
    /// | `peer_bytes_max=1000000` | see [`ZmqBuilder::peer_bytes_max`] |
    /// | `body_max=1000000`, `frames_max`, `headers_max`, `header_bytes_max` | see [`Limits`](polywire_core::Limits) |
    /// | `handshake_timeout_ms=2000`, `pending_handshakes_max=64`, `connections_max=100`, `host_connections_max=10`, `subscriptions_max=50`, `message_max=2000000` | see [`Admission`](crate::Admission) |
    /// | `curve_server_key=file:/run/secret`, with `curve_allow=file:/etc/clients` or `curve_allow=any` | a [CURVE](crate::curve) server and its allowed clients: one public key a line |
    /// | `curve_server_public=file:/etc/public`, optionally with `curve_key=env:SECRET` | a CURVE client |
    /// | `plain_users=file:/run/users` | a [PLAIN](crate::plain) server and its users: a name, a space and a password a line |
    /// | `plain_user=alice&plain_password=env:PASSWORD` | a PLAIN client |
    ///
    /// Keys and passwords are read from files (`file:/path`) or from the environment (`env:NAME`).
    /// A URL never holds them. An option is given once, and the options of security belong to one
    /// row of the table.
    ///
    /// ```
    /// use polywire_zmq::Zmq;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), polywire_core::Error> {
    /// let transport =
    ///     Zmq::connect("zmq+tcp://10.0.0.1:5555,10.0.0.2:5555?connect_timeout_ms=2000").await?;
    /// let error = Zmq::connect("zmq+tcp://10.0.0.1").await.unwrap_err();
    /// assert!(error.to_string().contains("no port"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) for a malformed URL, with the part
    /// that is wrong; for an option that is given twice; for options that exclude each other, with
    /// their names; and the errors of [`ZmqBuilder::build`].
    pub async fn connect(url: &str) -> Result<Self> {
        // A loop over attempts that fail at once leaves other tasks their turns.
        tokio::task::coop::consume_budget().await;
        url::parse(url)?.build()
    }

    /// Returns a builder, which has more settings than a URL.
    pub fn builder() -> ZmqBuilder {
        ZmqBuilder::new()
    }

    /// Returns the endpoints that the endpoint handles of this transport have bound, with their
    /// real ports. The list is empty once the transport is closed.
    #[must_use]
    pub fn local_endpoints(&self) -> Vec<String> {
        self.0.bound.names()
    }

    /// Binds one more endpoint at every open endpoint handle, and at those that are opened later.
    /// Returns the bound endpoints of the open handles, with their real ports.
    ///
    /// Only one handle can bind a fixed port, so use `:*` if several handles are open.
    ///
    /// Every change of endpoints first waits for handles that are being opened, so that no handle
    /// misses the change. A handle that is opened meanwhile waits for the change. Openings and
    /// additions take up to the connect timeout for each handle, or 5 seconds for a socket file.
    /// [`disconnect_endpoint`](Self::disconnect_endpoint) takes up to the
    /// [linger](ZmqBuilder::linger) time for each client and pusher, one after the other, and up to
    /// the connect timeout for each subscriber and publisher.
    ///
    /// If the future is dropped, some handles may have bound the endpoint and others not.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a malformed endpoint, and for one that cannot be bound: then
    /// nothing changes. [`ErrorKind::Closed`] if the transport is closed.
    ///
    /// [`ErrorKind::Config`]: polywire_core::ErrorKind::Config
    /// [`ErrorKind::Closed`]: polywire_core::ErrorKind::Closed
    pub async fn bind_endpoint(&self, endpoint: &str) -> Result<Vec<String>> {
        self.0.change(Side::Bind, true, endpoint).await
    }

    /// Unbinds an endpoint at every endpoint handle that has bound it, and closes the connections
    /// that peers made to it. Returns the endpoints that are no longer bound.
    ///
    /// The endpoint is given with its real port, or as it was passed to
    /// [`bind_endpoint`](Self::bind_endpoint). Replies to requests that arrived there can no longer
    /// be sent. If the future is dropped, some handles may have unbound the endpoint and others
    /// not.
    ///
    /// # Errors
    ///
    /// The errors of [`bind_endpoint`](Self::bind_endpoint), and
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) if no handle has bound the endpoint.
    pub async fn unbind_endpoint(&self, endpoint: &str) -> Result<Vec<String>> {
        self.0.change(Side::Bind, false, endpoint).await
    }

    /// Connects every open endpoint handle to one more endpoint, and those that are opened later.
    ///
    /// From then on clients and pushers use the endpoint in turn with the others. When the future
    /// resolves, a publisher that listens there has the subscriptions of the open subscribers. If
    /// the future is dropped, some handles may be connected and others not.
    ///
    /// # Errors
    ///
    /// The errors of [`bind_endpoint`](Self::bind_endpoint).
    pub async fn connect_endpoint(&self, endpoint: &str) -> Result<()> {
        self.0.change(Side::Connect, true, endpoint).await.map(drop)
    }

    /// Disconnects every endpoint handle that is connected to an endpoint.
    ///
    /// Calls in flight there fail as [`Disconnected`](polywire_core::ErrorKind::Disconnected), with
    /// an unknown outcome. Jobs that the transport has accepted are still sent until the
    /// [linger](ZmqBuilder::linger) time ends. The future waits for each client and pusher, one
    /// after the other, for up to that time, and for each subscriber and publisher up to the
    /// connect timeout. A handle that is opened meanwhile waits, too.
    ///
    /// If the future is dropped, some handles may be disconnected and others not.
    ///
    /// # Errors
    ///
    /// The errors of [`bind_endpoint`](Self::bind_endpoint), and
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) if no handle is connected to the
    /// endpoint.
    pub async fn disconnect_endpoint(&self, endpoint: &str) -> Result<()> {
        self.0.change(Side::Connect, false, endpoint).await.map(drop)
    }
}

impl ZmqBuilder {
    /// Makes the transport. No socket is opened before an endpoint handle is, so unlike
    /// [`Zmq::connect`] this function is not async.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a malformed endpoint, for none at all, for a bound that is too
    /// small, and for a heartbeat out of its range. [`ErrorKind::Unsupported`] if the engine is not
    /// compiled in, naming its feature, or does not support one of the settings.
    ///
    /// [`ErrorKind::Config`]: polywire_core::ErrorKind::Config
    /// [`ErrorKind::Unsupported`]: polywire_core::ErrorKind::Unsupported
    pub fn build(self) -> Result<Zmq> {
        let (settings, endpoints) = self.settings()?;
        Ok(Zmq(Arc::new(ZmqShared::new(settings, endpoints))))
    }
}

impl Transport for Zmq {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::least(self.0.settings.limits.body_max);
        (capabilities.pipeline, capabilities.pubsub) = (true, true);
        capabilities.security = self.0.settings.engine == Engine::Omq;
        (capabilities.cancellation, capabilities.declining) = (true, true);
        capabilities.interruption = true;
        capabilities
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        let shared = &*self.0;
        let _opening = shared.opening().await?;
        let (endpoint, sender, receiver) =
            requester::open(&shared.settings, &shared.calling(), service, &shared.bound).await?;
        shared.open.remember(&endpoint).await?;
        Ok((sender, receiver))
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        let _opening = self.0.opening().await?;
        let server = self.0.server().await?;
        Ok(responder::open(server, service, window))
    }

    async fn pusher(&self, queue: &Address) -> Result<Sender> {
        let shared = &*self.0;
        let _opening = shared.opening().await?;
        let (endpoint, sender) =
            pusher::open(&shared.settings, &shared.calling(), queue, &shared.bound).await?;
        shared.open.remember(&endpoint).await?;
        Ok(sender)
    }

    async fn puller(&self, queue: &Address, window: Window) -> Result<Receiver> {
        let shared = &*self.0;
        let _opening = shared.opening().await?;
        let (endpoint, receiver) =
            puller::open(&shared.settings, &shared.serving(), queue, window, &shared.bound).await?;
        shared.open.remember(&endpoint).await?;
        Ok(receiver)
    }

    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        let shared = &*self.0;
        let _opening = shared.opening().await?;
        let (endpoint, sender) =
            publisher::open(&shared.settings, &shared.serving(), channel, &shared.bound).await?;
        shared.open.remember(&endpoint).await?;
        Ok(sender)
    }

    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        let shared = &*self.0;
        let _opening = shared.opening().await?;
        let calling = shared.calling();
        let (endpoint, receiver, filters) =
            subscriber::open(&shared.settings, &calling, channel, subscription, &shared.bound)
                .await?;
        shared.open.remember(&endpoint).await?;
        Ok((receiver, filters))
    }

    /// Returns a reader of the health. The transport is connected while one of its sockets has
    /// bound an endpoint or has a peer.
    fn health(&self) -> HealthReader {
        self.0.bound.health().reporter().reader()
    }

    /// Closes all endpoint handles at the same time, and waits until their sockets have lingered.
    /// Never fails.
    ///
    /// If the future is dropped, queued messages may be lost. A later call returns at once, and
    /// does not wait for the sockets of an earlier one.
    async fn close(&self) -> Result<()> {
        self.0.bound.health().reporter().set_connection(ConnectionState::Closed);
        self.0.open.close().await;
        Ok(())
    }
}

impl fmt::Debug for Zmq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zmq")
            .field("engine", &self.0.settings.engine)
            .field("endpoints", &self.0.calling().names())
            .finish_non_exhaustive()
    }
}
