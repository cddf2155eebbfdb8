//! Builder of the transport.

use std::path::PathBuf;
use std::time::Duration;

#[cfg(doc)]
use polywire_core::ErrorKind;
use polywire_core::secret::SecretSource;
use polywire_core::{Address, Error, Limits, Result};

use crate::buffer_bounds::BufferBounds;
use crate::config::Config;
use crate::connection::credentials::{Credentials, CredentialsProvider};
use crate::consuming::reply_mode::ReplyMode;
use crate::topology::queue_kind::QueueKind;
use crate::topology::queue_options::QueueOptions;
use crate::wire::native;

/// Settings of an [`Amqp`](crate::Amqp) transport before it connects, from
/// [`Amqp::builder`](crate::Amqp::builder).
///
/// ```no_run
/// use polywire_amqp::Amqp;
/// use std::time::Duration;
///
/// # async fn connect() -> polywire_core::Result<()> {
/// let transport = Amqp::builder("amqps://user:secret@rabbit.example.org/orders")?
///     .connect_timeout(Duration::from_secs(3))
///     .ca_file("/etc/ssl/private-ca.pem")
///     .build()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is connected until `build` is awaited"]
pub struct AmqpBuilder {
    /// Settings so far.
    pub(crate) config: Config,
}

impl AmqpBuilder {
    /// Creates a builder from a URL, with the errors of [`Config::from_url`].
    pub(crate) fn new(url: &str) -> Result<Self> {
        Ok(Self { config: Config::from_url(url)? })
    }

    /// Sets the time for connecting: name resolution, TCP, TLS and login together.
    ///
    /// While the connection is lost, a buffered message waits as long for the next one, within its
    /// deadline. The default is 10 s, or the URL parameter `connection_timeout` in milliseconds.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// Sets the time for the broker to confirm a message. After that, sending fails with an unknown
    /// outcome. A message without a deadline also stays in the [buffer](Self::publish_buffer) no
    /// longer than that. The default is 30 s.
    pub fn confirm_timeout(mut self, timeout: Duration) -> Self {
        self.config.confirm_timeout = timeout;
        self
    }

    /// Sets the heartbeat, in whole seconds and at least 1 s. A connection that is silent for two
    /// heartbeats counts as lost, at either end.
    ///
    /// The default is 10 s, or the URL parameter `heartbeat` in seconds. `heartbeat=0` leaves the
    /// interval to the broker, which usually proposes 60 s.
    ///
    /// The interval that is negotiated with the broker is a third shorter, since RabbitMQ reacts
    /// only after up to three silent intervals. The broker may ask for less. The exception is 1 s:
    /// AMQP has no shorter interval, so the broker may take up to 3 s.
    ///
    /// A heartbeat below 5 s also limits the pauses between two attempts to reconnect.
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        let seconds = u16::try_from(interval.as_secs()).unwrap_or(u16::MAX);
        self.config.url.uri.query.heartbeat = Some(seconds.max(1));
        self
    }

    /// Sets how long a transport that has lost its connection goes on while the broker refuses each
    /// attempt.
    ///
    /// Until then, the transport retries at growing intervals, with fresh
    /// [credentials](Self::credentials). After that, all its endpoint handles fail with
    /// [`ErrorKind::Denied`]. The default is 2 minutes. A refusal of the very first connection
    /// fails at once. The same time holds for a single queue: one that the user may no longer
    /// consume, or that has other options now, ends its endpoint handle; a reply queue fails all
    /// calls. A queue that is missing, or whose node is down, is tried again without a limit.
    pub fn give_up_after(mut self, refused: Duration) -> Self {
        self.config.give_up_after = refused;
        self
    }

    /// Sets the interval at which subscribers check their exchanges and bindings, from 1 second to
    /// 1 hour. The default is 5 seconds.
    ///
    /// A program or an operator may delete an exchange while publishers and subscribers use it. The
    /// bindings are deleted with the exchange. A subscriber then declares both again, and receives
    /// a [`Disconnected`](ErrorKind::Disconnected) error: events may have been missed.
    ///
    /// Single bindings that another program has removed are added again, without an error. In a
    /// group, they stay removed once a member has removed a filter, since the bindings belong to
    /// all members.
    ///
    /// A publisher whose exchange is missing waits for so long until a subscriber declares the
    /// exchange, and declares it itself after that. So all programs that use a channel should have
    /// the same interval.
    ///
    /// [`build`](Self::build) fails with [`ErrorKind::Config`] if the interval is out of bounds.
    pub fn topology_check(mut self, interval: Duration) -> Self {
        self.config.topology_check = interval;
        self
    }

    /// Sets for how long an unused retry queue stays after its delay, from 1 second to 1 day. The
    /// default is 5 minutes.
    ///
    /// A job waits for its retry in a queue for that delay. Such a queue of a classic queue expires
    /// when no job has been sent to it for so long. Such a queue of a quorum queue never expires:
    /// RabbitMQ does not renew the expiry of a quorum queue that is in use without consumers, and
    /// would delete the waiting jobs with it.
    ///
    /// All programs that use a queue need the same value, since it is an argument of the queue.
    /// [`build`](Self::build) fails with [`ErrorKind::Config`] if the value is out of bounds.
    pub fn retry_queue_expiry(mut self, unused: Duration) -> Self {
        self.config.retry_queue_expiry = unused;
        self
    }

    /// Sets the limits of a message. The default is that of [`Limits`], except for bodies: 16 MiB,
    /// the `max_message_size` of RabbitMQ 4.
    ///
    /// Keep the limit at or below the broker's. A broker with a lower limit answers a larger
    /// message by closing its channel. A message that is larger than 1 MiB and than all that were
    /// sent before is sent on a channel of its own, so that a refusal concerns no other message.
    /// With [direct](ReplyMode::Direct) replies, all messages under way on the channel are lost.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Sets whether the broker writes messages to disk, so that they survive its restart. The
    /// default is true.
    pub fn persistent(mut self, persistent: bool) -> Self {
        self.config.persistent = persistent;
        self
    }

    /// Sets the kind of the service, job and group queues.
    ///
    /// The default is [`QueueKind::Classic`], or the URL parameter `queue_kind` (`classic` or
    /// `quorum`). If a queue exists with the other kind, opening an endpoint handle fails with
    /// [`ErrorKind::Config`].
    pub fn queue_kind(mut self, kind: QueueKind) -> Self {
        self.config.queues.default = self.config.queues.default.kind(kind);
        self
    }

    /// Sets the options of all service, job and group queues that have none of their own. Options
    /// without a kind keep the kind that is set. The default is [`QueueOptions::new`].
    pub fn queue_options(mut self, options: QueueOptions) -> Self {
        let kind = self.config.queues.default.queue_kind();
        self.config.queues.default = if options.has_kind() { options } else { options.kind(kind) };
        self
    }

    /// Sets the options of the queue of one service. They replace the options for all queues,
    /// except for the kind. [`build`](Self::build) reports an invalid name.
    pub fn service_queue(
        mut self,
        service: impl TryInto<Address, Error: Into<Error>>,
        options: QueueOptions,
    ) -> Self {
        let name = service
            .try_into()
            .map_err(Into::into)
            .and_then(|service| native::request_queue(&service));
        self.config.queues.set(name, options);
        self
    }

    /// Sets the options of one job queue. They replace the options for all queues, except for the
    /// kind. [`build`](Self::build) reports an invalid name.
    pub fn job_queue(
        mut self,
        queue: impl TryInto<Address, Error: Into<Error>>,
        options: QueueOptions,
    ) -> Self {
        let name = queue.try_into().map_err(Into::into).and_then(|queue| native::job_queue(&queue));
        self.config.queues.set(name, options);
        self
    }

    /// Sets the options of the queue of one group of subscribers. They replace the options for all
    /// queues, except for the kind. [`build`](Self::build) reports an invalid name.
    pub fn group_queue(
        mut self,
        channel: impl TryInto<Address, Error: Into<Error>>,
        group: impl TryInto<Address, Error: Into<Error>>,
        options: QueueOptions,
    ) -> Self {
        let name = channel.try_into().map_err(Into::into).and_then(|channel| {
            let group = group.try_into().map_err(Into::into)?;
            native::group_queue(&channel, &group)
        });
        self.config.queues.set(name, options);
        self
    }

    /// Sets how replies reach the clients of this transport. The default is [`ReplyMode::Queue`],
    /// or the URL parameter `reply_mode` (`queue` or `direct`). Servers reply either way.
    pub fn reply_mode(mut self, mode: ReplyMode) -> Self {
        self.config.reply_mode = mode;
        self
    }

    /// Sets a name that this client keeps across restarts: its reply queue has the name, so that
    /// the next process finds the same queue. The default is a queue with a random name for each
    /// transport. The URL parameter `client_name` does the same.
    ///
    /// Replies to calls of an earlier process are dropped, and counted in the log. The queue stays
    /// when the transport closes, and expires after 5 minutes without it. A second client by the
    /// same name is refused with [`ErrorKind::Denied`] when it opens its first endpoint handle,
    /// also while the broker has not noticed that a process was killed. [`build`](Self::build)
    /// fails with [`ErrorKind::Config`] if the name is no address, and with direct replies.
    pub fn client_name(mut self, name: impl TryInto<Address, Error: Into<Error>>) -> Self {
        self.config.client_name = Some(name.try_into().map_err(Into::into));
        self
    }

    /// Sets the name of the connections at the broker, where operators read it. The role follows
    /// the name. The default is `polywire` and the number of the process, or the URL parameter
    /// `connection_name`.
    pub fn connection_name(mut self, name: impl Into<String>) -> Self {
        self.config.connection_name = Some(name.into());
        self
    }

    /// Sets whether the transport has one connection in place of two, for brokers that count them.
    /// The default is false, or the URL parameter `connections` (`1` or `2`).
    ///
    /// The broker stops reading from a connection that publishes while it is out of memory or disk.
    /// With one connection, that also keeps back acknowledgements and declarations, so consumers
    /// stop at their windows, and endpoint handles cannot be opened until the alarm ends.
    pub fn one_connection(mut self, one: bool) -> Self {
        self.config.one_connection = one;
        self
    }

    /// Sets the size of the publish buffer.
    ///
    /// Messages are buffered while there is no connection, while the broker runs out of memory or
    /// disk, and while too many messages are [unconfirmed](Self::unconfirmed_max). They are sent in
    /// order, before all later messages. When the buffer is full, senders wait for room, in the
    /// same order.
    ///
    /// No message is lost silently. A message that times out in the buffer fails, and its error is
    /// [unsent](Error::is_unsent). The default is 4,096 messages and 64 MiB, or the URL parameters
    /// `held_messages` and `held_bytes`. A single message may be of any size.
    pub fn publish_buffer(mut self, messages: usize, bytes: usize) -> Self {
        self.config.publish_buffer = BufferBounds { messages, bytes };
        self
    }

    /// Limits the messages that are sent and not yet confirmed. Messages beyond the limit are
    /// [buffered](Self::publish_buffer), so that a slow broker slows the senders down.
    ///
    /// The default is 4,096 messages and 64 MiB, or the URL parameters `unconfirmed_messages` and
    /// `unconfirmed_bytes`. A single message may be of any size.
    pub fn unconfirmed_max(mut self, messages: usize, bytes: usize) -> Self {
        self.config.unconfirmed_max = BufferBounds { messages, bytes };
        self
    }

    /// Sets a PEM file of certificate authorities, the only ones that the transport trusts. The
    /// default is the trust store of the operating system, or the URL parameter `cacertfile`.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.config.url.ca_file = Some(path.into());
        self
    }

    /// Sets the client certificate and its key (UTF-8, 1 MiB at most), as PEM files. Both may be in
    /// one file. The URL parameters `certfile` and `keyfile` do the same. With
    /// `auth_mechanism=external` in the URL, the broker takes the user's name from the certificate.
    pub fn certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.config.url.certificate_file = Some(certificate.into());
        self.config.url.key = Some(SecretSource::File(key.into()));
        self
    }

    /// Sets a function that returns the credentials for each new connection, in place of those in
    /// the URL: for passwords that change, and tokens that expire. The function has the connect
    /// timeout to answer. Its error fails the attempt to connect.
    ///
    /// ```no_run
    /// # use polywire_amqp::{Amqp, Credentials};
    /// # async fn connect() -> polywire_core::Result<()> {
    /// let transport = Amqp::builder("amqp://rabbit.example.org")?
    ///     .credentials(|| async {
    ///         let token = std::fs::read_to_string("/run/secrets/token").unwrap_or_default();
    ///         Ok(Credentials::new("billing", token.trim()))
    ///     })
    ///     .build()
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn credentials<F, Fut>(mut self, provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credentials>> + Send + 'static,
    {
        self.config.credentials = Some(CredentialsProvider::new(provider));
        self
    }

    /// Sets whether requests, jobs and events carry the user's name, which the broker verifies. A
    /// handler reads the name with [`Context::peer`](polywire_core::Context::peer).
    /// [Verified users](crate::Amqp#verified-users) lists the cases without a name. The default is
    /// true.
    ///
    /// Set to false for messages that a shovel moves on as another user: the receiving broker would
    /// deny the name of this user.
    pub fn send_user_id(mut self, send: bool) -> Self {
        self.config.send_user_id = send;
        self
    }

    /// Lets content headers reach the engine unchecked, so that a test can make it fail.
    #[doc(hidden)]
    pub fn unchecked_headers(mut self, unchecked: bool) -> Self {
        self.config.unchecked_headers = unchecked;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_override_url_parameters() {
        let builder = AmqpBuilder::new("amqp://localhost?heartbeat=3&reply_mode=direct").unwrap();
        let builder = builder.heartbeat(Duration::from_secs(5)).reply_mode(ReplyMode::Queue);
        assert_eq!(builder.config.url.uri.query.heartbeat, Some(5));
        assert_eq!(builder.config.reply_mode, ReplyMode::Queue);
    }
}
