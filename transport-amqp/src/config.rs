//! How a connection is set up.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use lapin::uri::SASLMechanism;
use polywire_core::{Address, Error, ErrorKind, Limits, Result};

use crate::bounds::Bounds;
use crate::credentials::{Credentials, Provider};
use crate::heartbeat::Heartbeat;
use crate::queues::Queues;
use crate::url::{Limit, Target};
use crate::wire::{Native, Wire};
use crate::{Amqp, QueueKind, QueueOptions, ReplyMode};

/// Sets up an [`Amqp`] transport; made by [`Amqp::builder`].
///
/// ```no_run
/// use std::time::Duration;
/// use polywire_amqp::Amqp;
///
/// # async fn connect() -> polywire_core::Result<()> {
/// let transport = Amqp::builder("amqps://user:secret@rabbit.example.org/orders")?
///     .connect_timeout(Duration::from_secs(3))
///     .ca_file("/etc/ssl/private-ca.pem")
///     .connect()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is connected until `connect` is awaited"]
pub struct AmqpBuilder {
    config: Config,
}

/// Everything there is to say.
#[derive(Clone)]
pub(crate) struct Config {
    pub(crate) target: Target,
    pub(crate) connect_timeout: Duration,
    pub(crate) confirm_timeout: Duration,
    pub(crate) limits: Limits,
    pub(crate) give_up_after: Duration,
    pub(crate) persistent: bool,
    pub(crate) credentials: Option<Provider>,
    pub(crate) identify: bool,
    pub(crate) queues: Queues,
    pub(crate) reply_mode: ReplyMode,
    pub(crate) held: Bounds,
    pub(crate) unconfirmed: Bounds,
}

impl Config {
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        Heartbeat::seconds(self.target.uri.query.heartbeat.unwrap_or(DEFAULT_HEARTBEAT_SECONDS))
    }
}

impl AmqpBuilder {
    pub(crate) fn new(url: &str) -> Result<Self> {
        let target = Target::parse(url)?;
        if target.is_encrypted() && !cfg!(feature = "tls") {
            let error =
                Error::new(ErrorKind::Unsupported, "amqps needs a feature that is not compiled in");
            return Err(error.with("crate", "polywire-amqp").with("feature", "tls"));
        }
        let mut queues = Queues::default();
        queues.usual = queues.usual.kind(target.queue_kind.unwrap_or_default());
        let reply_mode = target.reply_mode.unwrap_or_default();
        let (held, unconfirmed) =
            (target.held.or(DEFAULT_HELD), target.unconfirmed.or(DEFAULT_UNCONFIRMED));
        let connect_timeout = target.uri.query.connection_timeout.map(Duration::from_millis);
        Ok(Self {
            config: Config {
                target,
                connect_timeout: connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
                confirm_timeout: DEFAULT_CONFIRM_TIMEOUT,
                limits: Limits { body_max: DEFAULT_BODY_MAX, ..Limits::default() },
                give_up_after: DEFAULT_GIVE_UP_AFTER,
                persistent: true,
                credentials: None,
                identify: true,
                queues,
                reply_mode,
                held,
                unconfirmed,
            },
        })
    }

    /// How long connecting may take in all: name, TCP, TLS, login. While the connection is lost, a
    /// message waits as long for the next one, if its deadline lets it. The default is 10 s;
    /// the URL's `connection_timeout`, in milliseconds, says the same.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How long the broker may take to confirm a message, before its sender hears that its fate is
    /// unknown. A message that has no deadline of its own is also held no longer than that,
    /// before it is sent. The default is 30 s.
    pub fn confirm_timeout(mut self, timeout: Duration) -> Self {
        self.config.confirm_timeout = timeout;
        self
    }

    /// After twice this time without a sign of life, a connection counts as lost, at either end. In
    /// whole seconds, and at least one. The default is 10 s, or the URL's `heartbeat`, in
    /// seconds; 0 there leaves it to the broker, whose own is 60 seconds as a rule.
    ///
    /// What is agreed with the broker is a third less than this, since RabbitMQ wants to hear
    /// nothing for up to three heartbeats before it acts; it may ask for less. One second is
    /// the exception: it cannot be made less, and the broker takes up to three.
    ///
    /// It bounds the pauses between two attempts to connect as well, if it is less than 5 s.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        let seconds = u16::try_from(interval.as_secs()).unwrap_or(u16::MAX);
        self.config.target.uri.query.heartbeat = Some(seconds.max(1));
        self
    }

    /// For how long the broker may refuse us, again and again, when a connection was lost, until
    /// the transport gives up and all its ends say [`ErrorKind::Denied`]. Until then it is
    /// asked again at growing intervals, with fresh [credentials](Self::credentials). The
    /// default is 2 minutes. A refusal at the first connection is told at once.
    pub fn give_up_after(mut self, refused: Duration) -> Self {
        self.config.give_up_after = refused;
        self
    }

    /// Bounds what a message may hold. The default is that of [`Limits`], but for bodies: they have
    /// 16 MiB, which is the `max_message_size` of RabbitMQ 4. A broker that takes less answers
    /// a larger message by closing the channel, which costs whatever else is on its way; so let
    /// these agree.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Whether what is sent is written to disk, to survive a restart of the broker. The default is
    /// yes.
    pub fn persistent(mut self, persistent: bool) -> Self {
        self.config.persistent = persistent;
        self
    }

    /// Which kind the queues of services, jobs and groups are of. The default is
    /// [`QueueKind::Classic`], or the URL's `queue_kind`: `classic` or `quorum`. A queue that
    /// is there and of the other kind is [`ErrorKind::Config`] from whatever opens an end of
    /// it.
    pub fn queue_kind(mut self, kind: QueueKind) -> Self {
        self.config.queues.usual = self.config.queues.usual.kind(kind);
        self
    }

    /// How the broker keeps the queues of services, jobs and groups, as far as nothing else is said
    /// about one. If it says no kind, the kind stays what it was. The default is
    /// [`QueueOptions::new`].
    pub fn queue_options(mut self, options: QueueOptions) -> Self {
        let kind = self.config.queues.usual.queue_kind();
        self.config.queues.usual = if options.has_kind() { options } else { options.kind(kind) };
        self
    }

    /// How the broker keeps the queue of one service; of the options for all, it has only the kind.
    pub fn service(
        mut self,
        service: impl TryInto<Address, Error: Into<Error>>,
        options: QueueOptions,
    ) -> Self {
        let name = service
            .try_into()
            .map_err(Into::into)
            .and_then(|service| Native.request_queue(&service));
        self.config.queues.set(name, options);
        self
    }

    /// How the broker keeps one queue of jobs; of the options for all, it has only the kind.
    pub fn jobs(
        mut self,
        queue: impl TryInto<Address, Error: Into<Error>>,
        options: QueueOptions,
    ) -> Self {
        let name = queue.try_into().map_err(Into::into).and_then(|queue| Native.job_queue(&queue));
        self.config.queues.set(name, options);
        self
    }

    /// How the broker keeps the queue of one group of subscribers; of the options for all, it has
    /// only the kind.
    pub fn group(
        mut self,
        channel: impl TryInto<Address, Error: Into<Error>>,
        group: impl TryInto<Address, Error: Into<Error>>,
        options: QueueOptions,
    ) -> Self {
        let name = channel.try_into().map_err(Into::into).and_then(|channel| {
            let group = group.try_into().map_err(Into::into)?;
            Native.group_queue(&channel, &group)
        });
        self.config.queues.set(name, options);
        self
    }

    /// How replies come back to those who call here. The default is [`ReplyMode::Queue`], or the
    /// URL's `reply_mode`: `queue` or `direct`. Servers answer either way.
    pub fn reply_mode(mut self, mode: ReplyMode) -> Self {
        self.config.reply_mode = mode;
        self
    }

    /// Bounds what is held to be sent later: while there is no connection, while the broker takes
    /// no messages because it runs out of memory or disk, and while too much is
    /// [unconfirmed](Self::unconfirmed). It is sent in the order in which it was handed over,
    /// before anything that is handed over later. What does not fit waits for room, in the same
    /// order.
    ///
    /// Nothing is lost silently: a message whose time is over while it is held fails, and is
    /// [unsent](Error::is_unsent). The default is 4,096 messages and 64 MiB; the URL's
    /// `held_messages` and `held_bytes` say the same. A message that is alone may be of any
    /// size.
    pub fn held(mut self, messages: usize, bytes: usize) -> Self {
        self.config.held = Bounds { messages, bytes };
        self
    }

    /// Bounds what is sent and not yet confirmed. What is beyond is [held](Self::held), so that a
    /// broker that is slow to confirm slows down those who send.
    ///
    /// The default is 4,096 messages and 64 MiB; the URL's `unconfirmed_messages` and
    /// `unconfirmed_bytes` say the same. A message that is alone may be of any size.
    pub fn unconfirmed(mut self, messages: usize, bytes: usize) -> Self {
        self.config.unconfirmed = Bounds { messages, bytes };
        self
    }

    /// Trusts the certificate authorities in this PEM file, and no others. The default is to trust
    /// those that the machine trusts; the URL's `cacertfile` says the same.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.target.ca_file = Some(path.into());
        self
    }

    /// Shows the broker the certificate in one PEM file, with the key in another, which may be the
    /// same. The URL's `certfile` and `keyfile` say the same. With `auth_mechanism=external` in
    /// the URL, the broker takes the user's name from it.
    pub fn certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.config.target.certificate_file = Some(certificate.into());
        self.config.target.key_file = Some(key.into());
        self
    }

    /// Asks for credentials each time that a connection is made, in place of those in the URL: for
    /// passwords that are changed, and tokens that expire. It has the connect time to answer;
    /// an error of its own counts as one of connecting.
    ///
    /// ```no_run
    /// # use polywire_amqp::{Amqp, Credentials};
    /// # async fn connect() -> polywire_core::Result<()> {
    /// let transport = Amqp::builder("amqp://rabbit.example.org")?
    ///     .credentials(|| async {
    ///         let token = std::fs::read_to_string("/run/secrets/token").unwrap_or_default();
    ///         Ok(Credentials::new("billing", token.trim()))
    ///     })
    ///     .connect()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn credentials<F, Fut>(mut self, ask: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credentials>> + Send + 'static,
    {
        self.config.credentials = Some(Provider::new(ask));
        self
    }

    /// Whether requests, jobs and events say which user sends them, so that a handler
    /// [knows](polywire_core::Context::peer). The broker checks it; see [`Amqp`] on who is
    /// taken for whom. The default is yes.
    ///
    /// No is for brokers that hand messages on to others as somebody else, who may not say this
    /// user's name: shovels.
    pub fn identify(mut self, identify: bool) -> Self {
        self.config.identify = identify;
        self
    }

    /// Connects.
    ///
    /// Dropping the future abandons the connection.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Disconnected`] if nobody answers in time, [`ErrorKind::Denied`] if the broker
    /// refuses the user or the virtual host, [`ErrorKind::Config`] if the certificates cannot
    /// be read. Each names the host and the port. [`ErrorKind::Config`] also if the options of
    /// a queue make no sense.
    pub async fn connect(self) -> Result<Amqp> {
        self.config.queues.check()?;
        Amqp::open(self.config).await
    }
}

impl Config {
    /// Whether what is sent is to say which user sends it. Where the broker takes the name from
    /// elsewhere than the credentials, it is only known if somebody has said it.
    pub(crate) fn identifies(&self) -> bool {
        let mechanism = self.target.uri.query.auth_mechanism.unwrap_or_default();
        let is_elsewhere = matches!(mechanism, SASLMechanism::External | SASLMechanism::Anonymous);
        self.identify && (!is_elsewhere || self.target.names_user || self.credentials.is_some())
    }
}

/// What belongs to nobody's eyes is left out: the user, the password, and the rest of the URL with
/// them.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("host", &self.target.host())
            .field("port", &self.target.port())
            .field("vhost", &self.target.uri.vhost)
            .field("encrypted", &self.target.is_encrypted())
            .field("connect_timeout", &self.connect_timeout)
            .field("limits", &self.limits)
            .field("persistent", &self.persistent)
            .field("queues", &self.queues)
            .field("reply_mode", &self.reply_mode)
            .field("held", &self.held)
            .field("unconfirmed", &self.unconfirmed)
            .finish_non_exhaustive()
    }
}

impl Limit {
    fn or(self, default: Bounds) -> Bounds {
        let Bounds { messages, bytes } = default;
        Bounds { messages: self.messages.unwrap_or(messages), bytes: self.bytes.unwrap_or(bytes) }
    }
}

const DEFAULT_BODY_MAX: usize = 16 << 20;
const DEFAULT_GIVE_UP_AFTER: Duration = Duration::from_mins(2);
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_HEARTBEAT_SECONDS: u16 = 10;
/// The bytes are those of the largest body that is allowed by default.
const DEFAULT_HELD: Bounds = Bounds { messages: 4096, bytes: 64 << 20 };
const DEFAULT_UNCONFIRMED: Bounds = Bounds { messages: 4096, bytes: 64 << 20 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_options_are_defaults_that_methods_override() {
        let config =
            AmqpBuilder::new("amqp://localhost?heartbeat=3&connection_timeout=500").unwrap().config;
        assert_eq!(config.target.uri.query.heartbeat, Some(3));
        assert_eq!(config.connect_timeout, Duration::from_millis(500));
        let builder = AmqpBuilder::new("amqp://localhost?heartbeat=3").unwrap();
        let config = builder.heartbeat(Duration::from_secs(5)).config;
        assert_eq!(config.target.uri.query.heartbeat, Some(5));
        assert_eq!(config.connect_timeout, DEFAULT_CONNECT_TIMEOUT);
    }

    #[test]
    fn queue_kinds_are_read_from_the_url() {
        let kind =
            |text| AmqpBuilder::new(text).map(|builder| builder.config.queues.usual.queue_kind());
        assert_eq!(kind("amqp://localhost").unwrap(), QueueKind::Classic);
        assert_eq!(kind("amqp://localhost?queue_kind=quorum").unwrap(), QueueKind::Quorum);
        let error = kind("amqp://localhost?queue_kind=stream").unwrap_err();
        assert_eq!(error.detail("option"), Some("queue_kind"));
    }

    #[test]
    fn bounds_and_reply_mode_are_read_from_the_url() {
        let config = AmqpBuilder::new("amqp://localhost?held_messages=7&unconfirmed_bytes=9")
            .unwrap()
            .config;
        assert_eq!(config.held, Bounds { messages: 7, ..DEFAULT_HELD });
        assert_eq!(config.unconfirmed, Bounds { bytes: 9, ..DEFAULT_UNCONFIRMED });
        assert_eq!(config.reply_mode, ReplyMode::Queue);
        let direct = AmqpBuilder::new("amqp://localhost?reply_mode=direct").unwrap().config;
        assert_eq!(direct.reply_mode, ReplyMode::Direct);
        let error = AmqpBuilder::new("amqp://localhost?reply_mode=pigeon").unwrap_err();
        assert_eq!(error.detail("option"), Some("reply_mode"));
    }

    #[test]
    fn debug_shows_no_password() {
        let shown =
            format!("{:?}", AmqpBuilder::new("amqp://user:hunter2@localhost/orders").unwrap());
        assert!(shown.contains("localhost") && shown.contains("orders"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn encryption_without_the_feature_names_it() {
        let error = AmqpBuilder::new("amqps://localhost").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.detail("feature"), Some("tls"));
    }
}
