//! Receipts whose deliveries may be republished.
//!
//! Passive queues isolate no suspects. A passive quorum queue requeues jobs and events by itself.
//!
//! | outcome | classic queue | quorum queue |
//! |---|---|---|
//! | acknowledge, discard | acknowledge, reject | acknowledge, reject |
//! | requeue a job or a group's event | republish with the next attempt number | the same |
//! | requeue a request | requeue | requeue |
//! | requeue a suspect | republish to the queue of suspects | the same |
//! | retry after a delay | republish to a retry queue | republish to a retry queue |
//! | dead-letter | republish to the dead-letter queue | republish to the dead-letter queue |
//! | decline (requests only) | republish for another server | republish for another server |

use std::sync::Arc;

use polywire_core::Error;
use polywire_core::message::DeadLetterReason;
use polywire_core::transport::{DeadLetterInfo, OnSettled, Outcome, Settle, Settled};

use crate::consuming::delay_rounding::rounded_delay;
use crate::consuming::republisher::{RepublishTarget, Republisher};
use crate::consuming::requeue_mode::RequeueMode;
use crate::wire::Republish;

/// Dead-letters a delivery that cannot be decoded.
pub(super) fn dead_letter_undecodable(
    republisher: &Arc<Republisher>,
    tag: u64,
    copy: Republish,
    error: &Error,
) {
    let info = DeadLetterInfo::new(DeadLetterReason::Unreadable, error.to_string());
    let settle = RepublishingSettle::new(republisher.clone(), copy);
    settle.settle(tag, Outcome::DeadLetter(Box::new(info)));
}

/// Dead-letters a suspect that has ended its consumers too often.
pub(super) fn dead_letter_crashed(republisher: &Arc<Republisher>, tag: u64, copy: Republish) {
    let error = format!("delivered {} times", copy.attempts_made());
    let info = DeadLetterInfo::new(DeadLetterReason::Crashed, error);
    let settle = RepublishingSettle::new(republisher.clone(), copy);
    settle.settle(tag, Outcome::DeadLetter(Box::new(info)));
}

/// Settlement of one delivery, with a copy of the delivery to republish.
pub(super) struct RepublishingSettle {
    /// Consumer of the delivery.
    republisher: Arc<Republisher>,
    /// Properties and body as they arrived. The body is shared, not copied.
    copy: Republish,
}

impl RepublishingSettle {
    /// Creates the receipt of a delivery from its copy.
    pub(super) fn new(republisher: Arc<Republisher>, copy: Republish) -> Self {
        Self { republisher, copy }
    }

    /// Returns the copy for an outcome and its target; `None` if the broker requeues by itself.
    ///
    /// The copy has the number of the next attempt, except for requests and dead letters.
    fn copy_for(&self, outcome: Outcome) -> Option<(RepublishTarget, Republish)> {
        let mode = self.republisher.current_requeue_mode();
        let mut copy = self.copy.clone();
        let crashes = copy.crashes.take();
        let history = &mut copy.history;
        let target = match outcome {
            Outcome::Retry(retry) => {
                history.get_or_insert_default().failed(&retry.error);
                rounded_delay(retry.after).map_or(RepublishTarget::Origin, RepublishTarget::Retry)
            }
            Outcome::DeadLetter(info) => {
                let attempts = self.copy.attempts_made();
                history.get_or_insert_default().dead_lettered(info.reason, attempts, &info.error);
                return Some((RepublishTarget::DeadLetters, copy));
            }
            _ if self.is_over_limit(copy.attempt) => {
                let attempts = self.copy.attempts_made();
                self.republisher.log.over_limit(&self.copy, attempts);
                let error = format!("delivered {attempts} times").into();
                let reason = DeadLetterReason::Crashed;
                history.get_or_insert_default().dead_lettered(reason, attempts, &error);
                return Some((RepublishTarget::DeadLetters, copy));
            }
            // A requeue by the broker would count as a crash.
            _ if crashes.is_some() => {
                copy.crashes = crashes;
                RepublishTarget::Suspects
            }
            _ if mode != RequeueMode::Counted => return None,
            _ => RepublishTarget::Origin,
        };
        if mode != RequeueMode::BrokerOrDeclined {
            copy.attempt = copy.attempt.saturating_add(1);
        }
        Some((target, copy))
    }

    /// Returns whether another requeue would exceed the delivery limit of the queue. The broker
    /// does not count the copies.
    fn is_over_limit(&self, attempt: u32) -> bool {
        let max = self.republisher.queue.options.deliveries_max();
        let mode = self.republisher.current_requeue_mode();
        mode == RequeueMode::Counted && max.is_some_and(|max| attempt >= max)
    }
}

impl Settle for RepublishingSettle {
    fn settle(&self, tag: u64, outcome: Outcome) {
        self.settle_then(tag, outcome, Box::new(|_| {}));
    }

    /// Settles, and calls `settled` once the outcome is carried out. If the channel is lost or the
    /// transport is closed, `settled` is dropped without a call, unless the outcome needs no copy.
    fn settle_then(&self, tag: u64, outcome: Outcome, settled: OnSettled) {
        let Republisher { acker, queue, shared, .. } = &*self.republisher;
        match outcome {
            // The broker would dead-letter a rejected message.
            Outcome::Discard if queue.options.is_dead_lettering() => {
                acker.settle(tag, Outcome::Ack);
                settled(Settled::Done);
            }
            Outcome::Ack | Outcome::Discard => {
                acker.settle(tag, outcome);
                settled(Settled::Done);
            }
            // The broker redelivers by itself.
            _ if !acker.can_settle(tag) => {}
            Outcome::Decline(fault) if !shared.tasks.is_closed() => {
                self.republisher.decline(tag, self.copy.clone(), *fault, settled);
            }
            // A closing transport has no time left for a copy.
            _ if shared.tasks.is_closed() => acker.settle(tag, Outcome::Requeue),
            outcome => {
                let is_dead_letter = matches!(outcome, Outcome::DeadLetter(_));
                let Some((target, copy)) = self.copy_for(outcome) else {
                    acker.settle(tag, Outcome::Requeue);
                    return settled(Settled::Done);
                };
                let (republisher, attempts) = (self.republisher.clone(), self.copy.attempts_made());
                self.republisher.spawn(async move {
                    let settling = republisher.republish_and_settle(target, copy, attempts, tag);
                    settled(match settling.await {
                        Settled::DeadLettered if is_dead_letter => Settled::Done,
                        settled => settled,
                    });
                });
            }
        }
    }
}
