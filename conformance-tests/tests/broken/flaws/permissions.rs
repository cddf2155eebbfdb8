//! Flaws of the permission to begin a call that runs at most once.

use polywire_core::Message;
use polywire_core::transport::{
    Asked, Outbound, Question, Receiver, Sender, Sending, ServerAddress,
};

use crate::flaw::{Flaw, Halves};
use crate::flaws::settling::{ForgetsAcknowledgements, ForgetsTheMark};
use crate::halves::altered;

/// Permits each server that asks.
#[derive(Clone)]
pub(crate) struct PermitsEveryone;

impl Flaw for PermitsEveryone {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (Sender::new(Careless { sender, permits_all: true, checks: true }), receiver)
    }
}

/// Never looks whether a server is gone.
#[derive(Clone)]
pub(crate) struct NeverChecks;

impl Flaw for NeverChecks {
    fn calling(&self, (sender, receiver): Halves) -> Halves {
        (Sender::new(Careless { sender, permits_all: false, checks: false }), receiver)
    }
}

struct Careless {
    sender: Sender,
    permits_all: bool,
    checks: bool,
}

impl Outbound for Careless {
    fn send(&self, message: Message) -> Sending<'_> {
        self.sender.send(message)
    }

    fn ask(&self, question: &Question) -> bool {
        self.sender.ask(question)
    }

    fn answer(&self, asked: &Asked, is_permitted: bool) {
        self.sender.answer(asked, is_permitted || self.permits_all);
    }

    fn check(&self, server: &ServerAddress) {
        if self.checks {
            self.sender.check(server);
        }
    }
}

/// Has servers that cannot ask.
#[derive(Clone)]
pub(crate) struct NeverAsks;

impl Flaw for NeverAsks {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        (altered(sender, |reply| vec![reply]), receiver)
    }
}

/// Redelivers what was acknowledged, once its endpoint handle is dropped, and does not mark it.
#[derive(Clone)]
pub(crate) struct RedeliversAsNew;

impl Flaw for RedeliversAsNew {
    fn serving(&self, halves: Halves) -> Halves {
        ForgetsTheMark.serving(ForgetsAcknowledgements.serving(halves))
    }

    fn pulling(&self, receiver: Receiver) -> Receiver {
        receiver
    }
}
