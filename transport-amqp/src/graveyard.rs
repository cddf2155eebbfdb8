//! The dead letters of an origin, and somebody who looks after them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lapin::Channel;
use lapin::message::Delivery as Raw;
use lapin::options::{BasicAckOptions, BasicGetOptions, BasicNackOptions};
use polywire_core::transport::{DeadLetterQueue, DeadLetterSource, async_trait};
use polywire_core::{Error, ErrorKind, Message, Result};
use tokio::time::{sleep, timeout};

use crate::error::failed;
use crate::topology::Queue;
use crate::transport::Inner;
use crate::wire::{Native, Wire};

/// Opens the dead letters of `origin`, whose queue is there when this returns.
pub(crate) async fn open(
    transport: &Arc<Inner>,
    origin: &DeadLetterSource,
) -> Result<Box<dyn DeadLetterQueue>> {
    let queues = &transport.config.queues;
    let (origin, can_be_made) = match origin {
        DeadLetterSource::Queue(queue) => (queues.kept(Native.job_queue(queue)?), true),
        DeadLetterSource::Service(service) => (queues.kept(Native.request_queue(service)?), false),
        DeadLetterSource::Group { channel, group } => {
            (queues.kept(Native.group_queue(channel, group)?), false)
        }
        _ => return Err(Error::unsupported("dead_letters")),
    };
    let (channel, dead) = (transport.consuming.channel().await?, origin.dead()?);
    dead.declare(&channel).await?;
    let left = dead.find(&channel).await?;
    let (transport, taken) = (transport.clone(), BTreeMap::new());
    Ok(Box::new(Letters { transport, channel, origin, can_be_made, dead, left, taken }))
}

struct Letters {
    transport: Arc<Inner>,
    channel: Channel,
    /// Where they died.
    origin: Queue,
    /// Whether that is ours to make again if it is gone.
    can_be_made: bool,
    dead: Queue,
    /// How many there are yet of those that were there when it was opened.
    left: u32,
    /// What was taken and not settled, by its tag.
    taken: BTreeMap<u64, Raw>,
}

impl Letters {
    async fn next(&mut self) -> Result<Option<(u64, Message)>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        let got = self.channel.basic_get(self.dead.name.clone(), BasicGetOptions::default()).await;
        let got = got.map_err(|error| {
            failed("cannot get a dead letter", error).with("queue", &self.dead.name)
        })?;
        let Some(got) = got else { return Ok(None) };
        self.left = left;
        let (tag, letter) = (got.delivery.delivery_tag, got.delivery);
        let message = Native.decode_dead(&letter);
        self.taken.insert(tag, letter);
        Ok(Some((tag, message)))
    }

    async fn put_back(&mut self, tag: u64) -> Result<()> {
        let Some(letter) = self.taken.get(&tag) else { return Ok(()) };
        let copy = Native.encode_revived(&self.origin.name, letter)?;
        match self.transport.lines.publish(copy.clone(), None).await {
            Err(error) if error.kind() == ErrorKind::Unroutable && self.can_be_made => {
                self.transport.in_connect_time(self.make_origin()).await?;
                self.transport.lines.publish(copy, None).await?;
            }
            outcome => outcome?,
        }
        self.forget(tag).await
    }

    async fn make_origin(&self) -> Result<()> {
        self.origin.declare(&self.transport.publishing.channel().await?).await
    }

    async fn forget(&mut self, tag: u64) -> Result<()> {
        let acknowledged = self.channel.basic_ack(tag, BasicAckOptions::default()).await;
        acknowledged.map_err(|error| failed("cannot take a dead letter away", error))?;
        self.taken.remove(&tag);
        Ok(())
    }

    async fn give_back(&mut self) -> Result<()> {
        if !self.taken.is_empty() {
            let all = BasicNackOptions { multiple: true, requeue: true };
            let given = self.channel.basic_nack(0, all).await;
            given.map_err(|error| failed("cannot give the dead letters back", error))?;
            let given = std::mem::take(&mut self.taken).len();
            self.until_back(given).await?;
        }
        let closed = self.channel.close(200, "done".into()).await;
        closed.map_err(|error| failed("cannot give the dead letters back", error))
    }
}

impl Letters {
    /// A quorum queue has them back a moment after it was told.
    async fn until_back(&self, given: usize) -> Result<()> {
        let back = async {
            while (self.dead.find(&self.channel).await? as usize) < given {
                sleep(LOOK_EVERY).await;
            }
            Ok(())
        };
        // Somebody else may have taken them already.
        timeout(BACK_MAX, back).await.unwrap_or(Ok(()))
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(5);
const BACK_MAX: Duration = Duration::from_millis(500);

/// The broker gives back by itself what was on a channel that is dropped.
#[async_trait]
impl DeadLetterQueue for Letters {
    async fn take(&mut self) -> Result<Option<(u64, Message)>> {
        self.next().await
    }

    async fn redrive(&mut self, tag: u64) -> Result<()> {
        self.put_back(tag).await
    }

    async fn discard(&mut self, tag: u64) -> Result<()> {
        self.forget(tag).await
    }

    async fn close(&mut self) -> Result<()> {
        self.give_back().await
    }
}
