//! What happens to a subscriber that is slower than its publishers.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use tokio::task::AbortHandle;

use super::dropped::Dropped;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Address;
use crate::transport::LogThrottle;
use crate::transport::{Delivery, Inbound, Receiver};

/// What to do when a subscriber holds a window of events and another one comes.
///
/// A group's events wait for its members, so anything but [`Wait`](Self::Wait) is for subscribers
/// of their own only. Events that were dropped are counted:
/// [`Subscriber::dropped`](crate::Subscriber::dropped).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// Let it wait: in the broker's queue, or at the publisher, which then waits as well. Nothing
    /// is dropped. This is the default.
    #[default]
    Wait,
    /// Drop the one that has waited longest: what counts is the latest.
    DropOldest,
    /// Drop the one that came: what counts is an unbroken beginning.
    DropNewest,
    /// End the subscription with [`ErrorKind::Overloaded`], after the events that it holds: a
    /// subscriber that misses something has to know it.
    Disconnect,
}

/// A receiver that never lets its backend wait: what there is no room for is dealt with by a
/// policy.
pub(super) struct Buffered {
    shared: Arc<Shared>,
    pump: AbortHandle,
}

struct Shared {
    channel: Address,
    policy: Overflow,
    room: usize,
    dropped: Dropped,
    burst: LogThrottle,
    state: Mutex<State>,
}

/// Bounded by the room for events, and as many errors between them.
#[derive(Default)]
struct State {
    held: VecDeque<Result<Delivery>>,
    ended: bool,
    waker: Option<Waker>,
}

impl Buffered {
    /// Reads `receiver` from now on, in a task that ends with the value.
    pub(super) fn new(
        channel: Address,
        receiver: Receiver,
        policy: Overflow,
        room: usize,
        dropped: Dropped,
    ) -> Self {
        let (burst, state) = (LogThrottle::default(), Mutex::default());
        let shared = Arc::new(Shared { channel, policy, room, dropped, burst, state });
        let pump = tokio::spawn(shared.clone().pump(receiver)).abort_handle();
        Self { shared, pump }
    }
}

impl Shared {
    async fn pump(self: Arc<Self>, mut receiver: Receiver) {
        while let Some(next) = receiver.next().await {
            if !self.take(next) {
                break;
            }
        }
        self.end();
    }

    /// Makes room by the policy. `false` if that ends the subscription.
    fn take(&self, next: Result<Delivery>) -> bool {
        let mut state = self.lock();
        if state.held.len() < self.room {
            state.held.push_back(next);
            return state.wake();
        }
        // What went wrong is told even to one who has no room: at the place where events were
        // missed.
        if next.is_err() {
            if state.held.back().is_some_and(Result::is_ok) && state.held.len() < 2 * self.room {
                state.held.push_back(next);
            }
            return state.wake();
        }
        self.note_dropped();
        match self.policy {
            Overflow::DropNewest => forget(Some(next)),
            Overflow::Disconnect => {
                let error = Error::new(
                    ErrorKind::Overloaded,
                    "the subscriber is slower than its publishers",
                );
                state.held.push_back(Err(error.with("held", self.room)));
                forget(Some(next));
                return false;
            }
            _ => {
                let oldest = state.held.iter().position(Result::is_ok).unwrap_or_default();
                forget(state.held.remove(oldest));
                state.held.push_back(next);
            }
        }
        state.wake()
    }

    fn note_dropped(&self) {
        self.dropped.note();
        if let Some(count) = self.burst.note() {
            let (channel, policy, held) = (&self.channel, self.policy, self.room);
            tracing::warn!(%channel, ?policy, held, count, "dropped events: the subscriber is too slow");
        }
    }

    fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.wake();
    }

    /// No code of ours panics while it holds the lock, and the state would be whole even then.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self) -> bool {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        true
    }
}

/// It is not to come again.
fn forget(dropped: Option<Result<Delivery>>) {
    if let Some(Ok(delivery)) = dropped {
        delivery.receipt.discard();
    }
}

impl Stream for Buffered {
    type Item = Result<Delivery>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.shared.lock();
        match state.held.pop_front() {
            Some(next) => Poll::Ready(Some(next)),
            None if state.ended => Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Inbound for Buffered {
    /// What it holds is still yielded.
    fn stop(self: Pin<&mut Self>) {
        self.pump.abort();
        self.shared.end();
    }
}

impl Drop for Buffered {
    fn drop(&mut self) {
        self.pump.abort();
    }
}
