//! Settlement of deliveries on the channel over which they arrived.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use lapin::Channel;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use polywire_core::transport::{Outcome, Settle};
use tokio::sync::Notify;
use tokio::task::yield_now;

use crate::connection::send_unawaited::send_unawaited;
use crate::consuming::pending_acks::{DueAcks, PendingAcks};
use crate::consuming::stand_in_tags::{DeliveryShare, ShareEnd, StandInTags};
use crate::lock::lock;

/// The current channel of a consumer, which its receipts keep open.
///
/// Channels are numbered by generation. A receipt of an earlier generation settles nothing: the
/// broker has requeued its delivery.
///
/// The consumer task sets the channel, and receipts settle on any thread. The lock is held while a
/// frame is queued, so that no frame goes to the next channel.
///
/// Acknowledgements wait until the tasks that are ready have run, and are sent together: one frame
/// for many costs the broker much less.
pub(crate) struct ChannelAcker {
    /// The channel; `None` before the first registration.
    current: Mutex<Option<AckedChannel>>,
    /// The first generation whose channel is not known to be lost. Read without the lock, for each
    /// delivery.
    first_live: AtomicU64,
    /// Signal that acknowledgements wait.
    is_due: Arc<Notify>,
    /// Set while there is a task that sends acknowledgements.
    has_task: AtomicBool,
    /// Deliveries that are settled elsewhere, and are republished as those of this consumer.
    stand_ins: StandInTags,
}

/// A channel, and the acknowledgements that wait for it.
struct AckedChannel {
    generation: u64,
    channel: Arc<Channel>,
    acks: PendingAcks,
    /// The time of the first acknowledgement that waits.
    since: Instant,
}

impl AckedChannel {
    /// Queues the frames of all acknowledgements that wait.
    fn flush(&mut self) {
        let DueAcks { up_to, single } = self.acks.take();
        if let Some(tag) = up_to {
            acknowledge(&self.channel, tag, true);
        }
        for tag in single {
            acknowledge(&self.channel, tag, false);
        }
    }
}

impl ChannelAcker {
    /// Creates an acker without a channel, and starts the task that sends its acknowledgements.
    /// Panics outside of a runtime.
    pub(crate) fn start() -> Arc<Self> {
        let acker = Arc::new(Self {
            current: Mutex::new(None),
            first_live: AtomicU64::new(0),
            is_due: Arc::default(),
            has_task: AtomicBool::new(true),
            stand_ins: StandInTags::default(),
        });
        let task = FlushTask(Arc::downgrade(&acker));
        drop(tokio::spawn(task.run(acker.is_due.clone())));
        acker
    }

    /// Replaces the channel, and returns its generation. Receipts of the previous channel settle
    /// nothing any more.
    ///
    /// The first generation is 0.
    pub(crate) fn set_channel(&self, channel: Arc<Channel>) -> u64 {
        let mut current = lock(&self.current);
        if let Some(last) = &mut *current {
            last.flush();
        }
        let generation = current.as_ref().map_or(0, |last| last.generation + 1);
        let (acks, since) = (PendingAcks::default(), Instant::now());
        *current = Some(AckedChannel { generation, channel, acks, since });
        generation
    }

    /// Queues the frames of all acknowledgements that wait.
    pub(crate) fn flush(&self) {
        if let Some(current) = &mut *lock(&self.current) {
            current.flush();
        }
    }

    /// Acknowledges a delivery of which a copy was published. The frame does not wait for others: a
    /// process that dies in between leaves both messages.
    pub(crate) fn acknowledge_now(&self, tag: u64) {
        if is_stand_in(tag) {
            return self.stand_ins.settle(tag & DELIVERY_TAG, ShareEnd::Copied);
        }
        self.with_channel(tag, |current, tag| {
            current.acks.add(tag);
            current.flush();
        });
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
        if is_stand_in(tag) {
            return self.stand_ins.can_settle(tag & DELIVERY_TAG);
        }
        if self.is_lost(tag) {
            return false;
        }
        let current = lock(&self.current);
        current.as_ref().is_some_and(|current| {
            current.generation == tag >> TAG_BITS && current.channel.status().connected()
        })
    }

    /// Requeues a delivery that no handler has had, or that only the broker keeps from its
    /// destination. From RabbitMQ 4.3 on, this does not count towards the delivery limit of a
    /// quorum queue; before, each requeue does.
    ///
    /// The frame is `basic.nack`, an [extension](https://www.rabbitmq.com/docs/nack) of RabbitMQ.
    pub(crate) fn release(&self, tag: u64) {
        if is_stand_in(tag) {
            return self.stand_ins.settle(tag & DELIVERY_TAG, ShareEnd::Returned);
        }
        self.with_channel(tag, |AckedChannel { channel, acks, .. }, tag| {
            acks.note_settled(tag);
            let options = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
            send_unawaited(channel.basic_nack(tag, options));
        });
    }

    /// Runs `act` with the channel of a receipt and the broker's delivery tag, unless a later
    /// channel has replaced that channel.
    fn with_channel(&self, tag: u64, act: impl FnOnce(&mut AckedChannel, u64)) {
        let (generation, tag) = (tag >> TAG_BITS, tag & DELIVERY_TAG);
        let mut current = lock(&self.current);
        if let Some(current) = current.as_mut().filter(|it| it.generation == generation) {
            act(current, tag);
        }
    }

    /// Returns the tag of a receipt: the channel's generation above the broker's delivery tag.
    ///
    /// A broker counts the deliveries of each channel from 1, and 44 bits hold 17 trillion of them.
    /// The other 20 bits hold a million generations.
    pub(crate) fn receipt_tag(generation: u64, delivery_tag: u64) -> u64 {
        (generation << TAG_BITS) | delivery_tag
    }

    /// Returns a tag for a delivery that is settled elsewhere. It belongs to no channel.
    pub(crate) fn stand_in(&self, share: Arc<dyn DeliveryShare>) -> u64 {
        Self::receipt_tag(STAND_INS, self.stand_ins.add(share))
    }
}

/// Bits of a receipt's tag that hold the broker's delivery tag. The generation is above them.
const TAG_BITS: u32 = 44;
/// The broker's delivery tag in a receipt's tag.
const DELIVERY_TAG: u64 = (1 << TAG_BITS) - 1;
/// The generation in the tags of deliveries that are settled elsewhere. No channel has it.
const STAND_INS: u64 = u64::MAX >> TAG_BITS;

fn is_stand_in(tag: u64) -> bool {
    tag >> TAG_BITS == STAND_INS
}

impl Settle for ChannelAcker {
    /// Queues the frame for an outcome: `basic.reject` with or without a requeue, or `basic.ack`
    /// together with others. Does nothing if the channel of the delivery was replaced.
    fn settle(&self, tag: u64, outcome: Outcome) {
        if is_stand_in(tag) {
            let end = match outcome {
                Outcome::Ack | Outcome::Discard => ShareEnd::Done,
                _ => ShareEnd::Returned,
            };
            return self.stand_ins.settle(tag & DELIVERY_TAG, end);
        }
        self.with_channel(tag, |current, tag| match outcome {
            Outcome::Ack => match current.acks.add(tag) {
                _ if !self.has_task.load(Ordering::Acquire) => current.flush(),
                ACKS_MAX => current.flush(),
                1 => {
                    current.since = Instant::now();
                    self.is_due.notify_one();
                }
                // The task that settles keeps its thread from the one that sends.
                _ if current.since.elapsed() > WAIT_MAX => current.flush(),
                _ => {}
            },
            // Not `basic.nack`: RabbitMQ 4.3 would not count that towards the delivery limit, and
            // deliver a message without end that its handlers drop.
            outcome => {
                current.acks.note_settled(tag);
                let requeue = !matches!(outcome, Outcome::Discard);
                send_unawaited(current.channel.basic_reject(tag, BasicRejectOptions { requeue }));
            }
        });
    }
}

impl Drop for ChannelAcker {
    fn drop(&mut self) {
        self.flush();
        self.is_due.notify_one();
    }
}

/// The task that sends acknowledgements, until its acker is dropped.
///
/// If its runtime ends first, each acknowledgement is sent at once from then on.
struct FlushTask(Weak<ChannelAcker>);

impl FlushTask {
    async fn run(self, is_due: Arc<Notify>) {
        loop {
            is_due.notified().await;
            // The tasks that were woken by the same batch of confirms settle first.
            yield_now().await;
            match self.0.upgrade() {
                Some(acker) => acker.flush(),
                None => return,
            }
        }
    }
}

impl Drop for FlushTask {
    fn drop(&mut self) {
        if let Some(acker) = self.0.upgrade() {
            acker.has_task.store(false, Ordering::Release);
            acker.flush();
        }
    }
}

/// Number of acknowledgements that wait for no more.
const ACKS_MAX: usize = 64;

/// The longest wait of an acknowledgement for the task that sends it, while others follow.
const WAIT_MAX: Duration = Duration::from_millis(5);

/// Acknowledges one delivery, or with `multiple` all up to this one.
pub(crate) fn acknowledge(channel: &Channel, tag: u64, multiple: bool) {
    send_unawaited(channel.basic_ack(tag, BasicAckOptions { multiple }));
}
