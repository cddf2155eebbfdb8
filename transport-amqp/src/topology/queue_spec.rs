//! Specs of queues, and their declaration at the broker.
//!
//! Declaring an existing queue with the same arguments has no effect. So each endpoint handle
//! declares its queues before the first use, and again after each lost channel. The broker answers
//! a failed declaration by closing the channel.

use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{FieldTable, ShortString};
use polywire_core::{ErrorKind, Result};

use crate::engine_error::{argument_mismatch, failed};
use crate::topology::custom_topology::Topology;
use crate::topology::difference_log::DifferenceLog;
use crate::topology::queue_kind::QueueKind;
use crate::topology::queue_options::QueueOptions;
use crate::wire::native;

/// Name and options of a queue.
///
/// Each queue is durable and not exclusive, also a private one. The broker keeps an exclusive queue
/// of a dead connection, and recent brokers deny queues that are neither durable nor exclusive.
#[derive(Clone, Debug)]
pub(crate) struct QueueSpec {
    /// Name, as the wire format composes it.
    pub(crate) name: ShortString,
    /// Options to declare the queue with.
    pub(crate) options: QueueOptions,
    /// Queue for the messages that the broker expires or rejects. Without one, the
    /// [dead-letter queue](Self::dead_letter_queue) if the options say so, else none.
    dead_letters_to: Option<ShortString>,
    /// Declarations that make the queue, in place of the options: the layout of another system.
    pub(super) declared_by: Option<Arc<Topology>>,
    /// Log of a queue that may exist with other arguments, and is used all the same. `None` if it
    /// may not.
    pub(super) difference_log: Option<Arc<DifferenceLog>>,
}

impl QueueSpec {
    /// Returns a queue that the broker deletes after so long without a consumer.
    pub(crate) fn expiring(name: ShortString, kind: QueueKind, after: Duration) -> Self {
        Self::new(name, QueueOptions::new().kind(kind).expires(after))
    }

    /// Returns a queue with these options.
    pub(crate) fn new(name: ShortString, options: QueueOptions) -> Self {
        Self { name, options, dead_letters_to: None, declared_by: None, difference_log: None }
    }

    /// Returns a queue that `topology` declares, with exchanges and bindings. It has no queue of
    /// suspects, of retries or of dead letters.
    pub(crate) fn declared_by(name: ShortString, topology: Topology) -> Self {
        let declared_by = Some(Arc::new(topology));
        Self { declared_by, ..Self::new(name, QueueOptions::new().passive()) }
    }

    /// Returns the dead-letter queue of this queue.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] if the name is too long for AMQP.
    pub(crate) fn dead_letter_queue(&self) -> Result<Self> {
        Ok(Self::new(native::dead_letter_queue(&self.name)?, self.options.for_dead_letters()))
    }

    /// Returns the retry queue, which moves its messages to this queue after `delay`, and expires
    /// when it was unused for `expiry` after that.
    ///
    /// The retry queue has the kind of this queue, with one exception. A classic queue moves an
    /// expired message once, and loses the message if this queue rejects overflow. So the retry
    /// queue of a rejecting queue is a quorum queue.
    ///
    /// A quorum queue gets no expiry. Only a consumer renews the expiry of a quorum queue, and
    /// declaring the queue again does not, so the queue would be deleted with the messages that
    /// wait. Delays are rounded, which bounds the number of queues that stay.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] if the name is too long for AMQP.
    pub(crate) fn retry_queue(&self, delay: Duration, expiry: Duration) -> Result<Self> {
        let kind = if self.options.rejects_overflow() {
            QueueKind::Quorum
        } else {
            self.options.queue_kind()
        };
        let name = native::retry_queue(&self.name, delay)?;
        let options = QueueOptions::new().kind(kind).message_ttl(delay);
        let options = match kind {
            QueueKind::Classic => options.expires(delay + expiry),
            QueueKind::Quorum => options,
        };
        Ok(Self { dead_letters_to: Some(self.name.clone()), ..Self::new(name, options) })
    }

    /// Returns the queue for the suspects of this queue; `None` if this queue is passive, since its
    /// redeliveries may have other causes.
    ///
    /// The queue outlives a change of the options, with the suspects in it. So it may differ: it
    /// must not keep the consumers of this queue from their work.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] if the name is too long for AMQP.
    pub(crate) fn suspects_queue(&self) -> Result<Option<Self>> {
        if self.options.is_passive() {
            return Ok(None);
        }
        let name = native::suspects_queue(&self.name)?;
        let dead_letters_to = if self.options.is_dead_lettering() {
            Some(native::dead_letter_queue(&self.name)?)
        } else {
            None
        };
        let options = self.options.for_suspects();
        let difference_log = Some(Arc::default());
        Ok(Some(Self { dead_letters_to, difference_log, ..Self::new(name, options) }))
    }

    /// Returns the queue for batches of the calls in this queue, which expires after five minutes
    /// without a consumer. `None` if this queue has options that a batch cannot have: more than a
    /// name and a kind.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] if the name is too long for AMQP.
    pub(crate) fn batches_queue(&self) -> Result<Option<Self>> {
        if !self.options.has_no_limits() {
            return Ok(None);
        }
        let name = native::batches_queue(&self.name)?;
        let difference_log = Some(Arc::default());
        Ok(Some(Self { difference_log, ..Self::new(name, self.options.for_batches()) }))
    }

    /// Checks that the retry queues and the dead-letter queue of this queue can be named.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] with the bound, if the longest of the names is too long for AMQP.
    pub(crate) fn check_names(&self) -> Result<()> {
        let names =
            self.dead_letter_queue().and_then(|_| native::retry_queue(&self.name, DELAY_MAX));
        names.map(drop).map_err(|error| error.with("queue", &self.name))
    }

    /// Declares the queue, and its dead-letter queue if the options say so. Passive options only
    /// check that the queue exists.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the queue exists with other options, or is passive and missing. The
    /// broker then closes the channel.
    pub(crate) async fn declare(&self, channel: &Channel) -> Result<()> {
        if self.options.is_passive() {
            return self.message_count(channel).await.map(drop);
        }
        let dead_letters_to = match &self.dead_letters_to {
            Some(queue) => Some(queue.clone()),
            None if self.options.is_dead_lettering() => {
                let dead_letters = self.dead_letter_queue()?;
                dead_letters.create(channel, None).await?;
                Some(dead_letters.name)
            }
            None => None,
        };
        self.create(channel, dead_letters_to.as_ref()).await
    }

    /// Declares the queue with its arguments. The details of a mismatch name both values.
    async fn create(&self, channel: &Channel, dead_letters_to: Option<&ShortString>) -> Result<()> {
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let arguments = self.options.arguments(dead_letters_to);
        let declared = channel.queue_declare(self.name.clone(), durable, arguments).await;
        declared.map_err(|error| {
            let mismatch = argument_mismatch(&error);
            let failed = failed("cannot declare the queue", &error).with("queue", &self.name);
            match mismatch {
                Some(mismatch) => failed
                    .with("argument", mismatch.argument)
                    .with("ours", mismatch.ours)
                    .with("theirs", mismatch.theirs),
                None => failed,
            }
        })?;
        Ok(())
    }

    /// Returns the number of ready messages.
    ///
    /// Unsettled deliveries do not count.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the queue does not exist; the broker then closes the channel.
    pub(crate) async fn message_count(&self, channel: &Channel) -> Result<u32> {
        Ok(self.inspect(channel).await?.message_count())
    }

    /// Returns the number of consumers.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the queue does not exist; the broker then closes the channel.
    pub(crate) async fn consumer_count(&self, channel: &Channel) -> Result<u32> {
        Ok(self.inspect(channel).await?.consumer_count())
    }

    /// Declares the queue passively, which returns its counts.
    async fn inspect(&self, channel: &Channel) -> Result<lapin::Queue> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let found = channel.queue_declare(self.name.clone(), passive, FieldTable::default()).await;
        found.map_err(|error| failed("cannot find the queue", &error).with("queue", &self.name))
    }

    /// Checks that the user may declare the queue, which does not exist, without declaring it.
    ///
    /// The broker checks the right to configure the queue before it looks for the queue to delete.
    /// A queue that was declared meanwhile is deleted only while it is empty and unused. Its
    /// publisher then gets its message back, and declares the queue again.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Denied`] without the right. The broker then closes the channel.
    pub(crate) async fn check_right_to_declare(&self, channel: &Channel) -> Result<()> {
        let unused =
            QueueDeleteOptions { if_unused: true, if_empty: true, ..QueueDeleteOptions::default() };
        match channel.queue_delete(self.name.clone(), unused).await {
            Err(error) => {
                let refused = failed("cannot declare the queue", &error).with("queue", &self.name);
                if refused.kind() == ErrorKind::Config { Ok(()) } else { Err(refused) }
            }
            Ok(_) => Ok(()),
        }
    }

    /// Returns whether the queue exists. If not, the broker closes the channel. Returns true for a
    /// name that no broker can be asked for.
    pub(crate) async fn exists(&self, channel: &Channel) -> Result<bool> {
        if !native::can_be_reported_missing(&self.name) {
            return Ok(true);
        }
        match self.message_count(channel).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Config => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Expiry of a control queue that was declared and never consumed, in milliseconds. The broker
/// deletes an exclusive queue with its connection only, and one that deletes itself with its last
/// consumer only.
pub(crate) const UNCONSUMED_MS: i32 = 10_000;

/// Longest TTL at the broker, for the longest name of a retry queue.
const DELAY_MAX: Duration = Duration::from_millis(u32::MAX as u64);

/// Deletes queues. Missing queues are no error.
pub(crate) async fn delete(
    channel: &Channel,
    queues: impl IntoIterator<Item = ShortString>,
) -> Result<()> {
    for queue in queues {
        let deleted = channel.queue_delete(queue, QueueDeleteOptions::default()).await;
        deleted.map_err(|error| failed("cannot delete a queue", &error))?;
    }
    Ok(())
}
