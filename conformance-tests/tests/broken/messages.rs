//! Flaws of messages: lost, made twice, mixed up, mutilated.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use polywire_core::transport::{Outbound, Sender, Sending};
use polywire_core::{ErrorKind, Limits, Message};

use crate::backend::{End, Flaw};
use crate::ends::altered;

/// Each thousandth reply is lost.
#[derive(Clone)]
pub(crate) struct LosesReplies;

impl Flaw for LosesReplies {
    fn serving(&self, (sender, receiver): End) -> End {
        let count = AtomicU64::new(0);
        let keep = move |reply| {
            let lost = count.fetch_add(1, Ordering::Relaxed) % 1_000 == 999;
            if lost { Vec::new() } else { vec![reply] }
        };
        (altered(sender, keep), receiver)
    }
}

/// Each reply is sent twice.
#[derive(Clone)]
pub(crate) struct RepeatsReplies;

impl Flaw for RepeatsReplies {
    fn serving(&self, (sender, receiver): End) -> End {
        (altered(sender, |reply| vec![reply.clone(), reply]), receiver)
    }
}

/// Each request is sent twice.
#[derive(Clone)]
pub(crate) struct RepeatsRequests;

impl Flaw for RepeatsRequests {
    fn calling(&self, (sender, receiver): End) -> End {
        (altered(sender, |request| vec![request.clone(), request]), receiver)
    }
}

/// Of two replies in a row, each gets something that belongs to the other.
#[derive(Clone)]
pub(crate) struct Swaps(pub(crate) fn(&mut Message, &mut Message));

impl Flaw for Swaps {
    fn serving(&self, (sender, receiver): End) -> End {
        let (swap, held) = (self.0, Arc::new(Mutex::new(None)));
        let alter = move |mut reply: Message| {
            let mut held = held.lock().unwrap();
            let Some(mut earlier) = held.take() else {
                *held = Some(reply);
                return Vec::new();
            };
            swap(&mut earlier, &mut reply);
            vec![earlier, reply]
        };
        (altered(sender, alter), receiver)
    }
}

/// Each request is changed on its way.
#[derive(Clone)]
pub(crate) struct Alters(pub(crate) fn(&mut Message));

impl Flaw for Alters {
    fn calling(&self, (sender, receiver): End) -> End {
        let alter = self.0;
        let altered = altered(sender, move |mut request| {
            alter(&mut request);
            vec![request]
        });
        (altered, receiver)
    }
}

/// Says that it bounds bodies, and does not.
#[derive(Clone)]
pub(crate) struct Boundless;

impl Flaw for Boundless {
    fn limits(&self) -> Limits {
        Limits { body_max: usize::MAX, ..Limits::default() }
    }
}

/// Says Ok to what nobody takes.
#[derive(Clone)]
pub(crate) struct SwallowsUnroutable;

impl Flaw for SwallowsUnroutable {
    fn calling(&self, (sender, receiver): End) -> End {
        (Sender::new(Swallowing(sender)), receiver)
    }
}

struct Swallowing(Sender);

impl Outbound for Swallowing {
    fn send(&self, message: Message) -> Sending<'_> {
        Sending::later(async move {
            let sent = self.0.send(message).await;
            sent.or_else(
                |error| if error.kind() == ErrorKind::Unroutable { Ok(()) } else { Err(error) },
            )
        })
    }
}
