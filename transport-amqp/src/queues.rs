//! Which options which queue has, and which queues belong to which.

use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::{Error, Result};
use rustc_hash::FxHashMap;

use crate::topology::Queue;
use crate::{QueueKind, QueueOptions};

/// The options of all queues that outlive us.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queues {
    pub(crate) usual: QueueOptions,
    named: FxHashMap<String, QueueOptions>,
    /// The first mistake, which is told when connecting.
    mistake: Option<Error>,
}

impl Queues {
    /// Gives the queue of this name options of its own.
    pub(crate) fn set(&mut self, name: Result<ShortString>, options: QueueOptions) {
        match name {
            Ok(name) => drop(self.named.insert(name.to_string(), options)),
            Err(error) => drop(self.mistake.get_or_insert(error)),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        if let Some(mistake) = &self.mistake {
            return Err(mistake.clone());
        }
        self.usual.check()?;
        self.named.keys().try_for_each(|name| {
            let options = self.options(name);
            options.check().map_err(|error| error.with("queue", name))
        })
    }

    /// A queue that stays, unless its options say otherwise.
    pub(crate) fn kept(&self, name: ShortString) -> Queue {
        let options = self.options(name.as_str());
        Queue::of(name, options)
    }

    /// A queue that the broker takes away when nobody has consumed it for so long, unless its
    /// options say otherwise.
    pub(crate) fn expiring(&self, name: ShortString, after: Duration) -> Queue {
        let options = self.options(name.as_str()).expires_by_default(after);
        Queue::of(name, options)
    }

    fn options(&self, name: &str) -> QueueOptions {
        let options = self.named.get(name).unwrap_or(&self.usual).clone();
        if options.has_kind() { options } else { options.kind(self.kind()) }
    }

    fn kind(&self) -> QueueKind {
        self.usual.queue_kind()
    }
}
