//! Flaws of links: what they do once they were cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use polywire_core::transport::{Delivery, Outbound, Sender, Sending};
use polywire_core::{Body, Error, ErrorKind, Message, Result};

use crate::backend::{End, Flaw};
use crate::ends::{altered, received};

/// Whether a link was cut.
#[derive(Clone, Default)]
pub(crate) struct Cut(Arc<AtomicBool>);

impl Cut {
    fn was_made(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn make(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A link that was cut is never there again.
#[derive(Clone, Default)]
pub(crate) struct NeverReconnects(Cut);

impl Flaw for NeverReconnects {
    fn disturb(&self) {
        self.0.make();
    }

    fn calling(&self, (sender, receiver): End) -> End {
        let failing =
            |sent: Result<()>| sent.and(Err(Error::new(ErrorKind::Disconnected, "it was cut")));
        (Sender::new(Reporting { sender, cut: self.0.clone(), report: failing }), receiver)
    }
}

/// After a cut, a request that went out is said not to have gone.
#[derive(Clone, Default)]
pub(crate) struct DeniesSending(Cut);

impl Flaw for DeniesSending {
    fn disturb(&self) {
        self.0.make();
    }

    fn calling(&self, (sender, receiver): End) -> End {
        let count = AtomicU64::new(0);
        let denying = move |sent| {
            let denied = count.fetch_add(1, Ordering::Relaxed) % 10 == 9;
            if denied {
                Err(Error::new(ErrorKind::Disconnected, "it was cut").unsent())
            } else {
                sent
            }
        };
        (Sender::new(Reporting { sender, cut: self.0.clone(), report: denying }), receiver)
    }
}

/// Says something else of what was sent, once the link was cut.
struct Reporting<R> {
    sender: Sender,
    cut: Cut,
    report: R,
}

impl<R: Fn(Result<()>) -> Result<()> + Send + Sync + 'static> Outbound for Reporting<R> {
    fn send(&self, message: Message) -> Sending<'_> {
        Sending::later(async move {
            let sent = self.sender.send(message).await;
            if self.cut.was_made() { (self.report)(sent) } else { sent }
        })
    }
}

/// After a cut, replies are lost, and nobody is told.
#[derive(Clone, Default)]
pub(crate) struct FallsSilent(Cut);

impl Flaw for FallsSilent {
    fn disturb(&self) {
        self.0.make();
    }

    fn serving(&self, (sender, receiver): End) -> End {
        let cut = self.0.clone();
        let keep = move |reply| if cut.was_made() { Vec::new() } else { vec![reply] };
        (altered(sender, keep), receiver)
    }
}

/// After a cut, a request arrives with the content of the one before.
#[derive(Clone, Default)]
pub(crate) struct DeliversStaleBodies(Cut);

impl Flaw for DeliversStaleBodies {
    fn disturb(&self) {
        self.0.make();
    }

    fn serving(&self, (sender, receiver): End) -> End {
        let (cut, mut last) = (self.0.clone(), Body::default());
        let stale = move |item: Result<Delivery>| {
            item.map(|mut delivery| {
                let body = delivery.message.body.clone();
                let before = std::mem::replace(&mut last, body);
                if cut.was_made() {
                    delivery.message.body = before;
                }
                delivery
            })
        };
        (sender, received(receiver, stale))
    }
}

/// After a cut, half of a request is taken for all of it.
#[derive(Clone, Default)]
pub(crate) struct DeliversHalves(Cut);

impl Flaw for DeliversHalves {
    fn disturb(&self) {
        self.0.make();
    }

    fn calling(&self, (sender, receiver): End) -> End {
        let cut = self.0.clone();
        let halve = move |mut request: Message| {
            let body = std::mem::take(&mut request.body).into_bytes();
            let end = if cut.was_made() { body.len() / 2 } else { body.len() };
            request.body = body.slice(..end).into();
            vec![request]
        };
        (altered(sender, halve), receiver)
    }
}
