//! Settings of a transport.
//!
//! The precedence is: builder method, URL parameter, default. [`AmqpBuilder`] writes into a
//! [`Config`] that a URL has filled; after connecting, the settings do not change.
//!
//! [`AmqpBuilder`]: crate::builder::AmqpBuilder

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use lapin::Connection;
use lapin::uri::SASLMechanism;
use polywire_core::{Address, Error, ErrorKind, Limits, Result};

use crate::batching::call_batching::CallBatching;
use crate::buffer_bounds::BufferBounds;
use crate::connection::connection_source::ConnectionSource;
use crate::connection::credentials::CredentialsProvider;
use crate::connection::heartbeat_interval::HeartbeatInterval;
use crate::consuming::reply_mode::ReplyMode;
use crate::topology::custom_topology::Topology;
use crate::topology::event_channel_exchanges::EventExchangeNames;
use crate::topology::options_by_queue::QueueSettings;
use crate::url::{BoundsOverride, ParsedUrl};

/// All settings of a transport, from its URL and its builder.
#[derive(Clone)]
pub(crate) struct Config {
    /// Brokers, user, virtual host, heartbeat, and the files for TLS.
    pub(crate) url: ParsedUrl,
    /// Source of the connections; the other settings of the URL apply in any case.
    pub(crate) connections: ConnectionSource,
    /// Time for each attempt to connect, for each setup, and for a buffered message without a
    /// connection.
    pub(crate) connect_timeout: Duration,
    /// Time for a confirm, and for a buffered message without a deadline.
    pub(crate) confirm_timeout: Duration,
    /// Limits of each message that is sent or received.
    pub(crate) limits: Limits,
    /// Time of consecutive refusals after which the transport reconnects no more.
    pub(crate) give_up_after: Duration,
    /// Interval at which subscribers check their exchanges and bindings.
    pub(crate) topology_check: Duration,
    /// Time for which a retry queue that expires stays without use, after its delay.
    pub(crate) retry_queue_expiry: Duration,
    /// Set if the broker writes messages to disk.
    pub(crate) persistent: bool,
    /// Name of the connections at the broker, before their roles. The default names the process.
    pub(crate) connection_name: Option<String>,
    /// Set if the transport publishes and consumes over the same connection.
    pub(crate) one_connection: bool,
    /// Function for the credentials, in place of those that the URL states.
    pub(crate) credentials: Option<CredentialsProvider>,
    /// Set if the builder allows the user's name in messages; see
    /// [`sends_user_id`](Self::sends_user_id).
    pub(crate) send_user_id: bool,
    /// Options of the service, job and group queues.
    pub(crate) queues: QueueSettings,
    /// Exchanges of the program's own, by channel.
    pub(crate) event_exchange_names: EventExchangeNames,
    /// Exchanges, queues and bindings of the program's own.
    pub(crate) topology: Topology,
    /// Way for replies to reach the requesters.
    pub(crate) reply_mode: ReplyMode,
    /// Batches of calls and replies.
    pub(crate) batching: CallBatching,
    /// Name of the client, which names its reply queue.
    pub(crate) client_name: Option<Result<Address>>,
    /// Size of the buffer for messages that cannot be sent now.
    pub(crate) publish_buffer: BufferBounds,
    /// Limit on the messages that are sent and not confirmed.
    pub(crate) unconfirmed_max: BufferBounds,
    /// Set if content headers reach the engine unchecked, in tests of its failures.
    pub(crate) unchecked_headers: bool,
}

impl Config {
    /// Parses a URL. Settings that the URL leaves out have their defaults.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a malformed URL, or a secret that cannot be read;
    /// [`ErrorKind::Unsupported`] for `amqps` without the feature `tls`.
    pub(crate) fn from_url(url: &str) -> Result<Self> {
        let url = ParsedUrl::parse(url)?;
        if url.is_encrypted() && !cfg!(feature = "tls") {
            let error = Error::new(
                ErrorKind::Unsupported,
                "cannot use amqps: the crate was compiled without TLS",
            );
            return Err(error.with("crate", "polywire-amqp").with("feature", "tls"));
        }
        let credentials = url.secrets.provider(&url.uri.authority.userinfo)?;
        Ok(Self::new(url, ConnectionSource::Url, credentials))
    }

    /// Returns the default settings of a transport over a connection of the program.
    pub(crate) fn over(connection: Arc<Connection>) -> Self {
        Self::new(ParsedUrl::of_program(), ConnectionSource::Given(connection), None)
    }

    fn new(
        url: ParsedUrl,
        connections: ConnectionSource,
        credentials: Option<CredentialsProvider>,
    ) -> Self {
        let mut queues = QueueSettings::default();
        queues.default = queues.default.kind(url.queue_kind.unwrap_or_default());
        let (reply_mode, batching) =
            (url.reply_mode.unwrap_or_default(), url.batching.unwrap_or_default());
        let one_connection = url.one_connection.unwrap_or_default();
        let connection_name = url.connection_name.clone();
        let client_name = url.client_name.clone().map(Address::new);
        let publish_buffer = url.publish_buffer.or(DEFAULT_PUBLISH_BUFFER);
        let unconfirmed_max = url.unconfirmed_max.or(DEFAULT_UNCONFIRMED_MAX);
        let connect_timeout = url.uri.query.connection_timeout.map(Duration::from_millis);
        Self {
            url,
            connections,
            connect_timeout: connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT),
            confirm_timeout: DEFAULT_CONFIRM_TIMEOUT,
            limits: Limits { body_max: DEFAULT_BODY_MAX, ..Limits::default() },
            give_up_after: DEFAULT_GIVE_UP_AFTER,
            topology_check: DEFAULT_TOPOLOGY_CHECK,
            retry_queue_expiry: DEFAULT_RETRY_QUEUE_EXPIRY,
            persistent: true,
            connection_name,
            one_connection,
            credentials,
            send_user_id: true,
            queues,
            event_exchange_names: EventExchangeNames::default(),
            topology: Topology::new(),
            reply_mode,
            batching,
            client_name,
            publish_buffer,
            unconfirmed_max,
            unchecked_headers: false,
        }
    }

    /// Checks the settings that have bounds, and the options of all queues.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with the setting, its value and its bounds.
    pub(crate) fn validate(&self) -> Result<()> {
        for (setting, time) in
            [("connect_timeout", self.connect_timeout), ("confirm_timeout", self.confirm_timeout)]
        {
            if time.as_millis() == 0 {
                return Err(out_of_bounds(setting, format!("{time:?}")).with("least", "1ms"));
            }
        }
        for (setting, time, bounds) in [
            ("topology_check", self.topology_check, TOPOLOGY_CHECKS),
            ("retry_queue_expiry", self.retry_queue_expiry, RETRY_QUEUE_EXPIRIES),
        ] {
            if !bounds.contains(&time) {
                return Err(out_of_bounds(setting, format!("{time:?}"))
                    .with("least", format!("{:?}", bounds.start()))
                    .with("most", format!("{:?}", bounds.end())));
            }
        }
        let query = &self.url.uri.query;
        for (setting, value, bounds) in [
            ("frame_max", query.frame_max, FRAMES),
            ("channel_max", query.channel_max.map(u32::from), CHANNELS),
        ] {
            if let Some(value) = value.filter(|value| *value != 0 && !bounds.contains(value)) {
                return Err(out_of_bounds(setting, value)
                    .with("least", bounds.start())
                    .with("most", bounds.end()));
            }
        }
        if let Some(name) = &self.client_name {
            let name =
                name.as_ref().map_err(|error| error.clone().with("setting", "client_name"))?;
            if self.reply_mode == ReplyMode::Direct {
                let error = invalid("cannot connect: direct replies have no queue to name");
                return Err(error.with("setting", "client_name").with("value", name));
            }
        }
        self.event_exchange_names.validate()?;
        self.topology.validate()?;
        self.queues.validate()
    }

    /// Returns the heartbeat of the URL or the builder.
    pub(crate) fn heartbeat(&self) -> HeartbeatInterval {
        HeartbeatInterval::seconds(
            self.url.uri.query.heartbeat.unwrap_or(DEFAULT_HEARTBEAT_SECONDS),
        )
    }

    /// Returns whether messages carry the user's name. Under the mechanisms EXTERNAL and ANONYMOUS,
    /// the broker chooses the name, so the URL or the credentials have to state it.
    pub(crate) fn sends_user_id(&self) -> bool {
        let mechanism = self.url.uri.query.auth_mechanism.unwrap_or_default();
        let broker_names_user =
            matches!(mechanism, SASLMechanism::External | SASLMechanism::Anonymous);
        self.send_user_id
            && (!broker_names_user || self.url.names_user || self.credentials.is_some())
    }
}

/// Shows no secret: the user, the password and the rest of the URL are left out.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("host", &self.url.host())
            .field("port", &self.url.port())
            .field("vhost", &self.url.uri.vhost)
            .field("encrypted", &self.url.is_encrypted())
            .field("connect_timeout", &self.connect_timeout)
            .field("limits", &self.limits)
            .field("persistent", &self.persistent)
            .field("queues", &self.queues)
            .field("reply_mode", &self.reply_mode)
            .field("connections", &self.connections)
            .field("one_connection", &self.one_connection)
            .field("publish_buffer", &self.publish_buffer)
            .field("unconfirmed_max", &self.unconfirmed_max)
            .finish_non_exhaustive()
    }
}

impl BoundsOverride {
    /// Fills the parts that the URL left out.
    fn or(self, default: BufferBounds) -> BufferBounds {
        let messages = self.messages.unwrap_or(default.messages);
        let bytes = self.bytes.unwrap_or(default.bytes);
        BufferBounds { messages, bytes }
    }
}

/// Returns the error of a setting that is out of bounds.
fn out_of_bounds(setting: &'static str, value: impl fmt::Display) -> Error {
    let error = invalid("cannot connect: the setting is out of bounds");
    error.with("setting", setting).with("value", value)
}

/// Returns the error of an invalid setting.
fn invalid(error: &'static str) -> Error {
    Error::new(ErrorKind::Config, error).unsent()
}

/// The bounds of `frame_max` in bytes; 0 stands for the default. AMQP has the smallest. The engine
/// allocates two buffers of 32 frames each for a connection.
const FRAMES: RangeInclusive<u32> = 4096..=1 << 20;
/// The bounds of `channel_max`; 0 stands for the most. One service with its clients, jobs and
/// events uses some eight channels.
const CHANNELS: RangeInclusive<u32> = 16..=u16::MAX as u32;
/// 16 MiB, the `max_message_size` of RabbitMQ 4.
const DEFAULT_BODY_MAX: usize = 16 << 20;
/// Long enough for a restart of an authentication backend.
const DEFAULT_GIVE_UP_AFTER: Duration = Duration::from_mins(2);
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);
/// Short enough to lose few events, and a few requests to the broker for each subscriber.
const DEFAULT_TOPOLOGY_CHECK: Duration = Duration::from_secs(5);
/// Bounds of the interval: more often would burden the broker, and less often would lose events.
const TOPOLOGY_CHECKS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// Rare enough declarations, and few retry queues that are left over.
const DEFAULT_RETRY_QUEUE_EXPIRY: Duration = Duration::from_mins(5);
/// Bounds of the expiry: the declarations that renew it come five times as often. With the longest
/// delay, the expiry has to fit in 32 bits of milliseconds.
const RETRY_QUEUE_EXPIRIES: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(24);
/// A lost connection is noticed within 20 s.
const DEFAULT_HEARTBEAT_SECONDS: u16 = 10;
/// Bytes for four bodies of the default maximum size.
const DEFAULT_PUBLISH_BUFFER: BufferBounds = BufferBounds { messages: 4096, bytes: 64 << 20 };
/// The same as the buffer, so that each of both holds a burst of equal size.
const DEFAULT_UNCONFIRMED_MAX: BufferBounds = BufferBounds { messages: 4096, bytes: 64 << 20 };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::queue_kind::QueueKind;

    #[test]
    fn url_parameters_override_defaults() {
        let config =
            Config::from_url("amqp://localhost?heartbeat=3&connection_timeout=500").unwrap();
        assert_eq!(config.url.uri.query.heartbeat, Some(3));
        assert_eq!(config.connect_timeout, Duration::from_millis(500));
        let config = Config::from_url("amqp://localhost?heartbeat=3").unwrap();
        assert_eq!(config.connect_timeout, DEFAULT_CONNECT_TIMEOUT);
    }

    #[test]
    fn queue_kind_is_read_from_the_url() {
        let kind = |text| Config::from_url(text).map(|config| config.queues.default.queue_kind());
        assert_eq!(kind("amqp://localhost").unwrap(), QueueKind::Classic);
        assert_eq!(kind("amqp://localhost?queue_kind=quorum").unwrap(), QueueKind::Quorum);
        let error = kind("amqp://localhost?queue_kind=stream").unwrap_err();
        assert_eq!(error.detail("option"), Some("queue_kind"));
    }

    #[test]
    fn bounds_and_reply_mode_are_read_from_the_url() {
        let config =
            Config::from_url("amqp://localhost?held_messages=7&unconfirmed_bytes=9").unwrap();
        assert_eq!(config.publish_buffer, BufferBounds { messages: 7, ..DEFAULT_PUBLISH_BUFFER });
        assert_eq!(config.unconfirmed_max, BufferBounds { bytes: 9, ..DEFAULT_UNCONFIRMED_MAX });
        assert_eq!(config.reply_mode, ReplyMode::Queue);
        let direct = Config::from_url("amqp://localhost?reply_mode=direct").unwrap();
        assert_eq!(direct.reply_mode, ReplyMode::Direct);
        let error = Config::from_url("amqp://localhost?reply_mode=pigeon").unwrap_err();
        assert_eq!(error.detail("option"), Some("reply_mode"));
        assert!(!config.one_connection);
        assert!(Config::from_url("amqp://localhost?connections=1").unwrap().one_connection);
        let error = Config::from_url("amqp://localhost?connections=3").unwrap_err();
        assert_eq!(error.detail("option"), Some("connections"));
    }

    #[test]
    fn debug_shows_no_password() {
        let shown =
            format!("{:?}", Config::from_url("amqp://user:hunter2@localhost/orders").unwrap());
        assert!(shown.contains("localhost") && shown.contains("orders"), "{shown}");
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn secret_that_cannot_be_read_is_named() {
        for (source, name) in [("file:/nonexistent/key", "file"), ("env:POLYWIRE_NONE", "variable")]
        {
            let url = format!("amqp://user@localhost?password={source}");
            let error = Config::from_url(&url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{source}");
            assert_eq!(error.detail(name), source.split_once(':').map(|(_, value)| value));
        }
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn encryption_without_the_feature_names_it() {
        let error = Config::from_url("amqps://localhost").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.detail("feature"), Some("tls"));
    }
}
