//! Flaws of jobs and events over links and brokers that were disturbed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use polywire_conformance::Hook;
use polywire_core::transport::{
    FilterControl, Filters, Outbound, Outcome, Receipt, Receiver, Sender, Sending, Settle,
    Subscription, async_trait,
};
use polywire_core::{Filter, Message, Result};

use crate::flaw::Flaw;
use crate::halves::{altered, received};
use crate::network::Disturbed;

/// Drops one in ten messages after a cut, and reports success.
#[derive(Clone, Default)]
pub(crate) struct LosesSomeAfterCut(Disturbed);

impl Flaw for LosesSomeAfterCut {
    async fn disturb(&self, _: Hook) {
        self.0.set();
    }

    fn pushing(&self, sender: Sender) -> Sender {
        let (disturbed, count) = (self.0.clone(), AtomicU64::new(0));
        altered(sender, move |message| {
            let tenth = count.fetch_add(1, Ordering::Relaxed) % 10 == 9;
            if disturbed.is_set() && tenth { Vec::new() } else { vec![message] }
        })
    }
}

/// Loses the messages that were pushed before a restart of the broker.
#[derive(Clone, Default)]
pub(crate) struct ForgetsOnRestart(Disturbed);

impl Flaw for ForgetsOnRestart {
    async fn disturb(&self, hook: Hook) {
        if hook == Hook::RestartBroker {
            self.0.set();
        }
    }

    fn pushing(&self, sender: Sender) -> Sender {
        let restarted = self.0.clone();
        // The only messages that are received are those after the restart.
        let keep = move |message| if restarted.is_set() { vec![message] } else { Vec::new() };
        altered(sender, keep)
    }
}

/// Subscribes again after a cut with the filters that were asked for first.
#[derive(Clone, Default)]
pub(crate) struct ForgetsFilters {
    first: Arc<Mutex<Vec<Filter>>>,
    opened: Arc<Mutex<Option<Filters>>>,
    added: Arc<Mutex<Vec<Filter>>>,
}

impl Flaw for ForgetsFilters {
    fn subscription(&self, subscription: Subscription) -> Subscription {
        self.first.lock().unwrap().clone_from(&subscription.filters);
        subscription
    }

    fn subscribing(&self, receiver: Receiver, filters: Filters) -> (Receiver, Filters) {
        *self.opened.lock().unwrap() = Some(filters);
        (receiver, Filters::new(self.clone()))
    }

    async fn disturb(&self, _: Hook) {
        let filters = self.filters();
        let (first, added) = (self.first.lock().unwrap().clone(), self.added());
        for filter in added {
            filters.remove(filter).await.unwrap();
        }
        for filter in first {
            filters.add(filter).await.unwrap();
        }
    }
}

impl ForgetsFilters {
    fn filters(&self) -> Filters {
        self.opened.lock().unwrap().clone().unwrap()
    }

    fn added(&self) -> Vec<Filter> {
        std::mem::take(&mut self.added.lock().unwrap())
    }
}

#[async_trait]
impl FilterControl for ForgetsFilters {
    async fn add(&self, filter: Filter) -> Result<()> {
        self.added.lock().unwrap().push(filter.clone());
        self.filters().add(filter).await
    }

    async fn remove(&self, filter: Filter) -> Result<()> {
        self.filters().remove(filter).await
    }
}

/// Requeues a delivery only 20 s after its receipt was dropped, as a broker that waits for a
/// timeout.
#[derive(Clone)]
pub(crate) struct RequeuesLate;

impl Flaw for RequeuesLate {
    fn pulling(&self, receiver: Receiver) -> Receiver {
        received(receiver, |item| {
            item.map(|mut delivery| {
                let receipt = std::mem::replace(&mut delivery.receipt, Receipt::none());
                delivery.receipt = Receipt::new(Arc::new(Late(Mutex::new(Some(receipt)))), 0);
                delivery
            })
        })
    }
}

struct Late(Mutex<Option<Receipt>>);

impl Settle for Late {
    fn settle(&self, _: u64, outcome: Outcome) {
        let Some(receipt) = self.0.lock().unwrap().take() else { return };
        if outcome != Outcome::Requeue {
            return receipt.settle(outcome);
        }
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(20)).await;
            receipt.settle(Outcome::Requeue);
        });
    }
}

/// Reports the success of a push before the broker has the job.
#[derive(Clone)]
pub(crate) struct ConfirmsPushesTooEarly;

impl Flaw for ConfirmsPushesTooEarly {
    fn pushing_locally(&self, sender: Sender) -> Sender {
        Sender::new(FireAndForget(sender))
    }
}

/// Reports the success of a publish before the broker has the event.
#[derive(Clone)]
pub(crate) struct ConfirmsPublishesTooEarly;

impl Flaw for ConfirmsPublishesTooEarly {
    fn publishing_locally(&self, sender: Sender) -> Sender {
        Sender::new(FireAndForget(sender))
    }
}

struct FireAndForget(Sender);

impl Outbound for FireAndForget {
    fn send(&self, message: Message) -> Sending<'_> {
        let sender = self.0.clone();
        tokio::spawn(async move { sender.send(message).await });
        Sending::ready(Ok(()))
    }
}

/// Blocks the thread for 5 s in the first call and the first push after a disturbance.
#[derive(Clone, Default)]
pub(crate) struct BlocksTheThread(Disturbed);

impl Flaw for BlocksTheThread {
    async fn disturb(&self, _: Hook) {
        self.0.set();
    }

    fn calling_locally(&self, sender: Sender) -> Sender {
        Sender::new(Blocking::new(sender, &self.0))
    }

    fn pushing_locally(&self, sender: Sender) -> Sender {
        Sender::new(Blocking::new(sender, &self.0))
    }
}

struct Blocking {
    sender: Sender,
    disturbed: Disturbed,
    has_blocked: AtomicBool,
}

impl Blocking {
    fn new(sender: Sender, disturbed: &Disturbed) -> Self {
        Self { sender, disturbed: disturbed.clone(), has_blocked: AtomicBool::new(false) }
    }
}

impl Outbound for Blocking {
    fn send(&self, message: Message) -> Sending<'_> {
        if self.disturbed.is_set() && !self.has_blocked.swap(true, Ordering::SeqCst) {
            std::thread::sleep(Duration::from_secs(5));
        }
        self.sender.send(message)
    }
}
