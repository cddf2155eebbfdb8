//! How the broker is to keep a queue, as data.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable, ShortString};
use polywire_core::{Error, ErrorKind, Result};

use crate::QueueKind;

/// How the broker keeps a queue of a service, of jobs or of a group: its kind, its limits, what
/// becomes of what they strike.
///
/// Given to [`AmqpBuilder::queue_options`](crate::AmqpBuilder::queue_options) for all queues, or to
/// [`service`](crate::AmqpBuilder::service), [`jobs`](crate::AmqpBuilder::jobs) and
/// [`group`](crate::AmqpBuilder::group) for one. All who use a queue have to ask for the same; one
/// that is there with other options is [`ErrorKind::Config`] from whatever opens an end of it, with
/// the `argument`, what is `ours` and what is `theirs` in its details. By default nothing is
/// limited.
///
/// ```
/// use std::time::Duration;
/// use polywire_amqp::{Amqp, QueueKind, QueueOptions, QueueOverflow};
///
/// # fn set_up() -> polywire_core::Result<()> {
/// let builder = Amqp::builder("amqp://localhost")?
///     .jobs("payments", QueueOptions::new().kind(QueueKind::Quorum).delivery_limit(10))
///     .jobs("thumbnails", QueueOptions::new().length(10_000, QueueOverflow::Reject).priorities(5))
///     .service("quotes", QueueOptions::new().message_ttl(Duration::from_secs(5)));
/// # let _ = builder;
/// # Ok(())
/// # }
/// # set_up().unwrap();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "options do nothing by themselves"]
pub struct QueueOptions {
    kind: Option<QueueKind>,
    delivery_limit: Option<u32>,
    dead_letters: bool,
    dead_letters_max: Option<u64>,
    priorities: Option<u8>,
    message_ttl: Option<Duration>,
    length: Option<u64>,
    bytes: Option<u64>,
    overflow: Option<QueueOverflow>,
    lazy: bool,
    expires: Option<Duration>,
    passive: bool,
}

/// What the broker does when one more message comes than a queue may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueOverflow {
    /// It lets go of the oldest one.
    DropOldest,
    /// It refuses the new one: whoever pushes a job or makes a call gets [`ErrorKind::Overloaded`],
    /// and whoever publishes an event, not knowing the queues that it is for,
    /// [`ErrorKind::Rejected`].
    Reject,
}

impl QueueOptions {
    /// Nothing in particular.
    pub fn new() -> Self {
        Self::default()
    }

    /// The kind of the queue. The default is the [builder's](crate::AmqpBuilder::queue_kind).
    pub fn kind(self, kind: QueueKind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// How often a message may come back before the broker takes it out by itself, and puts it
    /// among the [dead letters](Self::dead_letters); for quorum queues only. It counts what
    /// comes back because a process or a connection ended, and what a handler dropped; what a
    /// worker gives back with its [retries](polywire_core::Retries) is counted by the worker.
    /// The default is the broker's: none before RabbitMQ 4, then 20.
    pub fn delivery_limit(self, deliveries: u32) -> Self {
        Self { delivery_limit: Some(deliveries), dead_letters: true, ..self }
    }

    /// Lets the broker put among the dead letters whatever it takes out by itself: what was there
    /// too long, came back too often, or was one too many. The default is to let go of it.
    /// Workers put there what fails for good in any case.
    pub fn dead_letters(self) -> Self {
        Self { dead_letters: true, ..self }
    }

    /// How many of its dead letters are kept, whoever put them there; when there are more, the
    /// oldest is let go. It is a bound of the queue that they are in, so that whoever looks
    /// after them has to ask for the same. The default is none, since what died is the last
    /// thing to be thrown away unseen; a policy of the broker's can set one at any time
    /// (`rabbitmqctl set_policy --apply-to queues dead '^polywire\.dead\.' '{"max-length":
    /// 10000}'`).
    pub fn dead_letters_max(self, messages: u64) -> Self {
        Self { dead_letters_max: Some(messages), ..self }
    }

    /// From how many levels messages may have their [priority](polywire_core::Message::priority),
    /// counted from 0; what is higher counts as the highest. For classic queues only, and a few
    /// suffice: each costs the broker memory. The default is none.
    pub fn priorities(self, highest: u8) -> Self {
        Self { priorities: Some(highest), ..self }
    }

    /// How long a message waits for somebody to take it, before the broker lets go of it. The
    /// default is for ever.
    pub fn message_ttl(self, ttl: Duration) -> Self {
        Self { message_ttl: Some(ttl), ..self }
    }

    /// How many messages may wait, and what becomes of one too many. The default is any number.
    pub fn length(self, messages: u64, overflow: QueueOverflow) -> Self {
        Self { length: Some(messages), overflow: Some(overflow), ..self }
    }

    /// How many bytes of bodies may wait, and what becomes of one too many. The default is any
    /// number.
    pub fn bytes(self, bytes: u64, overflow: QueueOverflow) -> Self {
        Self { bytes: Some(bytes), overflow: Some(overflow), ..self }
    }

    /// Keeps messages on disk alone, as far as that goes. Quorum queues, and from RabbitMQ 3.12 on
    /// all, do so without being asked: it is for older classic ones.
    pub fn lazy(self) -> Self {
        Self { lazy: true, ..self }
    }

    /// Takes the queue away when nobody has consumed it for so long, with what is in it. The
    /// default is never, and for a group that is not durable 60 seconds.
    pub fn expires(self, unused: Duration) -> Self {
        Self { expires: Some(unused), ..self }
    }

    /// Makes nothing: a queue that is missing is [`ErrorKind::Config`] from whatever opens an end
    /// of it, and one that is there is taken as it is. What was said besides has to be true,
    /// since what is given back relies on it. The queues for [what waits and what is
    /// dead](crate::Amqp) are made all the same, when there is something to put into them.
    pub fn passive(self) -> Self {
        Self { passive: true, ..self }
    }

    /// Refuses what RabbitMQ would refuse, warn of, or silently not do.
    pub(crate) fn check(&self) -> Result<()> {
        let is_quorum = self.queue_kind() == QueueKind::Quorum;
        let faults = [
            (
                is_quorum && self.priorities.is_some(),
                "a quorum queue takes no number of priorities",
            ),
            (
                is_quorum && self.lazy,
                "a quorum queue is lazy without being asked, and takes no such option",
            ),
            (
                !is_quorum && self.delivery_limit.is_some(),
                "only a quorum queue counts deliveries to limit them",
            ),
            (self.delivery_limit == Some(0), "a delivery limit is at least 1"),
            (self.priorities == Some(0), "priorities have at least the levels 0 and 1"),
            (
                [self.length, self.bytes, self.dead_letters_max].contains(&Some(0)),
                "a queue that may hold nothing is of no use",
            ),
            (
                self.expires.is_some_and(|after| after.as_millis() == 0),
                "a queue cannot expire at once",
            ),
            (
                [self.expires, self.message_ttl].iter().flatten().any(|time| *time > TIME_MAX),
                "a time is longer than AMQP has room for",
            ),
        ];
        match faults.into_iter().find(|(is_so, _)| *is_so) {
            Some((_, fault)) => Err(Error::new(ErrorKind::Config, fault).unsent()),
            None => Ok(()),
        }
    }

    pub(crate) fn has_kind(&self) -> bool {
        self.kind.is_some()
    }

    pub(crate) fn queue_kind(&self) -> QueueKind {
        self.kind.unwrap_or_default()
    }

    /// Whether the broker puts what it takes out among the dead letters.
    pub(crate) fn buries(&self) -> bool {
        self.dead_letters
    }

    /// How the broker keeps the dead letters of such a queue.
    pub(crate) fn of_dead_letters(&self) -> Self {
        // Whoever looks at a dead letter gives it back: from version 4 on, RabbitMQ would let go of
        // it for that.
        let options = Self::new().kind(self.queue_kind()).any_deliveries();
        match self.dead_letters_max {
            Some(messages) => options.length(messages, QueueOverflow::DropOldest),
            None => options,
        }
    }

    pub(crate) fn rejects(&self) -> bool {
        self.overflow == Some(QueueOverflow::Reject)
    }

    pub(crate) fn is_passive(&self) -> bool {
        self.passive
    }

    /// No limit to deliveries, also where the broker has one.
    pub(crate) fn any_deliveries(self) -> Self {
        match self.queue_kind() {
            // What -1 says in new versions, old ones do not understand.
            QueueKind::Quorum => Self { delivery_limit: Some(i32::MAX.unsigned_abs()), ..self },
            QueueKind::Classic => self,
        }
    }

    pub(crate) fn expires_by_default(self, unused: Duration) -> Self {
        Self { expires: self.expires.or(Some(unused)), ..self }
    }

    /// What the broker is told, if what it takes out goes to this queue.
    pub(crate) fn arguments(&self, dead: Option<&ShortString>) -> FieldTable {
        let mut arguments = FieldTable::default();
        let mut set = |name: &'static str, value| {
            arguments.insert(name.into(), value);
        };
        if let Some(kind) = self.queue_kind().argument() {
            set("x-queue-type", text(kind));
        }
        let milliseconds =
            |time: Duration| number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let numbers = [
            ("x-delivery-limit", self.delivery_limit.map(|limit| number(limit.into()))),
            ("x-max-priority", self.priorities.map(|highest| number(highest.into()))),
            ("x-message-ttl", self.message_ttl.map(milliseconds)),
            ("x-max-length", self.length.map(number)),
            ("x-max-length-bytes", self.bytes.map(number)),
            ("x-expires", self.expires.map(milliseconds)),
        ];
        for (name, value) in numbers {
            if let Some(value) = value {
                set(name, value);
            }
        }
        if self.lazy {
            set("x-queue-mode", text("lazy"));
        }
        let is_quorum = self.queue_kind() == QueueKind::Quorum;
        if let Some(dead) = dead {
            set("x-dead-letter-exchange", text(""));
            set("x-dead-letter-routing-key", text(dead.as_str()));
        }
        // Only a queue that refuses what is too much goes on trying until the other one has
        // confirmed.
        let sees_it_arrive =
            is_quorum && dead.is_some() && self.overflow != Some(QueueOverflow::DropOldest);
        if sees_it_arrive {
            set("x-dead-letter-strategy", text("at-least-once"));
        }
        match self.overflow {
            Some(QueueOverflow::DropOldest) => set("x-overflow", text("drop-head")),
            Some(QueueOverflow::Reject) => set("x-overflow", text("reject-publish")),
            None if sees_it_arrive => set("x-overflow", text("reject-publish")),
            None => {}
        }
        arguments
    }
}

/// The broker measures in milliseconds, of 32 bits.
const TIME_MAX: Duration = Duration::from_millis(u32::MAX as u64);

fn number(number: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX))
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(options: &QueueOptions, dead: Option<&str>) -> Vec<String> {
        let arguments = options.arguments(dead.map(ShortString::from).as_ref());
        let mut shown: Vec<_> = arguments
            .inner()
            .iter()
            .map(|(name, value)| match value {
                AMQPValue::LongString(text) => format!("{name}={text}"),
                AMQPValue::LongLongInt(number) => format!("{name}={number}"),
                other => panic!("{other:?}"),
            })
            .collect();
        shown.sort();
        shown
    }

    #[test]
    fn options_are_arguments_and_none_are_none() {
        assert!(shown(&QueueOptions::new(), None).is_empty());
        let classic = QueueOptions::new()
            .priorities(5)
            .message_ttl(Duration::from_secs(2))
            .length(10, QueueOverflow::Reject)
            .bytes(1 << 33, QueueOverflow::DropOldest)
            .lazy()
            .expires(Duration::from_secs(60));
        assert_eq!(
            shown(&classic, None),
            [
                "x-expires=60000",
                "x-max-length-bytes=8589934592",
                "x-max-length=10",
                "x-max-priority=5",
                "x-message-ttl=2000",
                "x-overflow=drop-head",
                "x-queue-mode=lazy",
            ]
        );
        let quorum = QueueOptions::new().kind(QueueKind::Quorum).delivery_limit(3);
        assert_eq!(
            shown(&quorum, Some("polywire.dead.jobs.a")),
            [
                "x-dead-letter-exchange=",
                "x-dead-letter-routing-key=polywire.dead.jobs.a",
                "x-dead-letter-strategy=at-least-once",
                "x-delivery-limit=3",
                "x-overflow=reject-publish",
                "x-queue-type=quorum",
            ]
        );
    }

    #[test]
    fn what_the_broker_would_refuse_is_refused_in_a_sentence() {
        let quorum = || QueueOptions::new().kind(QueueKind::Quorum);
        for (options, sentence) in [
            (quorum().priorities(3), "priorities"),
            (quorum().lazy(), "lazy"),
            (QueueOptions::new().delivery_limit(3), "only a quorum queue"),
            (quorum().delivery_limit(0), "at least 1"),
            (QueueOptions::new().priorities(0), "levels"),
            (QueueOptions::new().length(0, QueueOverflow::Reject), "nothing"),
            (QueueOptions::new().dead_letters_max(0), "nothing"),
            (QueueOptions::new().expires(Duration::ZERO), "at once"),
            (QueueOptions::new().message_ttl(Duration::MAX), "longer"),
        ] {
            let error = options.check().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(sentence), "{error}");
        }
        assert!(quorum().delivery_limit(3).length(5, QueueOverflow::DropOldest).check().is_ok());
    }
}
