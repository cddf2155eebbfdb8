//! Validation of queue options.

use std::time::Duration;

use polywire_core::{Error, ErrorKind, Result};

use crate::connection::broker_version::BrokerVersion;
use crate::topology::queue_kind::QueueKind;
use crate::topology::queue_options::QueueOptions;

impl QueueOptions {
    /// Checks for options that RabbitMQ would deny, warn about, or silently ignore.
    ///
    /// Passive options are checked, too, since redelivery relies on them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with the first fault found.
    pub(super) fn validate(&self) -> Result<()> {
        let is_quorum = self.queue_kind() == QueueKind::Quorum;
        let is_brief = |time: Option<Duration>| time.is_some_and(|time| time.as_millis() == 0);
        let is_long = |time: Option<Duration>| time.is_some_and(|time| time > TIME_MAX);
        let faults = [
            ("priorities", self.priorities == Some(0), "has to be at least 1"),
            ("lazy", is_quorum && self.lazy, "a quorum queue always is; leave the option out"),
            (
                "delivery_limit",
                !is_quorum && self.delivery_limit.is_some(),
                "only for quorum queues",
            ),
            ("delivery_limit", self.delivery_limit == Some(0), "has to be at least 1"),
            ("length", self.length == Some(0), "has to be at least 1"),
            ("bytes", self.bytes == Some(0), "has to be at least 1"),
            ("dead_letters_max", self.dead_letters_max == Some(0), "has to be at least 1"),
            ("expires", is_brief(self.expires), "has to be at least 1 ms"),
            ("expires", is_long(self.expires), "has to be below 2^32 ms"),
            ("message_ttl", is_long(self.message_ttl), "has to be below 2^32 ms"),
        ];
        match faults.into_iter().find(|(_, is_so, _)| *is_so) {
            Some((option, _, fault)) => {
                let text = format!("cannot use the queue option {option}: {fault}");
                Err(Error::new(ErrorKind::Config, text).unsent().with("setting", option))
            }
            None => Ok(()),
        }
    }
}

impl QueueOptions {
    /// Checks for options that a broker of this version does not know for such a queue. A passive
    /// queue is used as it is.
    ///
    /// A broker of an unknown version is not checked.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with the version.
    pub(super) fn check_version(&self, version: BrokerVersion) -> Result<()> {
        let is_quorum = self.queue_kind() == QueueKind::Quorum && !self.is_passive();
        let is_too_old = version.is_known() && version < BrokerVersion::QUORUM_PRIORITIES;
        if is_quorum && self.priorities.is_some() && is_too_old {
            let text = "cannot declare the queue: a quorum queue of this broker has no priorities";
            return Err(Error::new(ErrorKind::Config, text)
                .with("version", version)
                .with("needed", BrokerVersion::QUORUM_PRIORITIES)
                .unsent());
        }
        Ok(())
    }
}

/// The broker's bound: 32 bits of milliseconds.
const TIME_MAX: Duration = Duration::from_millis(u32::MAX as u64);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::queue_options::QueueOverflow;

    #[test]
    fn options_that_the_broker_would_deny_are_config_errors() {
        let quorum = || QueueOptions::new().kind(QueueKind::Quorum);
        for (options, setting, message) in [
            (quorum().lazy(), "lazy", "always is"),
            (QueueOptions::new().delivery_limit(3), "delivery_limit", "only for quorum queues"),
            (quorum().delivery_limit(0), "delivery_limit", "at least 1"),
            (QueueOptions::new().priorities(0), "priorities", "at least 1"),
            (QueueOptions::new().length(0, QueueOverflow::Reject), "length", "at least 1"),
            (QueueOptions::new().dead_letters_max(0), "dead_letters_max", "at least 1"),
            (QueueOptions::new().expires(Duration::ZERO), "expires", "at least 1 ms"),
            (QueueOptions::new().message_ttl(Duration::MAX), "message_ttl", "below 2^32 ms"),
        ] {
            let error = options.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert_eq!(error.detail("setting"), Some(setting));
            assert!(error.to_string().contains(message), "{error}");
        }
        assert!(quorum().delivery_limit(3).length(5, QueueOverflow::DropOldest).validate().is_ok());
    }
}
