//! The registered consumers of one channel.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::Channel;
use lapin::message::Delivery as Raw;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use polywire_core::Result;

use crate::engine_error::failed;
use crate::topology::queue_spec::QueueSpec;

/// A consumer of a queue, and one of its suspects, on the same channel.
///
/// The consumer task owns the pair, and makes another one for each new channel.
pub(super) struct ActiveConsumer {
    pub(super) channel: Arc<Channel>,
    pub(super) generation: u64,
    pub(super) consumer: lapin::Consumer,
    /// Consumer of the suspects, if they are isolated. It holds one at a time.
    pub(super) suspects: Option<lapin::Consumer>,
    /// Deliveries of the queue since the suspects were looked at first.
    pub(super) turns: u32,
}

/// Queue that a delivery comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// The queue of the endpoint handle.
    Ordinary,
    /// The queue of its suspects.
    Suspects,
}

impl ActiveConsumer {
    /// Waits for the next delivery; `None` if the channel is lost or the broker cancelled one of
    /// the consumers.
    ///
    /// If the future is dropped, no delivery is lost.
    ///
    /// The deliveries of one queue keep their order. After `None`, the method must not be called
    /// again: the engine's streams may not be polled after their end.
    pub(super) async fn next(&mut self) -> Option<(Lane, Raw)> {
        let Self { consumer, suspects, turns, .. } = self;
        let Some(suspects) = suspects else {
            return Some((Lane::Ordinary, consumer.next().await?.ok()?));
        };
        *turns += 1;
        // A queue that is never empty must not hold up the suspects, and need not pay for them.
        if *turns >= TURNS_MAX {
            *turns = 0;
            tokio::select! {
                biased;
                suspect = suspects.next() => Some((Lane::Suspects, suspect?.ok()?)),
                raw = consumer.next() => Some((Lane::Ordinary, raw?.ok()?)),
            }
        } else {
            tokio::select! {
                biased;
                raw = consumer.next() => Some((Lane::Ordinary, raw?.ok()?)),
                suspect = suspects.next() => Some((Lane::Suspects, suspect?.ok()?)),
            }
        }
    }

    /// Cancels the consumers. Returns false if the channel is lost, so that the broker requeues its
    /// deliveries.
    pub(super) async fn cancel(&mut self) -> bool {
        for consumer in [Some(&self.consumer), self.suspects.as_ref()].into_iter().flatten() {
            let options = BasicCancelOptions::default();
            if self.channel.basic_cancel(consumer.tag(), options).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// Deliveries of the queue after which the suspects are looked at first.
const TURNS_MAX: u32 = 16;

/// Registers a consumer with a prefetch of its own. Its tag is the name of the queue, by which a
/// delivery is known where only its frames are seen. Tags are unique in a channel.
///
/// RabbitMQ applies a [prefetch](https://www.rabbitmq.com/docs/consumer-prefetch) that is not
/// global to each later consumer of the channel. In AMQP 0-9-1 it would apply to the channel.
pub(super) async fn consume(
    channel: &Channel,
    queue: &QueueSpec,
    prefetch: u16,
) -> Result<lapin::Consumer> {
    let cannot = |error| failed("cannot consume the queue", &error).with("queue", &queue.name);
    // Not global: the prefetch counts for each consumer that is registered from now on.
    channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(cannot)?;
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    let (name, tag) = (queue.name.clone(), queue.name.clone());
    let consumer = channel.basic_consume(name, tag, options, arguments).await;
    consumer.map_err(cannot)
}
