//! What arrived, and what becomes of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;

use crate::error::Fault;
use crate::message::{DeadLetterReason, Message};

/// A message that arrived, with the means to say what became of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// To be settled when the work is done. Dropped unsettled, it requeues.
    pub receipt: Receipt,
    /// Which attempt this is, counted from 1. From 2 on it was delivered before, so that the work
    /// may have been done, or half done. A backend that only knows that it was delivered
    /// before says 2.
    pub attempt: u32,
}

impl Delivery {
    /// A message that has to be settled.
    #[must_use]
    pub fn new(message: Message, receipt: Receipt) -> Self {
        Self { message, receipt, attempt: 1 }
    }

    /// A message that is done with by having arrived: a reply, or a request of a backend without
    /// settlement.
    #[must_use]
    pub fn settled(message: Message) -> Self {
        Self::new(message, Receipt::none())
    }

    /// Says which attempt it is, counted from 1.
    #[must_use]
    pub fn attempt(self, attempt: u32) -> Self {
        Self { attempt, ..self }
    }
}

/// What became of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The work is done.
    Ack,
    /// It never will be: forget it.
    Discard,
    /// Somebody else should do it, or we later.
    Requeue,
    /// Nothing was done about it, and another responder should have it. When there is none that has
    /// not declined it, or it was declined too often, its caller is to be answered with this
    /// fault. Only a backend with [`declining`](crate::Capabilities::declining) is told so, and
    /// of requests only.
    Decline(Box<Fault>),
    /// It failed, and is to be attempted again, maybe not before a while. Only a backend with
    /// [`delayed_retries`](crate::Capabilities::delayed_retries) is told so.
    Retry(Box<RetryAfter>),
    /// It failed for good, and is to be kept where somebody can look at it. Only a backend with
    /// [`dead_letters`](crate::Capabilities::dead_letters) is told so.
    DeadLetter(Box<DeadLetterInfo>),
}

/// How something that failed is to be attempted again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryAfter {
    /// How long nobody is to be given it. A backend that cannot measure it may take up to a
    /// quarter more.
    pub after: Duration,
    /// What the attempt said, for its [`History`](crate::message::History).
    pub error: ByteString,
}

impl RetryAfter {
    /// After this long, because of this error.
    #[must_use]
    pub fn new(after: Duration, error: impl Into<ByteString>) -> Self {
        Self { after, error: error.into() }
    }
}

/// Why something is to be kept as a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetterInfo {
    /// Why.
    pub reason: DeadLetterReason,
    /// What the last attempt said, for its [`History`](crate::message::History).
    pub error: ByteString,
}

impl DeadLetterInfo {
    /// For this reason, because of this error.
    #[must_use]
    pub fn new(reason: DeadLetterReason, error: impl Into<ByteString>) -> Self {
        Self { reason, error: error.into() }
    }
}

/// A backend's ear for outcomes.
pub trait Settle: Send + Sync + 'static {
    /// Takes the outcome of the delivery with this tag. Does not wait: what must go over a network
    /// is queued, and a settlement that cannot be sent any more means that the broker requeues
    /// by itself.
    fn settle(&self, tag: u64, outcome: Outcome);
}

/// The duty to say what became of a delivery. Dropping it unsettled means [`Outcome::Requeue`].
#[must_use = "dropping a receipt requeues its delivery"]
pub struct Receipt(Option<(Arc<dyn Settle>, u64)>);

impl Receipt {
    /// A receipt whose outcome goes to `settle`, under `tag`.
    pub fn new(settle: Arc<dyn Settle>, tag: u64) -> Self {
        Self(Some((settle, tag)))
    }

    /// A receipt of something that needs no settling: every outcome means nothing.
    pub fn none() -> Self {
        Self(None)
    }

    /// Whether there is anything to settle. If not, an outcome changes nothing.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Says that the work is done.
    pub fn ack(self) {
        self.settle(Outcome::Ack);
    }

    /// Says that the work will never be done.
    pub fn discard(self) {
        self.settle(Outcome::Discard);
    }

    /// Says that somebody else should do it.
    pub fn requeue(self) {
        self.settle(Outcome::Requeue);
    }

    /// Says what became of the delivery.
    pub fn settle(mut self, outcome: Outcome) {
        if let Some((settle, tag)) = self.0.take() {
            settle.settle(tag, outcome);
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
    struct Ledger(Mutex<Vec<(u64, Outcome)>>);

    impl Settle for Ledger {
        fn settle(&self, tag: u64, outcome: Outcome) {
            self.0.lock().unwrap().push((tag, outcome));
        }
    }

    #[test]
    fn each_receipt_settles_once_and_a_dropped_one_requeues() {
        let ledger = Arc::new(Ledger::default());
        Receipt::new(ledger.clone(), 1).ack();
        Receipt::new(ledger.clone(), 2).discard();
        Receipt::new(ledger.clone(), 3).requeue();
        drop(Receipt::new(ledger.clone(), 4));
        Receipt::none().ack();
        let settled = ledger.0.lock().unwrap();
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
