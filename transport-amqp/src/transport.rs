//! The transport.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use polywire_core::{
    Address, Capabilities, Error, ErrorKind, Filters, Message, Receiver, Result, Sender, Subscription,
    Transport, Window,
};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::config::{AmqpBuilder, Config};
use crate::error::{closed, lock};
use crate::events::{Announcer, ConnectionEvents, Purpose};
use crate::publisher::Publisher;
use crate::requester::{self, Mailroom};
use crate::responder;
use crate::session::Session;

/// RabbitMQ as a transport.
///
/// ```no_run
/// # use polywire_codec::MessagePack;
/// use polywire_amqp::Amqp;
/// use polywire_core::Client;
///
/// # async fn add() -> Result<(), polywire_core::CallError> {
/// let transport = Amqp::connect("amqp://guest:guest@localhost").await?;
/// let calculator = Client::connect(&transport, "calculator", MessagePack).await?;
/// let sum: i64 = calculator.call("add", &(2, 3)).await?;
/// # Ok(())
/// # }
/// ```
///
/// # What is at the broker
///
/// | queue | made by | properties |
/// |---|---|---|
/// | `polywire.SERVICE` | the servers of the service | durable, shared by them |
/// | `polywire.reply.RANDOM` | each transport that calls, one for all its clients | durable; expires after 5 minutes without its client |
///
/// Requests and replies go through the default exchange, mandatory, confirmed and persistent. A request whose service
/// has no queue is [`Unroutable`](ErrorKind::Unroutable) at once; one whose service has a queue, but no server, waits
/// there until its deadline.
///
/// # What happens when
///
/// Two connections are kept, one to publish and one to consume, so that a broker that stops publishers does not stop
/// acknowledgements. One that is lost is made again, with its queues and consumers, at intervals that grow from 0.1 to
/// 5 seconds. Meanwhile requests wait, up to their deadline or the connect time; one that was on its way fails as
/// [`Disconnected`](ErrorKind::Disconnected), and not as unsent. A server acknowledges a request after the broker has
/// confirmed its reply; if it dies before, another one gets the request, marked as redelivered.
///
/// Clones are the same transport. Dropping the last one, and the ends it opened, closes the connections.
#[derive(Clone)]
pub struct Amqp(Arc<Inner>);

/// What the ends of a transport share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) consuming: Arc<Session>,
    pub(crate) publisher: Publisher,
    pub(crate) mailroom: Arc<Mailroom>,
    publishing: Arc<Session>,
    announcer: Announcer,
    replies: tokio::sync::OnceCell<()>,
    tasks: Mutex<Vec<AbortHandle>>,
    closed: AtomicBool,
}

impl Amqp {
    /// Connects to the broker that `url` names: `amqp://user:password@host:port/vhost`, or `amqps://` for TLS.
    ///
    /// A virtual host that is left out is `/`; so is one of a single slash. The brokers of a cluster stand in a row, with
    /// commas between (`amqp://user:password@a:5672,b:5672/vhost`): the first that answers is taken, and the next one when
    /// it is lost. Options go after a question mark:
    ///
    /// | option | |
    /// |---|---|
    /// | `heartbeat=10` | seconds; see [`AmqpBuilder::heartbeat`] |
    /// | `connection_timeout=10000` | milliseconds; see [`AmqpBuilder::connect_timeout`] |
    /// | `cacertfile=/path.pem` | see [`AmqpBuilder::ca_file`] |
    /// | `certfile=/path.pem`, `keyfile=/path.pem` | see [`AmqpBuilder::certificate`] |
    /// | `frame_max`, `channel_max`, `auth_mechanism` | as in RabbitMQ's [URI query parameters](https://www.rabbitmq.com/docs/uri-query-parameters) |
    ///
    /// Dropping the future abandons the connection.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the URL is malformed, and what [`AmqpBuilder::connect`] says.
    pub async fn connect(url: &str) -> Result<Self> {
        Self::builder(url)?.connect().await
    }

    /// A connection to be set up step by step, beginning with a URL.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the URL is malformed; [`ErrorKind::Unsupported`] if it asks for TLS, which is not
    /// compiled in.
    pub fn builder(url: &str) -> Result<AmqpBuilder> {
        AmqpBuilder::new(url)
    }

    /// What happens to the connections from now on: lost, restored, blocked, refused.
    #[must_use]
    pub fn events(&self) -> ConnectionEvents {
        self.0.announcer.listen()
    }

    pub(crate) async fn open(config: Config) -> Result<Self> {
        let announcer = Announcer::new();
        let session = |purpose| Session::open(config.clone(), purpose, announcer.clone());
        let publishing = Arc::new(session(Purpose::Publishing).await?);
        let consuming = Arc::new(session(Purpose::Consuming).await?);
        let mailroom = Arc::new(Mailroom::new(config.limits));
        let returns = mailroom.clone();
        let on_return = Arc::new(move |properties: &_| returns.returned(properties));
        let (patience, confirms) = (config.connect_timeout, config.confirm_timeout);
        let opening = Publisher::open(publishing.clone(), on_return, patience, confirms);
        let publisher = timeout(patience, opening).await.map_err(|_| slow(&config))??;
        Ok(Self(Arc::new(Inner {
            config,
            consuming,
            publisher,
            mailroom,
            publishing,
            announcer,
            replies: tokio::sync::OnceCell::new(),
            tasks: Mutex::default(),
            closed: AtomicBool::new(false),
        })))
    }
}

impl Inner {
    /// Whether a message may leave now.
    pub(crate) fn check(&self, message: &Message) -> Result<()> {
        self.check_open()?;
        self.config.limits.check(message)
    }

    /// Takes a task into its charge, to end it when it is closed.
    pub(crate) fn own(&self, task: AbortHandle) {
        let mut tasks = lock(&self.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) { Err(closed()) } else { Ok(()) }
    }

    /// Takes in replies, from the first calling end on.
    async fn take_in_replies(&self) -> Result<()> {
        let start = || async {
            let (tell, ready) = oneshot::channel();
            self.own(tokio::spawn(self.mailroom.clone().serve(self.consuming.clone(), tell)).abort_handle());
            ready.await.map_err(|_| closed())?
        };
        self.replies.get_or_try_init(start).await.map(|_| ())
    }

    fn end_tasks(&self) {
        for task in lock(&self.tasks).drain(..) {
            task.abort();
        }
    }
}

impl Transport for Amqp {
    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::least(self.0.config.limits.body_max);
        (capabilities.settlement, capabilities.durable, capabilities.unroutable_at_once) = (true, true, true);
        capabilities
    }

    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.0.check_open()?;
        let ready = timeout(self.0.config.connect_timeout, self.0.take_in_replies()).await;
        ready.map_err(|_| slow(&self.0.config))??;
        requester::open(&self.0, service)
    }

    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.0.check_open()?;
        let opening = responder::open(&self.0, service, window);
        timeout(self.0.config.connect_timeout, opening).await.map_err(|_| slow(&self.0.config))?
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
        if self.0.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.0.mailroom.close();
        self.0.publisher.close();
        self.0.end_tasks();
        if self.0.replies.initialized() {
            self.0.mailroom.delete(&self.0.consuming).await;
        }
        tokio::join!(self.0.publishing.close(), self.0.consuming.close());
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end_tasks();
    }
}

impl fmt::Debug for Amqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Amqp").field("config", &self.0.config).finish_non_exhaustive()
    }
}

fn slow(config: &Config) -> Error {
    let error = Error::new(ErrorKind::Disconnected, "the broker did not answer within the connect time");
    error.with("host", config.target.host()).with("port", config.target.port()).unsent()
}
