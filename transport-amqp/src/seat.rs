//! Where the receipts of a consuming end go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use polywire_core::transport::{Outcome, Settle};

use crate::error::lock;

/// The channel of a consuming end, which the receipts keep open.
#[derive(Default)]
pub(crate) struct Seat {
    channel: Mutex<Option<(u64, Arc<Channel>)>>,
    /// The first generation of which it is not known that its channel was lost.
    unlost: AtomicU64,
}

impl Seat {
    /// Takes a new channel; what came over the last one is the broker's again, and can be settled
    /// no more.
    pub(crate) fn renew(&self, channel: Arc<Channel>) -> u64 {
        let mut current = lock(&self.channel);
        let generation = current.as_ref().map_or(0, |(generation, _)| generation + 1);
        *current = Some((generation, channel));
        generation
    }

    /// Notes that a channel was lost, so that the broker delivers again what came over it.
    pub(crate) fn lost(&self, generation: u64) {
        self.unlost.store(generation + 1, Ordering::Release);
    }

    /// Whether what has this tag comes again, whatever is done about it.
    pub(crate) fn comes_again(&self, tag: u64) -> bool {
        (tag >> TAG_BITS) < self.unlost.load(Ordering::Acquire)
    }

    /// Whether what has this tag can still be settled.
    pub(crate) fn can_settle(&self, tag: u64) -> bool {
        let current = lock(&self.channel);
        current.as_ref().is_some_and(|(generation, channel)| {
            *generation == tag >> TAG_BITS && channel.status().connected()
        })
    }

    /// The tag of a receipt: the broker's tag, and the generation of the channel it is of.
    pub(crate) fn tag(generation: u64, tag: u64) -> u64 {
        (generation << TAG_BITS) | tag
    }
}

/// The bits of a receipt's tag that are the broker's; those above are the channel's generation.
const TAG_BITS: u32 = 44;

impl Settle for Seat {
    fn settle(&self, tag: u64, outcome: Outcome) {
        let (generation, tag) = (tag >> TAG_BITS, tag & ((1 << TAG_BITS) - 1));
        let current = lock(&self.channel);
        let Some((_, channel)) = current.as_ref().filter(|(current, _)| *current == generation)
        else {
            return;
        };
        match outcome {
            Outcome::Ack => acknowledge(channel, tag, false),
            Outcome::Discard => {
                write(channel.basic_reject(tag, BasicRejectOptions { requeue: false }))
            }
            _ => write(channel.basic_nack(
                tag,
                BasicNackOptions { requeue: true, ..BasicNackOptions::default() },
            )),
        }
    }
}

/// Acknowledges a delivery, or all up to it.
pub(crate) fn acknowledge(channel: &Channel, tag: u64, multiple: bool) {
    write(channel.basic_ack(tag, BasicAckOptions { multiple }));
}

/// Queues a frame, which the first poll does; what is left to wait for is that it was written. If
/// it cannot be, the channel is lost, and the broker requeues by itself.
pub(crate) fn write(sending: impl Future<Output = lapin::Result<()>>) {
    let sending = std::pin::pin!(sending);
    let _ = sending.poll(&mut Context::from_waker(Waker::noop()));
}
