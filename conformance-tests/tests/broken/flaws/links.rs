//! Flaws of calls over a link that was disturbed.

use std::sync::atomic::{AtomicU64, Ordering};

use polywire_conformance::Hook;
use polywire_core::message::CallId;
use polywire_core::transport::{Delivery, Sender};
use polywire_core::{Body, Error, ErrorKind, Message, Result};

use crate::flaw::{Flaw, Halves};
use crate::halves::{altered, received, reported};
use crate::network::Disturbed;

/// Announces disturbances, and makes none.
#[derive(Clone)]
pub(crate) struct IgnoresHooks;

impl Flaw for IgnoresHooks {
    fn obeys_hooks(&self) -> bool {
        false
    }
}

/// Never reconnects after a disturbance.
#[derive(Clone, Default)]
pub(crate) struct NeverReconnects(Disturbed);

impl Flaw for NeverReconnects {
    async fn disturb(&self, _: Hook) {
        self.0.set();
    }

    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (self.pushing(sender), receiver)
    }

    fn pushing(&self, sender: Sender) -> Sender {
        let disturbed = self.0.clone();
        let lost = move |message| if disturbed.is_set() { Vec::new() } else { vec![message] };
        let disturbed = self.0.clone();
        let failed = move |sent: Result<()>| {
            if disturbed.is_set() {
                return Err(Error::new(ErrorKind::Disconnected, "the link was cut"));
            }
            sent
        };
        reported(altered(sender, lost), failed)
    }
}

/// Reports a request as unsent that was sent after a cut, one in ten.
#[derive(Clone, Default)]
pub(crate) struct DeniesSending(Disturbed);

impl Flaw for DeniesSending {
    async fn disturb(&self, _: Hook) {
        self.0.set();
    }

    fn calling(&self, (sender, receiver): Halves) -> Halves {
        let (disturbed, count) = (self.0.clone(), AtomicU64::new(0));
        let denied = move |sent| {
            if disturbed.is_set() && count.fetch_add(1, Ordering::Relaxed) % 10 == 9 {
                return Err(Error::new(ErrorKind::Disconnected, "the link was cut").unsent());
            }
            sent
        };
        (reported(sender, denied), receiver)
    }
}

/// Loses all replies after a cut.
#[derive(Clone, Default)]
pub(crate) struct FallsSilent(Disturbed);

impl Flaw for FallsSilent {
    async fn disturb(&self, _: Hook) {
        self.0.set();
    }

    fn serving(&self, (sender, receiver): Halves) -> Halves {
        let disturbed = self.0.clone();
        let keep = move |reply| if disturbed.is_set() { Vec::new() } else { vec![reply] };
        (altered(sender, keep), receiver)
    }
}

/// Delivers each request after a cut with the body of the one before.
#[derive(Clone, Default)]
pub(crate) struct DeliversStaleBodies(Disturbed);

impl Flaw for DeliversStaleBodies {
    async fn disturb(&self, _: Hook) {
        self.0.set();
    }

    fn serving(&self, (sender, receiver): Halves) -> Halves {
        let (disturbed, mut last) = (self.0.clone(), Body::default());
        let stale = move |item: Result<Delivery>| {
            item.map(|mut delivery| {
                let body = delivery.message.body.clone();
                let before = std::mem::replace(&mut last, body);
                if disturbed.is_set() {
                    delivery.message.body = before;
                }
                delivery
            })
        };
        (sender, received(receiver, stale))
    }
}

/// Takes half of a request for all of it, after a cut.
#[derive(Clone, Default)]
pub(crate) struct DeliversHalves(Disturbed);

impl Flaw for DeliversHalves {
    async fn disturb(&self, _: Hook) {
        self.0.set();
    }

    fn calling(&self, (sender, receiver): Halves) -> Halves {
        let disturbed = self.0.clone();
        let halve = move |mut request: Message| {
            let body = std::mem::take(&mut request.body).into_bytes();
            let end = if disturbed.is_set() { body.len() / 2 } else { body.len() };
            request.body = body.slice(..end).into();
            vec![request]
        };
        (altered(sender, halve), receiver)
    }
}

/// Sends a request after a cut once more, with another id.
#[derive(Clone, Default)]
pub(crate) struct RepeatsUnderAnotherId(Disturbed);

impl Flaw for RepeatsUnderAnotherId {
    async fn disturb(&self, _: Hook) {
        self.0.set();
    }

    fn calling(&self, (sender, receiver): Halves) -> Halves {
        let disturbed = self.0.clone();
        let repeat = move |request: Message| {
            if !disturbed.is_set() {
                return vec![request];
            }
            let mut copy = request.clone();
            copy.id = copy.id.map(|CallId(id)| CallId(u64::MAX - id));
            vec![request, copy]
        };
        (altered(sender, repeat), receiver)
    }
}
