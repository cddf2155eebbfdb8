//! A session that looks at the dead letters of a queue, redrives them or discards them.
//!
//! A session reads with `basic.get` on a channel of its own, and sees each message at most once: it
//! reads as many messages as the queue had at the start. Dead letters that it neither redrives nor
//! discards return to the queue when the session closes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::message::Delivery as Raw;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions};
use polywire_core::transport::{DeadLetterQueue, DeadLetterSource, async_trait};
use polywire_core::{Error, ErrorKind, Message, Result};
use tokio::time::{sleep, timeout};

use crate::engine_error::failed;
use crate::shared::AmqpShared;
use crate::topology::declare_queue::declare;
use crate::topology::options_by_queue::QueueSettings;
use crate::topology::queue_spec::QueueSpec;
use crate::wire::native;

/// Opens a session on the dead letters of `source`, and declares the dead-letter queue.
///
/// # Errors
///
/// [`DeadLetterSource::unknown`] if neither the source nor its dead-letter queue exists; those of
/// declaring the queue; [`ErrorKind::Unsupported`] for a source without dead letters.
pub(crate) async fn open(
    shared: &Arc<AmqpShared>,
    source: &DeadLetterSource,
) -> Result<Box<dyn DeadLetterQueue>> {
    let (origin, may_declare_origin) = origin_of(&shared.config.queues, source)?;
    let queue = origin.dead_letter_queue()?;
    let connection = &shared.consuming_connection;
    if !native::can_be_reported_missing(&queue.name) {
        // The broker would end the connection if the queue were missing.
        declare(connection, &queue).await?;
    }
    let channel = connection.channel().await?;
    let (channel, found) = match queue.message_count(&channel).await {
        // The broker has closed the channel, since there is no such queue.
        Err(error) if error.kind() == ErrorKind::Config => {
            if !origin.exists(&connection.channel().await?).await? {
                return Err(source.unknown());
            }
            declare(connection, &queue).await?;
            let channel = connection.channel().await?;
            let found = queue.message_count(&channel).await?;
            (channel, found)
        }
        found => (channel, found?),
    };
    let (shared, unsettled) = (shared.clone(), BTreeMap::new());
    Ok(Box::new(DeadLetterSession {
        shared,
        channel,
        origin,
        may_declare_origin,
        queue,
        found,
        remaining: found,
        unsettled,
    }))
}

/// Returns the queue in which the messages of `source` fail, and whether a redrive may declare it.
///
/// # Errors
///
/// Those of naming the queue; [`ErrorKind::Unsupported`] for an unknown kind of source.
pub(crate) fn origin_of(
    queues: &QueueSettings,
    source: &DeadLetterSource,
) -> Result<(QueueSpec, bool)> {
    Ok(match source {
        DeadLetterSource::Queue(queue) => (queues.queue(native::job_queue(queue)?), true),
        DeadLetterSource::Service(service) => {
            (queues.queue(native::request_queue(service)?), false)
        }
        DeadLetterSource::Group { channel, group } => {
            (queues.queue(native::group_queue(channel, group)?), false)
        }
        _ => return Err(Error::unsupported("dead_letters")),
    })
}

/// An open dead-letter queue. Dropping the session closes its channel, and the broker requeues what
/// is unsettled.
///
/// The session takes one of the channels that endpoint handles leave, and reserves none.
struct DeadLetterSession {
    shared: Arc<AmqpShared>,
    channel: Channel,
    /// The queue that the dead letters come from.
    origin: QueueSpec,
    /// Set if a redrive may declare a missing origin.
    may_declare_origin: bool,
    queue: QueueSpec,
    /// Messages that were in the queue when the session was opened, and those of them still to
    /// take.
    found: u32,
    remaining: u32,
    /// Dead letters that were taken and not settled, by delivery tag.
    ///
    /// The bodies stay in memory until they are settled; `found` bounds their number.
    unsettled: BTreeMap<u64, Raw>,
}

impl DeadLetterSession {
    /// Gets the next dead letter, or none after the last. The message stays unsettled.
    async fn next(&mut self) -> Result<Option<(u64, Message)>> {
        let Some(remaining) = self.remaining.checked_sub(1) else { return Ok(None) };
        let queue = self.queue.name.clone();
        let got = self.channel.basic_get(queue, BasicGetOptions::default()).await;
        let got = got.map_err(|error| {
            failed("cannot get a dead letter", &error).with("queue", &self.queue.name)
        })?;
        let Some(got) = got else { return Ok(None) };
        self.remaining = remaining;
        let (tag, raw) = (got.delivery.delivery_tag, got.delivery);
        let message = native::decode_dead_letter(&raw);
        self.unsettled.insert(tag, raw);
        Ok(Some((tag, message)))
    }

    /// Republishes a dead letter to its origin, then acknowledges the dead letter. A missing job
    /// queue is declared again; a missing service or group queue is an error.
    ///
    /// An unknown tag is ignored. If the future is dropped between the two steps, the message is in
    /// both queues.
    async fn redrive_one(&mut self, tag: u64) -> Result<()> {
        let Some(raw) = self.unsettled.get(&tag) else { return Ok(()) };
        let copy = native::encode_redriven(&self.origin.name, raw)?;
        match self.shared.publisher.publish(copy.clone()).await {
            Err(error) if error.kind() == ErrorKind::Unroutable && self.may_declare_origin => {
                self.shared.within_connect_timeout(self.declare_origin()).await?;
                self.shared.publisher.publish(copy).await?;
            }
            outcome => outcome?,
        }
        self.acknowledge(tag).await
    }

    /// Declares the origin again, over the consuming connection, which the broker never blocks.
    async fn declare_origin(&self) -> Result<()> {
        declare(&self.shared.consuming_connection, &self.origin).await
    }

    /// Removes a dead letter from its queue.
    async fn acknowledge(&mut self, tag: u64) -> Result<()> {
        let acknowledged = self.channel.basic_ack(tag, BasicAckOptions::default()).await;
        acknowledged.map_err(|error| failed("cannot acknowledge a dead letter", &error))?;
        self.unsettled.remove(&tag);
        Ok(())
    }

    /// Requeues all unsettled dead letters and closes the channel.
    ///
    /// One `basic.nack` requeues all: in AMQP 0-9-1, the tag 0 together with `multiple` stands for
    /// each outstanding message.
    async fn requeue_all(&mut self) -> Result<()> {
        if !self.unsettled.is_empty() {
            let all = BasicNackOptions { multiple: true, requeue: true };
            let requeued = self.channel.basic_nack(0, all).await;
            requeued.map_err(|error| failed("cannot requeue the dead letters", &error))?;
            let requeued = std::mem::take(&mut self.unsettled).len();
            self.wait_requeued(requeued).await?;
        }
        let closed = self.channel.close(200, "done".into()).await;
        closed.map_err(|error| failed("cannot close the channel of the dead letters", &error))
    }

    /// Waits up to half a second until the queue holds the requeued messages: a quorum queue has
    /// them a moment after the request.
    async fn wait_requeued(&self, requeued: usize) -> Result<()> {
        let polling = async {
            while (self.queue.message_count(&self.channel).await? as usize) < requeued {
                sleep(POLL_INTERVAL).await;
            }
            Ok(())
        };
        // On a timeout, another session may have taken them already.
        timeout(REQUEUE_MAX, polling).await.unwrap_or(Ok(()))
    }
}

/// Pause between two looks at the queue's length.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Longest wait for requeued messages to appear.
const REQUEUE_MAX: Duration = Duration::from_millis(500);

#[async_trait]
impl DeadLetterQueue for DeadLetterSession {
    async fn take(&mut self) -> Result<Option<(u64, Message)>> {
        self.next().await
    }

    async fn count(&mut self) -> Result<u64> {
        Ok(self.found.into())
    }

    async fn redrive(&mut self, tag: u64) -> Result<()> {
        self.redrive_one(tag).await
    }

    async fn discard(&mut self, tag: u64) -> Result<()> {
        self.acknowledge(tag).await
    }

    async fn close(&mut self) -> Result<()> {
        self.requeue_all().await
    }
}
