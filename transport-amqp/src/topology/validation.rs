//! Validation of queue options.

use std::time::Duration;

use polywire_core::{Error, ErrorKind, Result};

use crate::connection::broker_version::BrokerVersion;
use crate::topology::queue_kind::QueueKind;
use crate::topology::queue_options::QueueOptions;

impl QueueOptions {
    /// Checks for options that RabbitMQ would deny, warn about, or silently ignore.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with the first fault found.
    pub(super) fn validate(&self) -> Result<()> {
        let is_quorum = self.queue_kind() == QueueKind::Quorum;
        let faults = [
            (
                is_quorum && self.lazy,
                "invalid queue options: a quorum queue is always lazy; leave the option out",
            ),
            (
                !is_quorum && self.delivery_limit.is_some(),
                "invalid queue options: only a quorum queue has a delivery limit",
            ),
            (
                self.delivery_limit == Some(0),
                "invalid queue options: the delivery limit has to be at least 1",
            ),
            (
                self.priorities == Some(0),
                "invalid queue options: the highest priority has to be at least 1",
            ),
            (
                [self.length, self.bytes, self.dead_letters_max].contains(&Some(0)),
                "invalid queue options: a length limit has to be at least 1",
            ),
            (
                self.expires.is_some_and(|after| after.as_millis() == 0),
                "invalid queue options: the expiry has to be at least 1 ms",
            ),
            (
                [self.expires, self.message_ttl].iter().flatten().any(|time| *time > TIME_MAX),
                "invalid queue options: an expiry or TTL has to be below 2^32 ms",
            ),
        ];
        match faults.into_iter().find(|(is_so, _)| *is_so) {
            Some((_, fault)) => Err(Error::new(ErrorKind::Config, fault).unsent()),
            None => Ok(()),
        }
    }
}

impl QueueOptions {
    /// Checks for options that a broker of this version does not know for such a queue. A passive
    /// queue is used as it is.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], with the version.
    pub(super) fn check_version(&self, version: BrokerVersion) -> Result<()> {
        let is_quorum = self.queue_kind() == QueueKind::Quorum && !self.is_passive();
        if is_quorum && self.priorities.is_some() && version < BrokerVersion::QUORUM_PRIORITIES {
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
        for (options, message) in [
            (quorum().lazy(), "lazy"),
            (QueueOptions::new().delivery_limit(3), "only a quorum queue"),
            (quorum().delivery_limit(0), "delivery limit has to be at least 1"),
            (QueueOptions::new().priorities(0), "highest priority"),
            (QueueOptions::new().length(0, QueueOverflow::Reject), "length limit"),
            (QueueOptions::new().dead_letters_max(0), "length limit"),
            (QueueOptions::new().expires(Duration::ZERO), "at least 1 ms"),
            (QueueOptions::new().message_ttl(Duration::MAX), "below 2^32 ms"),
        ] {
            let error = options.validate().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(message), "{error}");
        }
        assert!(quorum().delivery_limit(3).length(5, QueueOverflow::DropOldest).validate().is_ok());
    }
}
