//! Flaws of declined requests.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use polywire_core::message::CallId;
use polywire_core::transport::{Delivery, Outcome, Receipt, Receiver, Settle};

use crate::flaw::{Flaw, Halves};
use crate::halves::received;

/// Discards a request that is declined.
#[derive(Clone)]
pub(crate) struct DropsDeclined;

impl Flaw for DropsDeclined {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        (sender, declined(receiver, |_| Some(Outcome::Discard)))
    }
}

/// Delivers a declined request to each server a second time.
#[derive(Clone)]
pub(crate) struct DeliversDeclinedTwice;

impl Flaw for DeliversDeclinedTwice {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        (sender, declined(receiver, |is_first| is_first.then_some(Outcome::Requeue)))
    }
}

/// The outcome that replaces a decline, by whether it is the first of this call at this server.
type Replacement = fn(bool) -> Option<Outcome>;

fn declined(receiver: Receiver, replacement: Replacement) -> Receiver {
    let seen = Arc::<Mutex<HashSet<CallId>>>::default();
    received(receiver, move |item| {
        item.map(|mut delivery: Delivery| {
            let receipt = std::mem::replace(&mut delivery.receipt, Receipt::none());
            let (receipt, call) = (Mutex::new(Some(receipt)), delivery.message.id.unwrap());
            let settle = Declining { receipt, call, seen: seen.clone(), replacement };
            delivery.receipt = Receipt::new(Arc::new(settle), 0);
            delivery
        })
    })
}

struct Declining {
    receipt: Mutex<Option<Receipt>>,
    call: CallId,
    seen: Arc<Mutex<HashSet<CallId>>>,
    replacement: Replacement,
}

impl Settle for Declining {
    fn settle(&self, _: u64, outcome: Outcome) {
        let replaced = match outcome {
            Outcome::Decline(_) => (self.replacement)(self.seen.lock().unwrap().insert(self.call)),
            _ => None,
        };
        self.receipt.lock().unwrap().take().unwrap().settle(replaced.unwrap_or(outcome));
    }
}
