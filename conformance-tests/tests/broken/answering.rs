//! Flaws of what is declined, and of who is told that nobody waits.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use polywire_core::message::CallId;
use polywire_core::transport::{
    Abandoned, Delivery, Inbound, Outbound, Outcome, Receipt, Receiver, Sender, Sending, Settle,
};
use polywire_core::{Message, Result};

use crate::backend::{End, Flaw};
use crate::ends::{altered, received};

/// What is declined is gone.
#[derive(Clone)]
pub(crate) struct DropsDeclined;

impl Flaw for DropsDeclined {
    fn serving(&self, (sender, receiver): End) -> End {
        (sender, declined(receiver, |_| Some(Outcome::Discard)))
    }
}

/// Each server is asked a second time.
#[derive(Clone)]
pub(crate) struct AsksAgain;

impl Flaw for AsksAgain {
    fn serving(&self, (sender, receiver): End) -> End {
        (sender, declined(receiver, |is_first| is_first.then_some(Outcome::Requeue)))
    }
}

/// What declining means at a serving end, by whether it is the first time for this call.
type Means = fn(bool) -> Option<Outcome>;

fn declined(receiver: Receiver, means: Means) -> Receiver {
    let seen = Arc::<Mutex<HashSet<CallId>>>::default();
    received(receiver, move |item| {
        item.map(|mut delivery: Delivery| {
            let receipt = std::mem::replace(&mut delivery.receipt, Receipt::none());
            let (receipt, call) = (Mutex::new(Some(receipt)), delivery.message.id.unwrap());
            let settle = Declining { receipt, call, seen: seen.clone(), means };
            delivery.receipt = Receipt::new(Arc::new(settle), 0);
            delivery
        })
    })
}

struct Declining {
    receipt: Mutex<Option<Receipt>>,
    call: CallId,
    seen: Arc<Mutex<HashSet<CallId>>>,
    means: Means,
}

impl Settle for Declining {
    fn settle(&self, _: u64, outcome: Outcome) {
        let means = match outcome {
            Outcome::Decline(_) => (self.means)(self.seen.lock().unwrap().insert(self.call)),
            _ => None,
        };
        self.receipt.lock().unwrap().take().unwrap().settle(means.unwrap_or(outcome));
    }
}

/// Servers are not told when a caller stops waiting.
#[derive(Clone)]
pub(crate) struct SaysNothing;

impl Flaw for SaysNothing {
    fn calling(&self, (sender, receiver): End) -> End {
        (altered(sender, |request| vec![request]), receiver)
    }
}

/// Servers are told late when a caller stops waiting.
#[derive(Clone)]
pub(crate) struct TellsLate;

/// Later than a handler may stop.
pub(crate) const LATE: Duration = Duration::from_millis(300);

impl Flaw for TellsLate {
    fn calling(&self, (sender, receiver): End) -> End {
        (Sender::new(Late(Arc::new(sender))), receiver)
    }
}

struct Late(Arc<Sender>);

impl Outbound for Late {
    fn send(&self, message: Message) -> Sending<'_> {
        self.0.send(message)
    }

    fn abandon(&self, call: CallId) {
        let sender = self.0.clone();
        drop(tokio::spawn(async move {
            tokio::time::sleep(LATE).await;
            sender.abandon(call);
        }));
    }
}

/// When one caller stops waiting, all are said to.
#[derive(Clone)]
pub(crate) struct StopsAll;

impl Flaw for StopsAll {
    fn serving(&self, (sender, receiver): End) -> End {
        (sender, Receiver::new(Panicking { receiver, seen: Vec::new(), told: VecDeque::new() }))
    }
}

struct Panicking {
    receiver: Receiver,
    seen: Vec<Abandoned>,
    told: VecDeque<Abandoned>,
}

impl Stream for Panicking {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.receiver).poll_next(cx);
        if let Poll::Ready(Some(Ok(Delivery { message, .. }))) = &next
            && let (Some(reply_to), Some(id)) = (&message.reply_to, message.id)
        {
            self.seen.push(Abandoned::new(reply_to.clone(), id));
        }
        next
    }
}

impl Inbound for Panicking {
    fn stop(mut self: Pin<&mut Self>) {
        self.receiver.stop();
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        if self.receiver.poll_abandoned(cx).is_ready() {
            let all = self.seen.clone();
            self.told.extend(all);
        }
        self.told.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}
