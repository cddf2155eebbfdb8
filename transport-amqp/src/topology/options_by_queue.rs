//! Per-queue options of a transport.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::{Error, ErrorKind, Result};
use rustc_hash::FxHashMap;

use crate::lock::lock;
use crate::topology::queue_options::QueueOptions;
use crate::topology::queue_spec::QueueSpec;
use crate::wire::native;

/// Options of the service, job and group queues: a default, and exceptions by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueueSettings {
    /// Options of all queues without their own.
    pub(crate) default: QueueOptions,
    /// Options by queue name. The name is that of the wire format, also for a queue with a name of
    /// the program's own.
    named: FxHashMap<String, QueueOptions>,
    /// Names with options whose queue was not used yet. Clones share them.
    unused: Arc<Mutex<BTreeSet<String>>>,
    /// The first invalid name that was set, which [`validate`](Self::validate) returns.
    invalid: Option<Error>,
}

impl QueueSettings {
    /// Sets the options of one queue. An invalid name is reported by [`validate`](Self::validate).
    pub(crate) fn set(&mut self, name: Result<ShortString>, options: QueueOptions) {
        match name {
            Ok(name) => {
                lock(&self.unused).insert(name.to_string());
                self.named.insert(name.to_string(), options);
            }
            Err(error) => drop(self.invalid.get_or_insert(error)),
        }
    }

    /// Checks all names and options.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for an invalid name, or for options
    /// that RabbitMQ would deny or ignore.
    pub(crate) fn validate(&self) -> Result<()> {
        if let Some(error) = &self.invalid {
            return Err(error.clone());
        }
        self.default.validate()?;
        if let Some(name) = &self.default.name {
            let text = "cannot use the queue option named: it names one queue, and not all of them";
            let error = Error::new(ErrorKind::Config, text).with("setting", "named");
            return Err(error.with("value", name).unsent());
        }
        self.named.keys().try_for_each(|name| {
            let options = self.options(name);
            let own = options.name.as_deref().map_or(Ok(()), |own| native::own_name(own).map(drop));
            own.and_then(|()| options.validate()).map_err(|error| error.with("queue", name))
        })
    }

    /// Returns a queue that does not expire, unless its options say otherwise.
    pub(crate) fn queue(&self, name: ShortString) -> QueueSpec {
        let options = self.used_options(&name);
        QueueSpec::new(own_or(name, &options), options)
    }

    /// Returns a queue that the broker deletes after so long without a consumer, unless its options
    /// say otherwise.
    pub(crate) fn expiring_queue(&self, name: ShortString, after: Duration) -> QueueSpec {
        let options = self.used_options(&name).expires_by_default(after);
        QueueSpec::new(own_or(name, &options), options)
    }

    /// Warns of the names that have options and no queue: most likely, a name is misspelt, and its
    /// queue was declared without these options. Called when the transport is closed.
    pub(crate) fn warn_of_unused(&self) {
        let unused = std::mem::take(&mut *lock(&self.unused));
        if !unused.is_empty() {
            let queues = Vec::from_iter(unused).join(", ");
            tracing::warn!(queues, "options were set for queues that were never used");
        }
    }

    /// Returns the options of a queue that is used.
    fn used_options(&self, name: &ShortString) -> QueueOptions {
        // Without exceptions by name, nothing is locked.
        if self.named.contains_key(name.as_str()) {
            lock(&self.unused).remove(name.as_str());
        }
        self.options(name.as_str())
    }

    /// Returns the options of a queue, always with a kind.
    fn options(&self, name: &str) -> QueueOptions {
        let options = self.named.get(name).unwrap_or(&self.default).clone();
        if options.has_kind() { options } else { options.kind(self.default.queue_kind()) }
    }
}

/// Returns the name of the program's own, if the options have one.
fn own_or(name: ShortString, options: &QueueOptions) -> ShortString {
    // The names were validated when the transport was built.
    options.name.as_deref().and_then(|own| native::own_name(own).ok()).unwrap_or(name)
}
