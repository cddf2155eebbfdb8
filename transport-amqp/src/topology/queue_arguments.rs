//! Arguments of `queue.declare`.
//!
//! The kind is always an argument, since the default kind of a virtual host may be another one. The
//! broker takes a classic queue without the argument for equal. Any other option that is not set
//! yields no argument.

use std::time::Duration;

use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::topology::queue_kind::QueueKind;
use crate::topology::queue_options::{QueueOptions, QueueOverflow};

impl QueueOptions {
    /// Returns the arguments of `queue.declare`. The broker dead-letters to the queue
    /// `dead_letters_to`, if there is one.
    ///
    /// Equal options yield equal arguments, so a repeated declaration changes nothing. RabbitMQ
    /// lists the names as
    /// [optional arguments](https://www.rabbitmq.com/docs/queues#optional-arguments).
    pub(super) fn arguments(&self, dead_letters_to: Option<&ShortString>) -> FieldTable {
        let is_quorum = self.queue_kind() == QueueKind::Quorum;
        let mut arguments = FieldTable::default();
        let mut set = |name: &'static str, value| {
            arguments.insert(name.into(), value);
        };
        set("x-queue-type", text(self.queue_kind().argument()));
        let milliseconds =
            |time: Duration| number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let numbers = [
            ("x-delivery-limit", self.delivery_limit.map(|limit| number(limit.into()))),
            // A quorum queue has priorities without an argument, and refuses this one.
            (
                "x-max-priority",
                self.priorities.filter(|_| !is_quorum).map(|highest| number(highest.into())),
            ),
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
        if let Some(queue) = dead_letters_to {
            set("x-dead-letter-exchange", text(""));
            set("x-dead-letter-routing-key", text(queue.as_str()));
        }
        // At-least-once dead-lettering waits for the confirm of the target. The broker supports it
        // only together with the overflow policy `reject-publish`.
        let is_at_least_once = is_quorum
            && dead_letters_to.is_some()
            && self.overflow != Some(QueueOverflow::DropOldest);
        if is_at_least_once {
            set("x-dead-letter-strategy", text("at-least-once"));
        }
        match self.overflow {
            Some(QueueOverflow::DropOldest) => set("x-overflow", text("drop-head")),
            Some(QueueOverflow::Reject) => set("x-overflow", text("reject-publish")),
            None if is_at_least_once => set("x-overflow", text("reject-publish")),
            None => {}
        }
        arguments
    }
}

/// Returns a number as the broker expects it. Values beyond `i64` saturate.
fn number(number: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Returns a text argument.
fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(options: &QueueOptions, dead_letters_to: Option<&str>) -> Vec<String> {
        let arguments = options.arguments(dead_letters_to.map(ShortString::from).as_ref());
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
    fn each_option_is_an_argument() {
        assert_eq!(shown(&QueueOptions::new(), None), ["x-queue-type=classic"]);
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
                "x-queue-type=classic",
            ]
        );
        let quorum = QueueOptions::new().kind(QueueKind::Quorum).delivery_limit(3).priorities(9);
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
}
