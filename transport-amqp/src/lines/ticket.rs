//! What a sender has whose message is held.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use polywire_core::Error;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::held::Place;
use crate::error::lock;

/// A place among the messages that are held. When it is dropped, so is the message, unless it is on
/// its way.
pub(super) struct Ticket<'a> {
    pub(super) shared: &'a Shared,
    pub(super) place: Place,
}

/// How things stand for a message that was held.
pub(super) enum Outlook {
    Held,
    OnItsWay,
    /// It was taken out, and why.
    Withdrawn(Error),
}

impl Ticket<'_> {
    /// Looks at how things stand. If its time is over, or if there is no line, the message is taken
    /// out.
    pub(super) fn look(&self, is_over: bool) -> Outlook {
        let mut state = lock(&self.shared.state);
        if !state.held.contains(self.place.number) {
            return Outlook::OnItsWay;
        }
        if !is_over && state.line.is_some() {
            return Outlook::Held;
        }
        // Nobody waits for it any more who could be told.
        drop(state.held.withdraw(self.place.number));
        self.shared.room.notify_one();
        Outlook::Withdrawn(state.too_late())
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        if lock(&self.shared.state).held.withdraw(self.place.number).is_some() {
            // The one behind it may be small enough to go.
            self.shared.room.notify_one();
        }
    }
}

/// What `future` comes to by then, by the clock: whoever else waits for the same instant is not
/// faster.
pub(super) async fn until<F: Future + Unpin>(limit: Instant, mut future: F) -> Option<F::Output> {
    let mut over = pin!(sleep_until(limit));
    poll_fn(|cx| {
        if let Poll::Ready(output) = std::pin::Pin::new(&mut future).poll(cx) {
            return Poll::Ready(Some(output));
        }
        if Instant::now() >= limit {
            return Poll::Ready(None);
        }
        over.as_mut().poll(cx).map(|()| None)
    })
    .await
}
