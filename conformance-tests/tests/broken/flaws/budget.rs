//! The flaw of tokio's budget: each send restores what its task has used up.

use std::cell::Cell;
use std::task::{Context, Poll, Waker};

use polywire_core::Message;
use polywire_core::transport::{Outbound, Sender, Sending};
use tokio::task::coop::{RestoreOnPending, poll_proceed};

use crate::flaw::Flaw;

thread_local! {
    /// The guard of the send before, which restores the budget of that time when it is dropped.
    static GUARD: Cell<Option<RestoreOnPending>> = const { Cell::new(None) };
}

/// Restores the budget that a task had at the send before, in each send.
#[derive(Clone)]
pub(crate) struct RestoresBudget;

impl Flaw for RestoresBudget {
    fn calling_locally(&self, sender: Sender) -> Sender {
        Sender::new(RestoringSender(sender))
    }

    fn pushing_locally(&self, sender: Sender) -> Sender {
        Sender::new(RestoringSender(sender))
    }

    fn publishing_locally(&self, sender: Sender) -> Sender {
        Sender::new(RestoringSender(sender))
    }
}

struct RestoringSender(Sender);

impl Outbound for RestoringSender {
    fn send(&self, message: Message) -> Sending<'_> {
        GUARD.set(None);
        if let Poll::Ready(guard) = poll_proceed(&mut Context::from_waker(Waker::noop())) {
            GUARD.set(Some(guard));
        }
        self.0.send(message)
    }
}
