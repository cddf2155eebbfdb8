//! Flaws of the events by which broadcasts, outcomes and announcements travel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use polywire_core::transport::{Sender, Subscription};
use polywire_core::{Error, ErrorKind, Group};

use crate::flaw::Flaw;
use crate::halves::{altered, refused};

/// Loses each event of a broadcast whose kind begins so, and reports success.
#[derive(Clone)]
pub(crate) struct LosesBroadcasts(pub(crate) &'static str);

impl Flaw for LosesBroadcasts {
    fn pushing(&self, sender: Sender) -> Sender {
        let lost = self.0;
        altered(sender, move |event| {
            let kind = event.headers.get("broadcast");
            let is_lost = kind.is_some_and(|kind| kind.starts_with(lost));
            if is_lost { Vec::new() } else { vec![event] }
        })
    }
}

/// Delivers each broadcast to one instance alone.
#[derive(Clone)]
pub(crate) struct SharesBroadcasts;

impl Flaw for SharesBroadcasts {
    fn subscription(&self, mut subscription: Subscription) -> Subscription {
        if subscription.filters.iter().any(|filter| filter.as_str() == "call") {
            subscription.group = Group::new("instances").ok();
        }
        subscription
    }
}

/// Refuses broadcasts while no instance was ever bound.
#[derive(Clone, Default)]
pub(crate) struct NeedsAnInstance(Arc<AtomicBool>);

impl Flaw for NeedsAnInstance {
    fn subscription(&self, subscription: Subscription) -> Subscription {
        if subscription.filters.iter().any(|filter| filter.as_str() == "call") {
            self.0.store(true, Ordering::SeqCst);
        }
        subscription
    }

    fn pushing(&self, sender: Sender) -> Sender {
        let has_instance = self.0.clone();
        refused(sender, move |_| {
            let is_refused = !has_instance.load(Ordering::SeqCst);
            is_refused.then(|| Error::new(ErrorKind::Unroutable, "no instance"))
        })
    }
}
