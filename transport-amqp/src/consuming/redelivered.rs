//! Deliveries that the broker redelivers: isolated, counted, or passed on.

use std::sync::Arc;

use polywire_core::Result;
use tokio::sync::mpsc;

use crate::consuming::active_consumer::Lane;
use crate::consuming::buffered_delivery::BufferedDelivery;
use crate::consuming::republisher::Republisher;
use crate::consuming::republishing_settle::dead_letter_crashed;
use crate::consuming::requeue_mode::RequeueMode;

impl Republisher {
    /// Isolates or counts a delivery that the broker redelivers. Returns the delivery if neither
    /// is needed. A delivery that cannot be counted goes to `sender`.
    pub(super) fn redeliver(
        self: &Arc<Self>,
        lane: Lane,
        mut fetched: BufferedDelivery,
        sender: &mpsc::Sender<Result<BufferedDelivery>>,
    ) -> Option<BufferedDelivery> {
        let deliveries_max = self.queue.options.deliveries_max();
        match lane {
            Lane::Ordinary if self.suspects.is_none() => {
                if self.requeue_mode != RequeueMode::Counted {
                    return Some(fetched);
                }
                self.count_redelivery(fetched, sender.clone());
            }
            // A server may refuse a redelivered request, and needs not wait for others to do so.
            Lane::Ordinary if self.requeue_mode == RequeueMode::BrokerOrDeclined => {
                return Some(fetched);
            }
            Lane::Ordinary => self.isolate(fetched),
            // No copy of a call can be sent any more. Core decides what becomes of it.
            Lane::Suspects if fetched.has_expired_call() => return Some(fetched),
            // The last consumer has ended with this message as its only suspect.
            Lane::Suspects if fetched.has_crashed_too_often(deliveries_max) => {
                let tag = fetched.tag;
                dead_letter_crashed(self, tag, fetched.take_republish()?);
            }
            Lane::Suspects => self.isolate(fetched),
        }
        None
    }
}
