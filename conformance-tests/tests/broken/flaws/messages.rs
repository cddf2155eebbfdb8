//! Flaws of messages: lost, duplicated, swapped or changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use polywire_core::transport::Sender;
use polywire_core::{ErrorKind, Fault, Message};

use crate::flaw::{Flaw, Halves};
use crate::halves::{altered, reported};

/// Loses every thousandth reply.
#[derive(Clone)]
pub(crate) struct LosesReplies;

impl Flaw for LosesReplies {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        let count = AtomicU64::new(0);
        let keep = move |reply| {
            let lost = count.fetch_add(1, Ordering::Relaxed) % 1_000 == 999;
            if lost { Vec::new() } else { vec![reply] }
        };
        (altered(sender, keep), receiver)
    }
}

/// Sends each reply twice.
#[derive(Clone)]
pub(crate) struct RepeatsReplies;

impl Flaw for RepeatsReplies {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        (altered(sender, |reply| vec![reply.clone(), reply]), receiver)
    }
}

/// Sends each request twice.
#[derive(Clone)]
pub(crate) struct RepeatsRequests;

impl Flaw for RepeatsRequests {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (altered(sender, |request| vec![request.clone(), request]), receiver)
    }
}

/// Swaps a part of two replies in a row.
#[derive(Clone)]
pub(crate) struct Swaps(pub(crate) fn(&mut Message, &mut Message));

impl Flaw for Swaps {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
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

/// Changes each request.
#[derive(Clone)]
pub(crate) struct AltersRequests(pub(crate) fn(&mut Message));

impl Flaw for AltersRequests {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (changed(sender, self.0), receiver)
    }
}

/// Changes each message of every pattern, replies included.
#[derive(Clone)]
pub(crate) struct Alters(pub(crate) fn(&mut Message));

impl Flaw for Alters {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (changed(sender, self.0), receiver)
    }

    fn serving(&self, (sender, receiver): Halves) -> Halves {
        (changed(sender, self.0), receiver)
    }

    fn pushing(&self, sender: Sender) -> Sender {
        changed(sender, self.0)
    }
}

/// Changes the fault of each reply that has one.
#[derive(Clone)]
pub(crate) struct AltersFaults(pub(crate) fn(&mut Fault));

impl Flaw for AltersFaults {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        let alter = self.0;
        let change = move |mut reply: Message| {
            reply.fault.as_deref_mut().map(alter);
            vec![reply]
        };
        (altered(sender, change), receiver)
    }
}

/// Loses each reply that is a fault.
#[derive(Clone)]
pub(crate) struct LosesFaults;

impl Flaw for LosesFaults {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        let keep = |reply: Message| if reply.fault.is_some() { Vec::new() } else { vec![reply] };
        (altered(sender, keep), receiver)
    }
}

/// Reports success for a request that no server can get.
#[derive(Clone)]
pub(crate) struct SwallowsUnroutable;

impl Flaw for SwallowsUnroutable {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        let swallow = |sent: polywire_core::Result<()>| match sent {
            Err(error) if error.kind() == ErrorKind::Unroutable => Ok(()),
            sent => sent,
        };
        (reported(sender, swallow), receiver)
    }
}

fn changed(sender: Sender, change: fn(&mut Message)) -> Sender {
    altered(sender, move |mut message| {
        change(&mut message);
        vec![message]
    })
}

/// Replaces the bytes of a body that are no text, as a transport of text does.
pub(crate) fn text_only(message: &mut Message) {
    let body = std::mem::take(&mut message.body).into_bytes();
    message.body = String::from_utf8_lossy(&body).into_owned().into_bytes().into();
}

/// Reads a body that is a JSON number, and writes it again in single precision.
pub(crate) fn single_precision(message: &mut Message) {
    let body = std::mem::take(&mut message.body).into_bytes();
    message.body = match serde_json::from_slice::<f32>(&body) {
        Ok(number) => serde_json::to_vec(&f64::from(number)).unwrap().into(),
        Err(_) => body.into(),
    };
}

/// Replaces a media type that is none of the codecs.
pub(crate) fn known_media_types(message: &mut Message) {
    let is_known = matches!(
        message.content_type.as_deref(),
        None | Some("application/json" | "application/msgpack")
    );
    if !is_known {
        message.content_type = Some("application/octet-stream".into());
    }
}

/// Drops the parameters of a media type.
pub(crate) fn bare_media_types(message: &mut Message) {
    if let Some(media_type) = &mut message.content_type
        && let Some((bare, _)) = media_type.split_once(';')
    {
        *media_type = bare.to_owned().into();
    }
}
