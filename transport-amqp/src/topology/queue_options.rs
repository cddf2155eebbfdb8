//! Options of a queue, as data.

use std::time::Duration;

#[cfg(doc)]
use polywire_core::ErrorKind;

use crate::topology::queue_kind::QueueKind;

/// Options of a service, job or group queue: kind, limits, overflow, dead-lettering.
///
/// [`AmqpBuilder::queue_options`](crate::AmqpBuilder::queue_options) sets them for all queues;
/// [`service_queue`](crate::AmqpBuilder::service_queue),
/// [`job_queue`](crate::AmqpBuilder::job_queue) and
/// [`group_queue`](crate::AmqpBuilder::group_queue) set them for one. By default, nothing is
/// limited.
///
/// All programs that use a queue have to ask for the same options. If a queue exists with other
/// options, opening an endpoint handle fails with [`ErrorKind::Config`]. The details of the error
/// name the `argument`, the value of this program (`ours`) and that of the broker (`theirs`).
///
/// ```
/// use polywire_amqp::{Amqp, QueueKind, QueueOptions, QueueOverflow};
/// use std::time::Duration;
///
/// # fn set_up() -> polywire_core::Result<()> {
/// let builder = Amqp::builder("amqp://localhost")?
///     .job_queue("payments", QueueOptions::new().kind(QueueKind::Quorum).delivery_limit(10))
///     .job_queue(
///         "thumbnails",
///         QueueOptions::new().length(10_000, QueueOverflow::Reject).priorities(5),
///     )
///     .service_queue("quotes", QueueOptions::new().message_ttl(Duration::from_secs(5)));
/// # let _ = builder;
/// # Ok(())
/// # }
/// # set_up().unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct QueueOptions {
    /// Name of the queue at the broker; that of the wire format if not set.
    pub(super) name: Option<String>,
    /// `x-queue-type`; the kind of the builder if not set.
    kind: Option<QueueKind>,
    /// `x-delivery-limit`
    pub(super) delivery_limit: Option<u32>,
    /// Dead-lettering by the broker.
    dead_letters: bool,
    /// `x-max-length` of the dead-letter queue.
    pub(super) dead_letters_max: Option<u64>,
    /// `x-max-priority`
    pub(super) priorities: Option<u8>,
    /// `x-message-ttl`
    pub(super) message_ttl: Option<Duration>,
    /// `x-max-length`
    pub(super) length: Option<u64>,
    /// `x-max-length-bytes`
    pub(super) bytes: Option<u64>,
    /// `x-overflow`
    pub(super) overflow: Option<QueueOverflow>,
    /// `x-queue-mode`
    pub(super) lazy: bool,
    /// `x-expires`
    pub(super) expires: Option<Duration>,
    /// Check for existence in place of a declaration.
    passive: bool,
}

/// Policy of the broker for a message beyond the limits of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueOverflow {
    /// The broker drops the oldest message.
    ///
    /// With [`dead_letters`](QueueOptions::dead_letters), the broker dead-letters the message in
    /// place of dropping it.
    DropOldest,
    /// The broker rejects the new message. Pushing a job or making a call fails with
    /// [`ErrorKind::Overloaded`]. Publishing an event fails with [`ErrorKind::Rejected`], since a
    /// publisher does not know the queues behind the exchange.
    Reject,
}

impl QueueOptions {
    /// Creates options without any limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the kind of the queue. The default is the kind of the
    /// [builder](crate::AmqpBuilder::queue_kind).
    pub fn kind(self, kind: QueueKind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Sets the name of the queue at the broker, for the queue of one service, job queue or group.
    /// The default begins with `polywire.`.
    ///
    /// All programs of the queue have to set the same name. Add [`passive`](Self::passive) for a
    /// queue that another program declares, or a [`Topology`](crate::Topology) of this one. The
    /// dead-letter queue of a queue NAME is `polywire.dead..NAME`.
    ///
    /// The name must not be empty, and must not begin with `polywire.` or `amq.gen`. AMQP allows
    /// 255 bytes. The options of all queues cannot have a name.
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Sets how often a message may be redelivered before it is
    /// [dead-lettered](Self::dead_letters). For quorum queues only.
    ///
    /// Consumers apply the limit to jobs and events that a handler dropped or requeued, and to
    /// [suspects](crate::Amqp#suspects), with at least two crashes of each. A worker counts by
    /// itself what it requeues with its [retries](polywire_core::Retries). The broker applies the
    /// limit to requests, and its own default to a queue without a limit: none before RabbitMQ 4,
    /// then 20.
    ///
    /// The limit is at least 1. The option turns on [`dead_letters`](Self::dead_letters) as well.
    pub fn delivery_limit(self, deliveries: u32) -> Self {
        Self { delivery_limit: Some(deliveries), dead_letters: true, ..self }
    }

    /// Lets the broker dead-letter each message that it removes by itself: expired messages,
    /// messages over the delivery limit, and messages over the length limit. The default is to drop
    /// them. Workers dead-letter failed jobs in any case.
    pub fn dead_letters(self) -> Self {
        Self { dead_letters: true, ..self }
    }

    /// Limits the number of dead letters of this queue. The broker drops the oldest beyond the
    /// limit. The default is no limit, so that no dead letter is dropped unseen.
    ///
    /// The limit belongs to the dead-letter queue, so each program that opens the dead letters has
    /// to set the same limit. A broker policy can limit them at any time:
    /// `rabbitmqctl set_policy --apply-to queues dead '^polywire\.dead\.' '{"max-length": 10000}'`.
    ///
    /// The least limit is 1.
    pub fn dead_letters_max(self, messages: u64) -> Self {
        Self { dead_letters_max: Some(messages), ..self }
    }

    /// Enables [priorities](polywire_core::Message::priority) from 0 to `highest`. A higher
    /// priority counts as `highest`. Each level costs the broker memory, and a few suffice. The
    /// default is none.
    ///
    /// A quorum queue has its own levels, independent of `highest`, and has none before RabbitMQ
    /// 4.0: opening an endpoint handle then fails with [`ErrorKind::Config`]. RabbitMQ 4.0 to 4.2
    /// know two levels, 0 to 4 and above, and deliver two urgent messages for each other one.
    /// From 4.3 on there are 32 levels, and a higher one goes first. Jobs and requests without a
    /// priority are sent with 0, as such a queue takes a message without the property for a more
    /// urgent one.
    pub fn priorities(self, highest: u8) -> Self {
        Self { priorities: Some(highest), ..self }
    }

    /// Sets how long a message waits for a consumer before the broker removes the message. The
    /// default is no limit.
    ///
    /// The longest time is about 49 days, 32 bits of milliseconds.
    pub fn message_ttl(self, ttl: Duration) -> Self {
        Self { message_ttl: Some(ttl), ..self }
    }

    /// Limits the number of messages in the queue, and sets what happens beyond the limit. The
    /// default is no limit.
    ///
    /// The least limit is 1. If [`bytes`](Self::bytes) is set as well, the policy of the later call
    /// holds for both limits.
    pub fn length(self, messages: u64, overflow: QueueOverflow) -> Self {
        Self { length: Some(messages), overflow: Some(overflow), ..self }
    }

    /// Limits the total size of the bodies in the queue, and sets what happens beyond the limit.
    /// The default is no limit.
    ///
    /// The least limit is 1. If [`length`](Self::length) is set as well, the policy of the later
    /// call holds for both limits.
    pub fn bytes(self, bytes: u64, overflow: QueueOverflow) -> Self {
        Self { bytes: Some(bytes), overflow: Some(overflow), ..self }
    }

    /// Keeps messages on disk only, as far as the broker can. For classic queues before RabbitMQ
    /// 3.12; later brokers, and all quorum queues, do so without the option. The argument is sent
    /// to all versions: brokers of all versions compare it, and would refuse a queue of before
    /// their upgrade.
    ///
    /// With a quorum queue, the option is an error.
    pub fn lazy(self) -> Self {
        Self { lazy: true, ..self }
    }

    /// Lets the broker delete the queue, with its messages, after so long without a consumer. The
    /// default is never; for the queue of a group that is not durable, 60 seconds.
    ///
    /// The time is at least 1 ms, and about 49 days at most.
    pub fn expires(self, unused: Duration) -> Self {
        Self { expires: Some(unused), ..self }
    }

    /// Declares nothing: the queue has to exist already, and may have any arguments.
    ///
    /// Opening an endpoint handle on a missing queue fails with [`ErrorKind::Config`]. The other
    /// options have to match the queue, since redelivery relies on them.
    /// [Suspects](crate::Amqp#suspects) are not isolated: each redelivery counts as an attempt.
    /// [Retry and dead-letter queues](crate::Amqp) are declared as usual, when a message has to go
    /// there.
    pub fn passive(self) -> Self {
        Self { passive: true, ..self }
    }
}

/// Values that the crate derives from the options.
impl QueueOptions {
    /// Returns whether the options set a kind.
    pub(crate) fn has_kind(&self) -> bool {
        self.kind.is_some()
    }

    /// Returns the kind, or the default kind if none is set.
    pub(crate) fn queue_kind(&self) -> QueueKind {
        self.kind.unwrap_or_default()
    }

    /// Returns whether the broker dead-letters the messages that it removes or that are rejected.
    pub(crate) fn is_dead_lettering(&self) -> bool {
        self.dead_letters
    }

    /// Returns whether the queue rejects new messages when it is full.
    pub(crate) fn rejects_overflow(&self) -> bool {
        self.overflow == Some(QueueOverflow::Reject)
    }

    /// Returns the deliveries after which a message is dead-lettered, if that is limited.
    pub(crate) fn deliveries_max(&self) -> Option<u32> {
        self.delivery_limit.map(|redeliveries| redeliveries.saturating_add(1))
    }

    /// Returns the priority of a message that has none. A quorum queue of RabbitMQ 4.3 delivers a
    /// message without the property before one of priority 3.
    pub(crate) fn default_priority(&self) -> Option<u8> {
        self.priorities.filter(|_| self.queue_kind() == QueueKind::Quorum).map(|_| 0)
    }

    /// Returns whether the queue is checked and not declared.
    pub(crate) fn is_passive(&self) -> bool {
        self.passive
    }

    /// Returns the options of the dead-letter queue for a queue with these options.
    pub(super) fn for_dead_letters(&self) -> Self {
        // A session requeues each dead letter that it only reads, and RabbitMQ 4 drops a message
        // that was redelivered 20 times.
        let options = Self::new().kind(self.queue_kind()).without_delivery_limit();
        match self.dead_letters_max {
            Some(messages) => options.length(messages, QueueOverflow::DropOldest),
            None => options,
        }
    }

    /// Returns the options of the queue of suspects for a queue with these options: the same,
    /// without limits, since the windows of the consumers bound the suspects.
    pub(super) fn for_suspects(&self) -> Self {
        let unlimited = Self { length: None, bytes: None, overflow: None, ..self.clone() };
        Self { delivery_limit: None, ..unlimited }.without_delivery_limit()
    }

    /// Returns whether the options are a name and a kind at most.
    pub(super) fn has_no_limits(&self) -> bool {
        *self == Self { name: self.name.clone(), kind: self.kind, ..Self::new() }
    }

    /// Returns the options of the queue of batches for a queue with these options.
    pub(super) fn for_batches(&self) -> Self {
        let options = Self::new().kind(self.queue_kind()).expires(BATCHES_EXPIRE);
        options.without_delivery_limit()
    }

    /// Lifts the delivery limit, including the broker's default.
    fn without_delivery_limit(self) -> Self {
        match self.queue_kind() {
            // Recent brokers accept -1 for no limit; earlier ones do not.
            QueueKind::Quorum => Self { delivery_limit: Some(i32::MAX.unsigned_abs()), ..self },
            QueueKind::Classic => self,
        }
    }

    /// Sets the expiry, unless one is set.
    pub(super) fn expires_by_default(self, unused: Duration) -> Self {
        Self { expires: self.expires.or(Some(unused)), ..self }
    }
}

/// Expiry of a queue of batches without a consumer. Calls that may wait for more than four minutes
/// join no batch.
const BATCHES_EXPIRE: Duration = Duration::from_mins(5);
