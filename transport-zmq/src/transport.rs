//! The transport: what it opened, and what it closes.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use futures_core::future::BoxFuture;
use futures_util::future::join_all;
use polywire_core::{
    Address, Capabilities, Error, Filters, Receiver, Result, Sender, Subscription, Transport, Window,
};
use tokio::sync::OnceCell;

use crate::config::{Settings, ZmqBuilder};
use crate::error::{closed, config, lock};
use crate::responder::Hub;
use crate::{requester, responder, url};

/// Request-reply over ZeroMQ: calling ends and serving ends talk to each other, without a broker.
///
/// A serving process binds one ROUTER socket for all its services, at the endpoints that it was given; each calling end
/// opens a DEALER socket for every endpoint that it connects to, and takes those in turn that somebody answers at.
/// Either side may bind instead: see [`ZmqBuilder::serve`].
///
/// What ZeroMQ cannot do:
///
/// - It does not settle. A request that is in the queue or in the hands of a server that dies is lost; its caller gets
///   [`Disconnected`] when the connection goes, and does not know whether the work was done.
/// - It does not balance. Requests are dealt out in turn, and wait at a slow server while another is idle.
/// - All services of a process share one socket. One whose queue is full holds up the others, so give a service that
///   waits for another one of the same process a transport of its own.
///
/// A request for which there is no connection waits for one until the connect time is over, then fails as
/// [`Unroutable`]; one for a service that the peers do not serve fails at once. Both are marked as unsent.
///
/// Clones are the same transport. Its sockets live in the tokio runtime in which the ends are opened.
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
    ends: Ends,
    bound: Bound,
    /// The serving socket, opened with the first serving end.
    hub: OnceCell<Arc<Hub>>,
}

impl Zmq {
    /// A transport that a URL describes: `zmq+tcp://host:port` or `zmq+ipc:///path/x.sock`, with more endpoints after
    /// commas and options after a question mark.
    ///
    /// | option | |
    /// |---|---|
    /// | `serve=bind`, `serve=connect` | see [`ZmqBuilder::serve`] |
    /// | `engine=omq`, `engine=zeromq` | see [`ZmqBuilder::engine`] |
    /// | `connect_timeout_ms=2000` | see [`ZmqBuilder::connect_timeout`] |
    /// | `body_max=1000000` | the largest body, in bytes; see [`Limits`](polywire_core::Limits) |
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
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config), saying what is wrong with the URL and where; and what
    /// [`ZmqBuilder::build`] says.
    pub fn from_url(url: &str) -> Result<Self> {
        url::parse(url)?.build()
    }

    /// A transport to be set up step by step.
    pub fn builder() -> ZmqBuilder {
        ZmqBuilder::new()
    }

    /// The endpoints that ends of this transport have bound, with their real ports; none once it is closed.
    #[must_use]
    pub fn local_endpoints(&self) -> Vec<String> {
        lock(&self.0.bound.0).clone()
    }

    pub(crate) fn new(settings: Settings) -> Self {
        let (ends, bound, hub) = (Ends::default(), Bound::default(), OnceCell::new());
        Self(Arc::new(Inner { settings, ends, bound, hub }))
    }

    /// The serving socket, which is opened if it was not.
    async fn hub(&self) -> Result<&Arc<Hub>> {
        let Inner { settings, ends, bound, hub } = &*self.0;
        let open = || async {
            let hub = Hub::open(settings, bound).await?;
            ends.remember(&(hub.clone() as Arc<dyn End>)).await?;
            Ok(hub)
        };
        hub.get_or_try_init(open).await
    }
}

impl Transport for Zmq {
    fn capabilities(&self) -> Capabilities {
        Capabilities::least(self.0.settings.limits.body_max)
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.0.ends.check_open()?;
        if self.0.settings.calling.is_empty() {
            return Err(config("no endpoint is for calling ends"));
        }
        let (end, sender, receiver) = requester::open(&self.0.settings, service, &self.0.bound).await?;
        self.0.ends.remember(&end).await?;
        Ok((sender, receiver))
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.0.ends.check_open()?;
        let hub = self.hub().await?;
        Ok(responder::open(hub, service, window))
    }

    async fn pusher(&self, _: &Address) -> Result<Sender> {
        Err(Error::unsupported("pipeline"))
    }

    async fn puller(&self, _: &Address, _: Window) -> Result<Receiver> {
        Err(Error::unsupported("pipeline"))
    }

    async fn publisher(&self, _: &Address) -> Result<Sender> {
        Err(Error::unsupported("pubsub"))
    }

    async fn subscriber(&self, _: &Address, _: Subscription) -> Result<(Receiver, Filters)> {
        Err(Error::unsupported("pubsub"))
    }

    async fn close(&self) -> Result<()> {
        self.0.ends.close().await;
        lock(&self.0.bound.0).clear();
        Ok(())
    }
}

impl fmt::Debug for Zmq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = &self.0.settings;
        f.debug_struct("Zmq")
            .field("engine", &settings.engine)
            .field("endpoints", &settings.calling.names())
            .finish_non_exhaustive()
    }
}

/// Where the sockets of a transport listen.
#[derive(Default)]
pub(crate) struct Bound(Mutex<Vec<String>>);

impl Bound {
    pub(crate) fn add(&self, endpoints: Vec<String>) {
        lock(&self.0).extend(endpoints);
    }
}

/// What a transport opened, to be closed with it.
#[derive(Default)]
struct Ends {
    closed: AtomicBool,
    opened: Mutex<Vec<Weak<dyn End>>>,
}

/// Something to be closed.
pub(crate) trait End: Send + Sync {
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

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        let opened = std::mem::take(&mut *lock(&self.opened));
        // All are told before any is awaited.
        let closing: Vec<_> = opened.iter().filter_map(Weak::upgrade).map(|end| end.close()).collect();
        join_all(closing).await;
    }
}
