//! Receipts: the means to settle a delivery.

use std::fmt;
use std::sync::Arc;

use super::Outcome;

/// Backend side of settlement.
pub trait Settle: Send + Sync + 'static {
    /// Settles the delivery with this tag.
    ///
    /// The method must not wait, because it runs when a receipt is dropped. A backend queues a
    /// settlement that has to cross a network. If the settlement can no longer be sent, the broker
    /// requeues the delivery itself.
    fn settle(&self, tag: u64, outcome: Outcome);

    /// Settles like [`settle`](Self::settle), and calls `settled` once the outcome is carried out.
    ///
    /// A backend that waits for a broker to keep the message, as a retry or a dead letter,
    /// implements this method. The default calls `settled` at once.
    fn settle_then(&self, tag: u64, outcome: Outcome, settled: OnSettled) {
        self.settle(tag, outcome);
        settled(Settled::Done);
    }
}

/// The way in which a backend has carried out an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settled {
    /// As the receiver asked.
    Done,
    /// Dead-lettered in place of a retry or a requeue: the broker cannot keep the message for it,
    /// or the message has exceeded the delivery limit of its queue.
    DeadLettered,
    /// Discarded, since the broker never takes the copy that the receiver asked for, nor a dead
    /// letter.
    Discarded,
    /// Requeued, since the broker refused, or did not confirm, what the receiver asked.
    Requeued,
}

/// Function that learns how an outcome was carried out. It is dropped without a call if that is
/// never known, as when the transport closes first.
pub type OnSettled = Box<dyn FnOnce(Settled) + Send>;

/// Obligation to settle a delivery. A dropped receipt settles with [`Outcome::Requeue`].
#[must_use = "dropping a receipt requeues its delivery"]
pub struct Receipt(Option<(Arc<dyn Settle>, u64)>);

impl Receipt {
    /// Creates a receipt that settles the delivery `tag` at `settle`.
    pub fn new(settle: Arc<dyn Settle>, tag: u64) -> Self {
        Self(Some((settle, tag)))
    }

    /// Creates a receipt of a delivery that needs no settling; its outcome has no effect.
    pub fn none() -> Self {
        Self(None)
    }

    /// Returns whether an outcome has an effect.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Acknowledges the delivery.
    pub fn ack(self) {
        self.settle(Outcome::Ack);
    }

    /// Discards the delivery.
    pub fn discard(self) {
        self.settle(Outcome::Discard);
    }

    /// Requeues the delivery.
    pub fn requeue(self) {
        self.settle(Outcome::Requeue);
    }

    /// Settles the delivery with `outcome`.
    pub fn settle(mut self, outcome: Outcome) {
        if let Some((settle, tag)) = self.0.take() {
            settle.settle(tag, outcome);
        }
    }

    /// Settles the delivery with `outcome`, and calls `settled` once that is carried out. A receipt
    /// without effect does not call it.
    pub fn settle_then(mut self, outcome: Outcome, settled: OnSettled) {
        if let Some((settle, tag)) = self.0.take() {
            settle.settle_then(tag, outcome, settled);
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if let Some((settle, tag)) = self.0.take() {
            settle.settle(tag, Outcome::Requeue);
        }
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some((_, tag)) => write!(f, "Receipt({tag})"),
            None => f.write_str("Receipt(none)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct SettleLog(Mutex<Vec<(u64, Outcome)>>);

    impl Settle for SettleLog {
        fn settle(&self, tag: u64, outcome: Outcome) {
            self.0.lock().unwrap().push((tag, outcome));
        }
    }

    #[test]
    fn each_receipt_settles_once_and_a_dropped_one_requeues() {
        let log = Arc::new(SettleLog::default());
        Receipt::new(log.clone(), 1).ack();
        Receipt::new(log.clone(), 2).discard();
        Receipt::new(log.clone(), 3).requeue();
        drop(Receipt::new(log.clone(), 4));
        Receipt::none().ack();
        let settled = log.0.lock().unwrap();
        assert_eq!(
            *settled,
            [
                (1, Outcome::Ack),
                (2, Outcome::Discard),
                (3, Outcome::Requeue),
                (4, Outcome::Requeue)
            ]
        );
    }
}
