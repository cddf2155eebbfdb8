//! Deliveries as they arrive: decoded, shortened by their time of waiting, isolated, counted,
//! requeued or dead-lettered.

use lapin::message::Delivery as Raw;
use polywire_core::transport::{Outcome, Settle, Suspect};
use polywire_core::{Address, Result};

use crate::consuming::acker::ChannelAcker;
use crate::consuming::active_consumer::Lane;
use crate::consuming::buffered_delivery::BufferedDelivery;
use crate::consuming::consumed_queue::ConsumedQueue;
use crate::consuming::consumer_task::ConsumerTask;
use crate::consuming::republishing_settle::{dead_letter_crashed, dead_letter_undecodable};
use crate::consuming::requeue_mode::RequeueMode;
use crate::wire::{Republish, native, sent_at};

impl<S: ConsumedQueue> ConsumerTask<S> {
    /// Isolates or counts a delivery that the broker redelivers. Returns the delivery if neither
    /// is needed.
    ///
    /// `None` means that a task settles the delivery, or that the transport is closing.
    pub(super) fn redeliver(
        &self,
        lane: Lane,
        mut fetched: BufferedDelivery,
    ) -> Option<BufferedDelivery> {
        if self.shared.tasks.is_closed() {
            // A closing transport waits for its copies, and begins no others. The broker requeues
            // what is left when the connection closes; a requeue now would come back at once.
            return None;
        }
        let republisher = &self.republisher;
        let mode = republisher.requeue_mode(fetched.is_counted);
        let deliveries_max = self.consumed.queue().options.deliveries_max();
        match lane {
            Lane::Ordinary if republisher.suspects().is_none() => {
                if mode != RequeueMode::Counted {
                    return Some(fetched);
                }
                republisher.count_redelivery(fetched, self.sender.clone());
            }
            // A server may refuse a redelivered request, and needs not wait for others to do so.
            Lane::Ordinary if mode == RequeueMode::BrokerOrDeclined => return Some(fetched),
            Lane::Ordinary => republisher.isolate(fetched),
            // No copy of a call can be sent any more. Core decides what becomes of it.
            Lane::Suspects if fetched.has_expired_call() => return Some(fetched),
            // The last consumer has ended with this message as its only suspect.
            Lane::Suspects if fetched.has_crashed_too_often(deliveries_max) => {
                let tag = fetched.tag;
                dead_letter_crashed(republisher, tag, fetched.take_republish()?);
            }
            Lane::Suspects => republisher.isolate(fetched),
        }
        None
    }

    /// Decodes a delivery. On failure, discards or dead-letters it.
    ///
    /// The decoded deadline is shorter by the time that the message has waited. A redelivered
    /// message is a suspect, if suspects are isolated. A canary is decoded first, before the codec
    /// of the queue sees it.
    pub(super) fn decode(
        &self,
        generation: u64,
        lane: Lane,
        mut raw: Raw,
    ) -> Result<BufferedDelivery> {
        let tag = ChannelAcker::receipt_tag(generation, raw.delivery_tag);
        if let Some(canary) = native::decode_canary(&raw.properties) {
            return Ok(BufferedDelivery::canary(canary, tag));
        }
        let mode = self.consumed.requeue_mode();
        let isolates = self.republisher.suspects().is_some();
        let suspect = match lane {
            Lane::Ordinary => (isolates && raw.redelivered).then(Suspect::redelivered),
            Lane::Suspects => {
                let crashes = native::crashes(&raw).saturating_add(u32::from(raw.redelivered));
                Some(Suspect::isolated(crashes))
            }
        };
        let attempt =
            if isolates { native::counted_attempt(&raw) } else { self.consumed.attempt(&raw) };
        let is_counted = native::is_counted(&raw);
        let decoded = self.consumed.decode(&mut raw, &self.shared.config.limits);
        match decoded.map_err(|error| error.with("queue", &self.consumed.queue().name)) {
            Ok(mut message) => {
                if message.deadline.is_some() {
                    let waiting_times = &self.shared.waiting_times;
                    waiting_times.shorten(&mut message, sent_at(&raw.properties));
                }
                let properties = mode.may_republish().then(|| Box::new(raw.properties));
                let canary = None;
                Ok(BufferedDelivery {
                    message,
                    tag,
                    attempt,
                    is_counted,
                    suspect,
                    properties,
                    canary,
                })
            }
            // A redelivery would fail in the same way.
            Err(error) if !mode.dead_letters_undecodable() => {
                self.acker.settle(tag, Outcome::Discard);
                Err(error)
            }
            Err(error) => {
                let topic = Address::new(raw.routing_key.as_str())
                    .ok()
                    .filter(|_| !raw.exchange.as_str().is_empty());
                let (properties, body) = (raw.properties, raw.data.into());
                let copy = Republish {
                    history: None,
                    without_expiration: true,
                    ..Republish::new(properties, topic, body, attempt)
                };
                dead_letter_undecodable(&self.republisher, tag, copy, &error);
                Err(error)
            }
        }
    }

    /// Requeues a delivery that the receiving half did not take. Undecodable ones are settled
    /// already.
    pub(super) fn requeue(&self, item: Result<BufferedDelivery>) {
        match item {
            // The broker's requeue would count as a crash.
            Ok(BufferedDelivery { suspect: Some(suspect), .. })
                if suspect.is_isolated && !self.shared.tasks.is_closed() =>
            {
                item.into_iter().for_each(|fetched| self.republisher.isolate(fetched));
            }
            Ok(BufferedDelivery { tag, .. }) => self.acker.release(tag),
            Err(_) => {}
        }
    }
}
