//! Deliveries whose attempts we count, since a classic queue does not.

use std::sync::Arc;

use lapin::types::ShortString;
use polywire_core::{Outcome, Settle};
use tokio::runtime::Handle;

use crate::seat::Seat;
use crate::transport::Inner;
use crate::wire::{Again, Native, Wire};

/// A delivery of a classic queue: given back, it is published again with its count, and acknowledged only then.
pub(crate) struct Attempt {
    counter: Arc<Counter>,
    again: Again,
}

/// What the deliveries of a queue need to be published again.
pub(crate) struct Counter {
    transport: Arc<Inner>,
    seat: Arc<Seat>,
    queue: ShortString,
    /// Receipts may be settled outside of a runtime.
    runtime: Handle,
}

impl Counter {
    /// A counter for what comes from `queue`. It has to be made within a runtime.
    pub(crate) fn new(transport: Arc<Inner>, seat: Arc<Seat>, queue: ShortString) -> Arc<Self> {
        Arc::new(Self { transport, seat, queue, runtime: Handle::current() })
    }

    /// The ear for the outcome of one delivery.
    pub(crate) fn attempt(self: &Arc<Self>, again: Again) -> Arc<Attempt> {
        Arc::new(Attempt { counter: self.clone(), again })
    }

    /// If the copy cannot be published, the broker gives the original to somebody, uncounted. If it is not known whether
    /// it was, there are two: better than none.
    async fn publish(self: Arc<Self>, again: Again, tag: u64) {
        let copy = Native.encode_again(&self.queue, again);
        let outcome = match self.transport.lines.publish(copy, None).await {
            Ok(()) => Outcome::Ack,
            Err(error) => {
                tracing::debug!(?error, queue = %self.queue, "given back without its count");
                Outcome::Requeue
            }
        };
        self.seat.settle(tag, outcome);
    }
}

impl Settle for Attempt {
    fn settle(&self, tag: u64, outcome: Outcome) {
        match outcome {
            Outcome::Ack | Outcome::Discard => self.counter.seat.settle(tag, outcome),
            // The broker delivers it again by itself.
            _ if !self.counter.seat.can_settle(tag) => {}
            // It ends with the confirm, or when that is given up.
            _ => drop(self.counter.runtime.spawn(self.counter.clone().publish(self.again.clone(), tag))),
        }
    }
}
