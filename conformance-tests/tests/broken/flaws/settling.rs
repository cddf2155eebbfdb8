//! Flaws of settlement, of attempts and of stopping.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;
use polywire_core::Result;
use polywire_core::message::MessageId;
use polywire_core::transport::{
    Abandoned, Delivery, Filters, Inbound, Outcome, Receipt, Receiver, Sender, Settle,
};

use crate::flaw::{Flaw, Halves};
use crate::halves::{altered, received, settled};
use crate::network::Disturbed;

/// Discards a delivery that is requeued or retried.
#[derive(Clone)]
pub(crate) struct ForgetsToRequeue;

impl Flaw for ForgetsToRequeue {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        (sender, settled(receiver, forget))
    }

    fn pulling(&self, receiver: Receiver) -> Receiver {
        settled(receiver, forget)
    }

    fn subscribing(&self, receiver: Receiver, filters: Filters) -> (Receiver, Filters) {
        (settled(receiver, forget), filters)
    }
}

fn forget(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Requeue | Outcome::Retry(_) => Outcome::Discard,
        outcome => outcome,
    }
}

/// Redelivers what was acknowledged, once its endpoint handle is dropped.
#[derive(Clone)]
pub(crate) struct ForgetsAcknowledgements;

impl Flaw for ForgetsAcknowledgements {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        (sender, self.pulling(receiver))
    }

    fn pulling(&self, receiver: Receiver) -> Receiver {
        let held = Arc::new(HeldReceipts::default());
        received(receiver, move |item| {
            item.map(|mut delivery| {
                let receipt = std::mem::replace(&mut delivery.receipt, Receipt::none());
                let tag = held.hold(receipt);
                delivery.receipt = Receipt::new(held.clone(), tag);
                delivery
            })
        })
    }
}

/// The receipts of an endpoint handle. None is settled before the handle is dropped, except to
/// requeue.
#[derive(Default)]
struct HeldReceipts(Mutex<Vec<Option<Receipt>>>);

impl HeldReceipts {
    fn hold(&self, receipt: Receipt) -> u64 {
        let mut held = self.0.lock().unwrap();
        held.push(Some(receipt));
        held.len() as u64 - 1
    }
}

impl Settle for HeldReceipts {
    fn settle(&self, tag: u64, outcome: Outcome) {
        if outcome == Outcome::Requeue {
            drop(self.0.lock().unwrap()[usize::try_from(tag).unwrap()].take());
        }
    }
}

/// Does not mark a redelivery.
#[derive(Clone)]
pub(crate) struct ForgetsTheMark;

impl Flaw for ForgetsTheMark {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        (sender, self.pulling(receiver))
    }

    fn pulling(&self, receiver: Receiver) -> Receiver {
        received(receiver, |item| item.map(|delivery| delivery.attempt(1)))
    }
}

/// Marks a redelivery, and does not count further attempts.
#[derive(Clone)]
pub(crate) struct CannotCount;

impl Flaw for CannotCount {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        received(receiver, |item| {
            item.map(|delivery| {
                let attempt = delivery.attempt.min(2);
                delivery.attempt(attempt)
            })
        })
    }
}

/// Counts attempts for all that a dead worker held, whether they were begun or not.
#[derive(Clone)]
pub(crate) struct BlamesAll;

impl Flaw for BlamesAll {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        received(receiver, |item| {
            item.map(|delivery| {
                let attempt = delivery.attempt;
                delivery.attempt(if attempt > 1 { attempt + 9 } else { attempt })
            })
        })
    }
}

/// Redelivers a request without its deadline.
#[derive(Clone)]
pub(crate) struct ForgetsTheDeadline;

impl Flaw for ForgetsTheDeadline {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        let forgetful = received(receiver, |item| {
            item.map(|mut delivery| {
                if delivery.attempt > 1 {
                    delivery.message.deadline = None;
                }
                delivery
            })
        });
        (sender, forgetful)
    }
}

/// Makes a new message of each delivery after the first.
#[derive(Clone)]
pub(crate) struct NewMessages;

impl Flaw for NewMessages {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        received(receiver, |item| {
            item.map(|mut delivery| {
                if delivery.attempt > 1 {
                    delivery.message.message_id = Some(MessageId::unique());
                }
                delivery
            })
        })
    }
}

/// Drops the priority of each job.
#[derive(Clone)]
pub(crate) struct IgnoresPriorities;

impl Flaw for IgnoresPriorities {
    fn pushing(&self, sender: Sender) -> Sender {
        altered(sender, |mut job| {
            job.priority = None;
            vec![job]
        })
    }
}

/// Goes on delivering requests to a server that has stopped to receive.
#[derive(Clone)]
pub(crate) struct NeverStops;

impl Flaw for NeverStops {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        (sender, stopping(receiver, |_| {}))
    }
}

/// Loses the replies of a server that has stopped to receive.
#[derive(Clone)]
pub(crate) struct MuteWhenStopped;

impl Flaw for MuteWhenStopped {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        let stopped = Disturbed::default();
        let is_mute = stopped.clone();
        let keep = move |reply| if is_mute.is_set() { Vec::new() } else { vec![reply] };
        let receiver = stopping(receiver, move |receiver| {
            stopped.set();
            receiver.stop();
        });
        (altered(sender, keep), receiver)
    }
}

/// A receiving half that stops by a function.
pub(crate) fn stopping(
    receiver: Receiver,
    stop: impl FnMut(&mut Receiver) + Unpin + Send + 'static,
) -> Receiver {
    Receiver::new(Stopping { receiver, stop })
}

struct Stopping<S> {
    receiver: Receiver,
    stop: S,
}

impl<S: Unpin> Stream for Stopping<S> {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.receiver).poll_next(cx)
    }
}

impl<S: FnMut(&mut Receiver) + Unpin + Send + 'static> Inbound for Stopping<S> {
    fn stop(mut self: Pin<&mut Self>) {
        let this = &mut *self;
        (this.stop)(&mut this.receiver);
    }

    fn poll_read_ahead(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.receiver.poll_read_ahead(cx)
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        self.receiver.poll_abandoned(cx)
    }
}
