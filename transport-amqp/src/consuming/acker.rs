//! Settlement of deliveries on the channel over which they arrived.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use polywire_core::transport::{Outcome, Settle};

use crate::connection::enqueue_frame::enqueue_frame;
use crate::error::lock;

/// The current channel of a consumer, which its receipts keep open.
///
/// Channels are numbered by generation. A receipt of an earlier generation settles nothing: the
/// broker has requeued its delivery.
///
/// The consumer task sets the channel, and receipts settle on any thread. The lock is held while a
/// frame is queued, so that no frame goes to the next channel.
#[derive(Default)]
pub(crate) struct ChannelAcker {
    /// Generation and channel; `None` before the first registration.
    channel: Mutex<Option<(u64, Arc<Channel>)>>,
    /// The first generation whose channel is not known to be lost. Read without the lock, for each
    /// delivery.
    first_live: AtomicU64,
}

impl ChannelAcker {
    /// Replaces the channel, and returns its generation. Receipts of the previous channel settle
    /// nothing any more.
    ///
    /// The first generation is 0.
    pub(crate) fn set_channel(&self, channel: Arc<Channel>) -> u64 {
        let mut current = lock(&self.channel);
        let generation = current.as_ref().map_or(0, |(generation, _)| generation + 1);
        *current = Some((generation, channel));
        generation
    }

    /// Marks a channel as lost: the broker redelivers its unsettled deliveries.
    pub(crate) fn mark_lost(&self, generation: u64) {
        self.first_live.store(generation + 1, Ordering::Release);
    }

    /// Returns whether the channel of this tag is lost, so that the broker redelivers regardless of
    /// the outcome here.
    pub(crate) fn is_lost(&self, tag: u64) -> bool {
        (tag >> TAG_BITS) < self.first_live.load(Ordering::Acquire)
    }

    /// Returns whether the delivery of this tag can still be settled.
    ///
    /// The answer may be outdated in the next moment: an end of the connection is noticed late.
    pub(crate) fn can_settle(&self, tag: u64) -> bool {
        if self.is_lost(tag) {
            return false;
        }
        let current = lock(&self.channel);
        current.as_ref().is_some_and(|(generation, channel)| {
            *generation == tag >> TAG_BITS && channel.status().connected()
        })
    }

    /// Requeues a delivery that no handler has had, or that only the broker keeps from its
    /// destination. From RabbitMQ 4.3 on, this does not count towards the delivery limit of a
    /// quorum queue; before, each requeue does.
    ///
    /// The frame is `basic.nack`, an [extension](https://www.rabbitmq.com/docs/nack) of RabbitMQ.
    pub(crate) fn release(&self, tag: u64) {
        self.with_channel(tag, |channel, tag| {
            let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
            enqueue_frame(channel.basic_nack(tag, options));
        });
    }

    /// Runs `act` with the channel of a receipt and the broker's delivery tag, unless a later
    /// channel has replaced that channel.
    fn with_channel(&self, tag: u64, act: impl FnOnce(&Channel, u64)) {
        let (generation, tag) = (tag >> TAG_BITS, tag & ((1 << TAG_BITS) - 1));
        let current = lock(&self.channel);
        if let Some((_, channel)) = current.as_ref().filter(|(current, _)| *current == generation) {
            act(channel, tag);
        }
    }

    /// Returns the tag of a receipt: the channel's generation above the broker's delivery tag.
    ///
    /// A broker counts the deliveries of each channel from 1, and 44 bits hold 17 trillion of them.
    /// The other 20 bits hold a million generations.
    pub(crate) fn receipt_tag(generation: u64, delivery_tag: u64) -> u64 {
        (generation << TAG_BITS) | delivery_tag
    }
}

/// Bits of a receipt's tag that hold the broker's delivery tag. The generation is above them.
const TAG_BITS: u32 = 44;

impl Settle for ChannelAcker {
    /// Queues the frame for an outcome: `basic.ack`, or `basic.reject` with or without a requeue.
    /// Does nothing if the channel of the delivery was replaced.
    fn settle(&self, tag: u64, outcome: Outcome) {
        self.with_channel(tag, |channel, tag| match outcome {
            Outcome::Ack => acknowledge(channel, tag, false),
            // Not `basic.nack`: RabbitMQ 4.3 would not count that towards the delivery limit, and
            // deliver a message without end that its handlers drop.
            outcome => {
                let requeue = !matches!(outcome, Outcome::Discard);
                enqueue_frame(channel.basic_reject(tag, BasicRejectOptions { requeue }));
            }
        });
    }
}

/// Acknowledges one delivery, or with `multiple` all up to this one.
pub(crate) fn acknowledge(channel: &Channel, tag: u64, multiple: bool) {
    enqueue_frame(channel.basic_ack(tag, BasicAckOptions { multiple }));
}
