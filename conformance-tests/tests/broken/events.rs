//! Flaws of pushing and publishing: what is lost on the way, comes twice, or comes to the wrong
//! ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use polywire_core::transport::{
    FilterControl, Filters, Outbound, Receiver, Sender, Sending, Subscription, async_trait,
};
use polywire_core::{Filter, Message, Result};

use crate::backend::Flaw;

/// One in a hundred messages is dropped, and its sender told that it was taken.
#[derive(Clone, Default)]
pub(crate) struct LosesSome(Arc<AtomicU64>);

impl Flaw for LosesSome {
    fn pushing(&self, sender: Sender) -> Sender {
        let count = self.0.clone();
        Sender::new(Changed(sender, move |_: &Message| {
            if count.fetch_add(1, Ordering::Relaxed) % 100 == 99 { 0 } else { 1 }
        }))
    }
}

/// One in a hundred messages is sent twice.
#[derive(Clone, Default)]
pub(crate) struct RepeatsSome(Arc<AtomicU64>);

impl Flaw for RepeatsSome {
    fn pushing(&self, sender: Sender) -> Sender {
        let count = self.0.clone();
        Sender::new(Changed(sender, move |_: &Message| {
            if count.fetch_add(1, Ordering::Relaxed) % 100 == 99 { 2 } else { 1 }
        }))
    }
}

/// What has no room is dropped, and nobody waits.
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

/// A sender that sends each message as often as a function says.
struct Changed<F>(Sender, F);

impl<F: Fn(&Message) -> usize + Send + Sync + 'static> Outbound for Changed<F> {
    fn send(&self, message: Message) -> Sending<'_> {
        let times = (self.1)(&message);
        Sending::later(async move {
            for _ in 0..times {
                self.0.send(message.clone()).await?;
            }
            Ok(())
        })
    }
}

/// Everybody has a copy of everything, groups or not.
#[derive(Clone)]
pub(crate) struct NobodyShares;

impl Flaw for NobodyShares {
    fn wish(&self, mut subscription: Subscription) -> Subscription {
        subscription.group = None;
        subscription
    }
}

/// No group outlives its members.
#[derive(Clone)]
pub(crate) struct ForgetsGroups;

impl Flaw for ForgetsGroups {
    fn wish(&self, mut subscription: Subscription) -> Subscription {
        let name = subscription.group.map(|group| group.name().clone());
        subscription.group = name.and_then(|name| polywire_core::Group::new(&name).ok());
        subscription
    }
}

/// A hash stands for one word, like a star.
#[derive(Clone)]
pub(crate) struct WantsTooLittle;

impl Flaw for WantsTooLittle {
    fn wish(&self, mut subscription: Subscription) -> Subscription {
        for filter in &mut subscription.filters {
            *filter = Filter::new(filter.as_str().replace('#', "*")).unwrap();
        }
        subscription
    }
}

/// Filters cannot be added to a subscription that is open, and nobody is told.
#[derive(Clone)]
pub(crate) struct DeafToChanges;

impl Flaw for DeafToChanges {
    fn subscribing(&self, receiver: Receiver, _: Filters) -> (Receiver, Filters) {
        (receiver, Filters::new(Self))
    }
}

#[async_trait]
impl FilterControl for DeafToChanges {
    async fn add(&self, _: Filter) -> Result<()> {
        Ok(())
    }

    async fn remove(&self, _: Filter) -> Result<()> {
        Ok(())
    }
}
