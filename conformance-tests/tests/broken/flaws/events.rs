//! Flaws of pushing, of publishing and of subscriptions.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

use futures_core::Stream;
use futures_util::FutureExt;
use polywire_core::transport::{
    Delivery, FilterControl, Filters, Outbound, Receiver, Sender, Sending, Subscription,
    async_trait,
};
use polywire_core::{Address, Error, ErrorKind, Filter, Group, Message, Result};

use crate::flaw::Flaw;
use crate::flaws::deliveries::polled;
use crate::halves::altered;

/// Drops every n-th message, and reports success.
#[derive(Clone)]
pub(crate) struct LosesEvery(u64, Arc<AtomicU64>);

impl LosesEvery {
    pub(crate) fn new(n: u64) -> Self {
        Self(n, Arc::default())
    }
}

impl Flaw for LosesEvery {
    fn pushing(&self, sender: Sender) -> Sender {
        let Self(n, count) = self.clone();
        altered(sender, move |message| {
            let lost = count.fetch_add(1, Ordering::Relaxed) % n == n - 1;
            if lost { Vec::new() } else { vec![message] }
        })
    }
}

/// Sends one in a hundred messages twice.
#[derive(Clone, Default)]
pub(crate) struct RepeatsSome(Arc<AtomicU64>);

impl Flaw for RepeatsSome {
    fn pushing(&self, sender: Sender) -> Sender {
        let count = self.0.clone();
        altered(sender, move |message| {
            let repeated = count.fetch_add(1, Ordering::Relaxed) % 100 == 99;
            if repeated { vec![message.clone(), message] } else { vec![message] }
        })
    }
}

/// Delivers an event once for each filter of a subscriber that it matches.
#[derive(Clone, Default)]
pub(crate) struct DeliversForEachFilter(Arc<Mutex<Vec<Filter>>>);

impl Flaw for DeliversForEachFilter {
    fn subscription(&self, subscription: Subscription) -> Subscription {
        self.0.lock().unwrap().extend(subscription.filters.iter().cloned());
        subscription
    }

    fn pushing(&self, sender: Sender) -> Sender {
        let filters = self.0.clone();
        altered(sender, move |event| {
            let filters = filters.lock().unwrap();
            let topic = event.topic.clone();
            let matching = filters
                .iter()
                .filter(|filter| topic.as_ref().is_some_and(|topic| filter.matches(topic)));
            vec![event; matching.count()]
        })
    }
}

/// Drops a message that has to wait for room, and reports success.
#[derive(Clone)]
pub(crate) struct NeverWaits;

impl Flaw for NeverWaits {
    fn pushing(&self, sender: Sender) -> Sender {
        Sender::new(Impatient(sender))
    }
}

struct Impatient(Sender);

impl Outbound for Impatient {
    fn send(&self, message: Message) -> Sending<'_> {
        Sending::ready(self.0.send(message).now_or_never().unwrap_or(Ok(())))
    }
}

/// Drops a message while no puller or subscriber was ever opened, and reports a result.
#[derive(Clone)]
pub(crate) struct NeedsReceivers {
    is_opened: Arc<AtomicBool>,
    report: fn() -> Result<()>,
}

impl NeedsReceivers {
    /// Reports success.
    pub(crate) fn silently() -> Self {
        Self { is_opened: Arc::default(), report: || Ok(()) }
    }

    /// Reports that the message is unroutable.
    pub(crate) fn loudly() -> Self {
        let report = || Err(Error::new(ErrorKind::Unroutable, "no receiver"));
        Self { is_opened: Arc::default(), report }
    }
}

impl Flaw for NeedsReceivers {
    fn pushing(&self, sender: Sender) -> Sender {
        Sender::new(Needing { sender, flaw: self.clone() })
    }

    fn pulling(&self, receiver: Receiver) -> Receiver {
        self.is_opened.store(true, Ordering::SeqCst);
        receiver
    }

    fn subscribing(&self, receiver: Receiver, filters: Filters) -> (Receiver, Filters) {
        (self.pulling(receiver), filters)
    }
}

struct Needing {
    sender: Sender,
    flaw: NeedsReceivers,
}

impl Outbound for Needing {
    fn send(&self, message: Message) -> Sending<'_> {
        if self.flaw.is_opened.load(Ordering::SeqCst) {
            return self.sender.send(message);
        }
        Sending::ready((self.flaw.report)())
    }
}

/// Drops the bytes of a topic that are not ASCII.
#[derive(Clone)]
pub(crate) struct AsciiTopics;

impl Flaw for AsciiTopics {
    fn pushing(&self, sender: Sender) -> Sender {
        altered(sender, |mut event| {
            let ascii = |topic: Address| {
                let ascii: String = topic.as_str().chars().filter(char::is_ascii).collect();
                Address::new(ascii).ok()
            };
            event.topic = event.topic.and_then(ascii);
            vec![event]
        })
    }
}

/// Gives each member of a group a copy of everything.
#[derive(Clone)]
pub(crate) struct NeverShares;

impl Flaw for NeverShares {
    fn subscription(&self, mut subscription: Subscription) -> Subscription {
        subscription.group = None;
        subscription
    }
}

/// Ends each group with its last member.
#[derive(Clone)]
pub(crate) struct ForgetsGroups;

impl Flaw for ForgetsGroups {
    fn subscription(&self, mut subscription: Subscription) -> Subscription {
        let name = subscription.group.map(|group| group.name().clone());
        subscription.group = name.and_then(|name| Group::new(&name).ok());
        subscription
    }
}

/// Drops the events that the filters of a member do not match, although others of its group want
/// them.
#[derive(Clone, Default)]
pub(crate) struct DropsForOwnFilter(Arc<Mutex<Vec<Filter>>>);

impl Flaw for DropsForOwnFilter {
    fn subscription(&self, subscription: Subscription) -> Subscription {
        self.0.lock().unwrap().clone_from(&subscription.filters);
        subscription
    }

    fn subscribing(&self, receiver: Receiver, filters: Filters) -> (Receiver, Filters) {
        let own = std::mem::take(&mut *self.0.lock().unwrap());
        let wants = move |delivery: &Delivery| {
            let topic = delivery.message.topic.as_ref();
            topic.is_some_and(|topic| own.iter().any(|filter| filter.matches(topic)))
        };
        let receiver = polled(receiver, move |receiver, cx| {
            loop {
                match Pin::new(&mut *receiver).poll_next(cx) {
                    Poll::Ready(Some(Ok(other))) if !wants(&other) => other.receipt.ack(),
                    next => return next,
                }
            }
        });
        (receiver, filters)
    }
}

/// Takes a hash in a filter for one word, like a star.
#[derive(Clone)]
pub(crate) struct NarrowFilters;

impl Flaw for NarrowFilters {
    fn subscription(&self, mut subscription: Subscription) -> Subscription {
        for filter in &mut subscription.filters {
            *filter = Filter::new(filter.as_str().replace('#', "*")).unwrap();
        }
        subscription
    }
}

/// Ignores changes of the filters of an open subscription, and reports success.
#[derive(Clone)]
pub(crate) struct FixedFilters;

impl Flaw for FixedFilters {
    fn subscribing(&self, receiver: Receiver, _: Filters) -> (Receiver, Filters) {
        (receiver, Filters::new(Self))
    }
}

#[async_trait]
impl FilterControl for FixedFilters {
    async fn add(&self, _: Filter) -> Result<()> {
        Ok(())
    }

    async fn remove(&self, _: Filter) -> Result<()> {
        Ok(())
    }
}
