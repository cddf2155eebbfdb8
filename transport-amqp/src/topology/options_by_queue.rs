//! Per-queue options of a transport.

use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::{Error, Result};
use rustc_hash::FxHashMap;

use crate::topology::queue::QueueSpec;
use crate::topology::queue_options::QueueOptions;

/// Options of the service, job and group queues: a default, and exceptions by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueueSettings {
    /// Options of all queues without their own.
    pub(crate) default: QueueOptions,
    /// Options by queue name.
    named: FxHashMap<String, QueueOptions>,
    /// The first invalid name that was set, which [`validate`](Self::validate) returns.
    invalid: Option<Error>,
}

impl QueueSettings {
    /// Sets the options of one queue. An invalid name is reported by [`validate`](Self::validate).
    pub(crate) fn set(&mut self, name: Result<ShortString>, options: QueueOptions) {
        match name {
            Ok(name) => drop(self.named.insert(name.to_string(), options)),
            Err(error) => drop(self.invalid.get_or_insert(error)),
        }
    }

    /// Checks all names and options.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) for an invalid name, or for options
    /// that RabbitMQ would deny or ignore.
    pub(crate) fn validate(&self) -> Result<()> {
        if let Some(error) = &self.invalid {
            return Err(error.clone());
        }
        self.default.validate()?;
        self.named.keys().try_for_each(|name| {
            let options = self.options(name);
            options.validate().map_err(|error| error.with("queue", name))
        })
    }

    /// Returns a queue that does not expire, unless its options say otherwise.
    pub(crate) fn queue(&self, name: ShortString) -> QueueSpec {
        let options = self.options(name.as_str());
        QueueSpec::new(name, options)
    }

    /// Returns a queue that the broker deletes after so long without a consumer, unless its options
    /// say otherwise.
    pub(crate) fn expiring_queue(&self, name: ShortString, after: Duration) -> QueueSpec {
        let options = self.options(name.as_str()).expires_by_default(after);
        QueueSpec::new(name, options)
    }

    /// Returns the options of a queue, always with a kind.
    fn options(&self, name: &str) -> QueueOptions {
        let options = self.named.get(name).unwrap_or(&self.default).clone();
        if options.has_kind() { options } else { options.kind(self.default.queue_kind()) }
    }
}
