//! Changes of a transport's health, as a stream.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use tokio::sync::watch;

use super::health::Health;

/// Stream of the health of a transport: the current state first, then each change.
///
/// A slow reader gets the latest state and misses the ones before. The stream ends when the
/// transport and all its endpoint handles are dropped.
pub struct HealthChanges(State);

type Watched = (bool, watch::Receiver<Health>);

enum State {
    First(watch::Receiver<Health>),
    Waiting(BoxFuture<'static, Watched>),
    Ended,
}

impl HealthChanges {
    /// Creates the stream of what `receiver` watches.
    pub(super) fn new(receiver: watch::Receiver<Health>) -> Self {
        Self(State::First(receiver))
    }

    /// Waits for the next state; `None` after the transport was dropped. If the future is dropped,
    /// no change is lost.
    pub async fn next(&mut self) -> Option<Health> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Yields the current value, and prepares to wait for the next one.
    fn advance(&mut self, mut receiver: watch::Receiver<Health>) -> Health {
        let health = receiver.borrow_and_update().clone();
        self.0 = State::Waiting(Box::pin(async move {
            let is_open = receiver.changed().await.is_ok();
            (is_open, receiver)
        }));
        health
    }
}

impl Stream for HealthChanges {
    type Item = Health;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let receiver = match std::mem::replace(&mut self.0, State::Ended) {
            State::Ended => return Poll::Ready(None),
            State::First(receiver) => receiver,
            State::Waiting(mut waiting) => match waiting.as_mut().poll(cx) {
                Poll::Pending => {
                    self.0 = State::Waiting(waiting);
                    return Poll::Pending;
                }
                Poll::Ready((false, _)) => return Poll::Ready(None),
                Poll::Ready((true, receiver)) => receiver,
            },
        };
        Poll::Ready(Some(self.advance(receiver)))
    }
}

impl fmt::Debug for HealthChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HealthChanges")
    }
}
