//! Receipts of calls that came in a batch.
//!
//! A plain outcome counts the call as settled. With any other outcome, the call leaves its batch as
//! a single message: the copy that republishing makes is that of a single request. The batch is
//! acknowledged when all its calls are settled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use polywire_core::transport::{OnSettled, Outcome, Settle, Settled};
use polywire_core::{Limits, Message};

use crate::consuming::acker::ChannelAcker;
use crate::consuming::republisher::{RepublishTarget, Republisher};
use crate::consuming::republishing_settle::RepublishingSettle;
use crate::consuming::stand_in_tags::{DeliveryShare, ShareEnd};
use crate::wire::Republish;
use crate::wire::native::CallBatch;

/// The settlement of all calls of a batch. The tag of a receipt is the index of the call.
pub(super) struct BatchSettle {
    batch: CallBatch,
    progress: Arc<BatchProgress>,
    /// Republishing for the queue of the service.
    republisher: Arc<Republisher>,
}

impl BatchSettle {
    /// Creates the settlement of a batch that was delivered with this tag of `acker`. `unsettled`
    /// counts the batches that are not settled.
    pub(super) fn new(
        batch: CallBatch,
        acker: Arc<ChannelAcker>,
        tag: u64,
        republisher: Arc<Republisher>,
        unsettled: Arc<AtomicUsize>,
    ) -> Self {
        unsettled.fetch_add(1, Ordering::Relaxed);
        let progress = Arc::new(BatchProgress {
            acker,
            tag,
            left: AtomicUsize::new(batch.len()),
            is_released: AtomicBool::new(false),
            is_copied: AtomicBool::new(false),
            unsettled,
        });
        Self { batch, progress, republisher }
    }

    /// Returns the number of calls.
    pub(super) fn len(&self) -> usize {
        self.batch.len()
    }

    /// Returns whether the broker redelivers the batch regardless of the outcomes here.
    pub(super) fn is_lost(&self) -> bool {
        self.progress.acker.is_lost(self.progress.tag)
    }

    /// Decodes a call. One whose entry names no call counts as settled, and yields `None`.
    pub(super) fn request(&self, index: usize, limits: &Limits) -> Option<Message> {
        let request = self.batch.request(index, limits);
        if request.is_none() {
            self.progress.settle(ShareEnd::Done);
        }
        request
    }

    /// Returns the calls from an index on, which have not begun, to the queue of the service.
    pub(super) fn return_unbegun_from(&self, index: usize) {
        (index..self.len()).for_each(|index| self.return_unbegun(index));
    }

    /// Returns a call that has not begun to the queue of the service, as a message that was not
    /// delivered before.
    fn return_unbegun(&self, index: usize) {
        let copy = self.batch.single(index).filter(|_| !self.republisher.shared.tasks.is_closed());
        match copy {
            Some(copy) => self.republish(RepublishTarget::Origin, copy, |_| {}),
            None => self.progress.settle(ShareEnd::Returned),
        }
    }

    /// Returns a call that may have begun: to the queue of suspects, or else marked as the second
    /// attempt.
    fn requeue(&self, mut copy: Republish, settled: OnSettled) {
        let target = if self.republisher.suspects().is_some() {
            copy.crashes = Some(0);
            RepublishTarget::Suspects
        } else {
            copy.attempt = 2;
            RepublishTarget::Origin
        };
        self.republish(target, copy, settled);
    }

    /// Republishes a call in a task of its own, then counts it as settled.
    fn republish(
        &self,
        target: RepublishTarget,
        copy: Republish,
        settled: impl FnOnce(Settled) + Send + 'static,
    ) {
        let republisher = self.republisher.clone();
        let tag = republisher.acker.stand_in(self.progress.clone());
        self.republisher.spawn(async move {
            let attempts = copy.attempts_made();
            settled(republisher.republish_and_settle(target, copy, attempts, tag).await);
        });
    }
}

impl Settle for BatchSettle {
    fn settle(&self, tag: u64, outcome: Outcome) {
        self.settle_then(tag, outcome, Box::new(|_| {}));
    }

    /// Settles one call. If the channel of the batch is lost, `settled` is dropped without a call,
    /// unless the outcome needs no copy.
    fn settle_then(&self, tag: u64, outcome: Outcome, settled: OnSettled) {
        if matches!(outcome, Outcome::Ack | Outcome::Discard) {
            self.progress.settle(ShareEnd::Done);
            return settled(Settled::Done);
        }
        let copy = usize::try_from(tag).ok().and_then(|index| self.batch.single(index));
        let copy = copy.filter(|_| self.progress.can_settle());
        // A malformed call has no other outcome than those above.
        let Some(copy) = copy else { return self.progress.settle(ShareEnd::Returned) };
        let republisher = &self.republisher;
        match outcome {
            Outcome::Requeue if !republisher.shared.tasks.is_closed() => {
                self.requeue(copy, settled);
            }
            outcome => {
                let tag = republisher.acker.stand_in(self.progress.clone());
                let settle = RepublishingSettle::new(republisher.clone(), copy);
                settle.settle_then(tag, outcome, settled);
            }
        }
    }
}

/// The number of calls of a batch that are not settled.
struct BatchProgress {
    /// Settlement of the batch.
    acker: Arc<ChannelAcker>,
    tag: u64,
    left: AtomicUsize,
    /// Set once a call could not be republished. The batch then comes again, as redelivered, and
    /// its client keeps the calls that it waits for.
    is_released: AtomicBool,
    /// Set once a call was republished. The acknowledgement of the batch then waits for no others.
    is_copied: AtomicBool,
    unsettled: Arc<AtomicUsize>,
}

impl DeliveryShare for BatchProgress {
    fn settle(&self, end: ShareEnd) {
        match end {
            ShareEnd::Done => {}
            ShareEnd::Copied => self.is_copied.store(true, Ordering::Release),
            ShareEnd::Returned => self.is_released.store(true, Ordering::Release),
        }
        if self.left.fetch_sub(1, Ordering::AcqRel) != 1 {
            return;
        }
        if self.is_released.load(Ordering::Acquire) {
            self.acker.release(self.tag);
        } else if self.is_copied.load(Ordering::Acquire) {
            self.acker.acknowledge_now(self.tag);
        } else {
            self.acker.settle(self.tag, Outcome::Ack);
        }
    }

    fn can_settle(&self) -> bool {
        self.acker.can_settle(self.tag)
    }
}

impl Drop for BatchProgress {
    fn drop(&mut self) {
        self.unsettled.fetch_sub(1, Ordering::Relaxed);
    }
}
