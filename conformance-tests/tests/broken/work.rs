//! Flaws of settling and of windows: work that is forgotten, hoarded, or in the way of other work.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures_core::Stream;
use polywire_core::transport::{
    Delivery, Filters, Inbound, Outbound, Outcome, Receipt, Receiver, Sender, Sending, Settle,
};
use polywire_core::{Message, Result, Window};
use tokio::sync::Semaphore;

use crate::backend::{End, Flaw};
use crate::ends::{altered, received};

/// What is to be requeued is forgotten.
#[derive(Clone)]
pub(crate) struct ForgetsToRequeue;

impl Flaw for ForgetsToRequeue {
    fn serving(&self, (sender, receiver): End) -> End {
        (sender, received(receiver, forget))
    }

    fn pulling(&self, receiver: Receiver) -> Receiver {
        received(receiver, forget)
    }

    fn subscribing(&self, receiver: Receiver, filters: Filters) -> (Receiver, Filters) {
        (received(receiver, forget), filters)
    }
}

fn forget(item: Result<Delivery>) -> Result<Delivery> {
    item.map(|mut delivery| {
        let receipt = std::mem::replace(&mut delivery.receipt, Receipt::none());
        delivery.receipt = Receipt::new(Arc::new(Forgetful(Mutex::new(Some(receipt)))), 0);
        delivery
    })
}

struct Forgetful(Mutex<Option<Receipt>>);

impl Settle for Forgetful {
    fn settle(&self, _: u64, outcome: Outcome) {
        let receipt = self.0.lock().unwrap().take().unwrap();
        receipt.settle(if outcome == Outcome::Requeue { Outcome::Discard } else { outcome });
    }
}

/// What was acknowledged comes again when the end is gone, like that which was not.
#[derive(Clone)]
pub(crate) struct ForgetsAcknowledgements;

impl Flaw for ForgetsAcknowledgements {
    fn serving(&self, (sender, receiver): End) -> End {
        (sender, self.pulling(receiver))
    }

    fn pulling(&self, receiver: Receiver) -> Receiver {
        let held = Arc::new(Held::default());
        received(receiver, move |item| {
            item.map(|mut delivery| {
                let receipt = std::mem::replace(&mut delivery.receipt, Receipt::none());
                let tag = held.take(receipt);
                delivery.receipt = Receipt::new(held.clone(), tag);
                delivery
            })
        })
    }
}

/// The receipts of an end, of which none is settled before the end is dropped, unless it is to be
/// requeued.
#[derive(Default)]
struct Held(Mutex<Vec<Option<Receipt>>>);

impl Held {
    fn take(&self, receipt: Receipt) -> u64 {
        let mut held = self.0.lock().unwrap();
        held.push(Some(receipt));
        held.len() as u64 - 1
    }
}

impl Settle for Held {
    fn settle(&self, tag: u64, outcome: Outcome) {
        if outcome == Outcome::Requeue {
            drop(self.0.lock().unwrap()[usize::try_from(tag).unwrap()].take());
        }
    }
}

/// What was delivered before is not marked.
#[derive(Clone)]
pub(crate) struct ForgetsTheMark;

impl Flaw for ForgetsTheMark {
    fn serving(&self, (sender, receiver): End) -> End {
        (sender, self.pulling(receiver))
    }

    fn pulling(&self, receiver: Receiver) -> Receiver {
        received(receiver, |item| item.map(|delivery| delivery.attempt(1)))
    }
}

/// That something was delivered before is known, and how often is not.
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

/// Nothing is urgent.
#[derive(Clone)]
pub(crate) struct HurriesForNobody;

impl Flaw for HurriesForNobody {
    fn pushing(&self, sender: Sender) -> Sender {
        altered(sender, |mut job| {
            job.priority = None;
            vec![job]
        })
    }
}

/// Every window is as wide as can be.
#[derive(Clone)]
pub(crate) struct IgnoresTheWindow;

impl Flaw for IgnoresTheWindow {
    fn window(&self, _: Window) -> Window {
        Window::new(Window::MAX)
    }
}

/// A server that takes in no more goes on taking in.
#[derive(Clone)]
pub(crate) struct NeverStops;

impl Flaw for NeverStops {
    fn serving(&self, (sender, receiver): End) -> End {
        (sender, Receiver::new(Unstoppable(receiver)))
    }
}

struct Unstoppable(Receiver);

impl Stream for Unstoppable {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx)
    }
}

impl Inbound for Unstoppable {
    fn stop(self: Pin<&mut Self>) {}
}

/// A call takes a place that only its reply frees, so that one that is abandoned keeps it.
#[derive(Clone)]
pub(crate) struct LeaksAbandonedCalls;

impl Flaw for LeaksAbandonedCalls {
    fn calling(&self, (sender, receiver): End) -> End {
        let places = Arc::new(Semaphore::new(64));
        let freed = places.clone();
        let free = move |item| {
            freed.add_permits(1);
            item
        };
        (Sender::new(Leaking { sender, places }), received(receiver, free))
    }
}

struct Leaking {
    sender: Sender,
    places: Arc<Semaphore>,
}

impl Outbound for Leaking {
    fn send(&self, message: Message) -> Sending<'_> {
        Sending::later(async move {
            self.places.acquire().await.unwrap().forget();
            self.sender.send(message).await
        })
    }
}
