//! Flaws of the permission to begin a call that runs at most once.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use polywire_core::transport::{
    Abandoned, Answer, Asked, Delivery, Inbound, Outbound, Question, Receiver, Sender, Sending,
    ServerAddress,
};
use polywire_core::{Message, Result};

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

/// Loses the denials that its servers get.
#[derive(Clone)]
pub(crate) struct LosesDenials;

impl Flaw for LosesDenials {
    fn serving(&self, (sender, receiver): Halves) -> Halves {
        (sender, Receiver::new(WithoutDenials(receiver)))
    }
}

struct WithoutDenials(Receiver);

impl Stream for WithoutDenials {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx)
    }
}

impl Inbound for WithoutDenials {
    fn stop(mut self: Pin<&mut Self>) {
        self.0.stop();
    }

    fn poll_answer(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        loop {
            let answer = ready!(self.0.poll_answer(cx));
            if answer.is_permitted {
                return Poll::Ready(answer);
            }
        }
    }

    fn poll_read_ahead(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_read_ahead(cx)
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        self.0.poll_abandoned(cx)
    }
}

/// Marks no redelivery, and the first server redelivers what it has acknowledged once it dies.
#[derive(Clone, Default)]
pub(crate) struct RedeliversAsNew(Arc<AtomicBool>);

impl Flaw for RedeliversAsNew {
    fn serving(&self, halves: Halves) -> Halves {
        let is_first = !self.0.swap(true, Ordering::SeqCst);
        let halves = if is_first { ForgetsAcknowledgements.serving(halves) } else { halves };
        ForgetsTheMark.serving(halves)
    }
}
