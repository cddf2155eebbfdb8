//! Buffer that applies an overflow policy.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use tokio::task::AbortHandle;
use tokio::task::coop::consume_budget;

use super::dropped_events::DroppedEvents;
use super::overflow::Overflow;
use crate::error::{Error, ErrorKind, Result};
use crate::health::EndpointReporter;
use crate::message::Address;
use crate::transport::{Delivery, Inbound, LogThrottle, Receiver};

/// Receiver that reads its backend without pause and applies an [`Overflow`] policy to the events
/// that it has no room for.
///
/// A task reads the backend. The task ends when the buffer is stopped or dropped.
pub(super) struct OverflowBuffer {
    shared: Arc<Shared>,
    reader: AbortHandle,
    health: Option<EndpointReporter>,
}

struct Shared {
    channel: Address,
    policy: Overflow,
    capacity: usize,
    dropped: DroppedEvents,
    log_throttle: LogThrottle,
    state: Mutex<State>,
}

/// Buffered items: at most the capacity of events, and as many errors between them.
#[derive(Default)]
struct State {
    items: VecDeque<Result<Delivery>>,
    ended: bool,
    waker: Option<Waker>,
}

impl OverflowBuffer {
    /// Starts the task that reads `receiver`.
    pub(super) fn new(
        channel: Address,
        mut receiver: Receiver,
        policy: Overflow,
        capacity: usize,
        dropped: DroppedEvents,
    ) -> Self {
        let health = receiver.health();
        let (log_throttle, state) = (LogThrottle::default(), Mutex::default());
        let shared = Arc::new(Shared { channel, policy, capacity, dropped, log_throttle, state });
        let reader = tokio::spawn(shared.clone().read(receiver)).abort_handle();
        Self { shared, reader, health }
    }
}

impl Shared {
    /// Reads the backend until its end, or the end of the runtime. Then the stream ends.
    fn read(self: Arc<Self>, mut receiver: Receiver) -> impl Future<Output = ()> + Send {
        // Not within the future, which may be dropped before it is polled.
        let ending = EndOnDrop(self);
        async move {
            while let Some(next) = receiver.next().await {
                if !ending.0.buffer(next) {
                    break;
                }
                // Without this, a backend that is always ready would keep other tasks from the
                // thread.
                consume_budget().await;
            }
        }
    }

    /// Buffers an item or applies the policy. Returns `false` if the policy ends the subscription.
    fn buffer(&self, next: Result<Delivery>) -> bool {
        let mut state = self.lock();
        if state.items.len() < self.capacity {
            state.items.push_back(next);
            return state.wake();
        }
        // Errors are buffered beyond the capacity: one at each place where events were missed.
        if next.is_err() {
            let follows_event = state.items.back().is_some_and(Result::is_ok);
            if follows_event && state.items.len() < 2 * self.capacity {
                state.items.push_back(next);
            }
            return state.wake();
        }
        self.note_dropped();
        match self.policy {
            Overflow::DropNewest => discard(Some(next)),
            Overflow::Disconnect => {
                let text =
                    "the subscription has ended: the subscriber is slower than its publishers";
                let error = Error::new(ErrorKind::Overloaded, text).with("held", self.capacity);
                state.items.push_back(Err(error.fatal()));
                discard(Some(next));
                return false;
            }
            _ => {
                let oldest = state.items.iter().position(Result::is_ok).unwrap_or_default();
                discard(state.items.remove(oldest));
                state.items.push_back(next);
            }
        }
        state.wake()
    }

    fn note_dropped(&self) {
        self.dropped.note();
        if let Some(count) = self.log_throttle.note() {
            let (channel, policy, held) = (&self.channel, self.policy, self.capacity);
            tracing::warn!(
                %channel,
                ?policy,
                held,
                count,
                "dropped events: the subscriber is too slow"
            );
        }
    }

    fn end(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.wake();
    }

    /// Locks the state. No code panics while it holds the lock, and the state would be consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl State {
    /// Wakes the reader of the stream. Returns `true`, for tail position.
    fn wake(&mut self) -> bool {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        true
    }
}

/// Discards a dropped event, so that it is not redelivered.
fn discard(dropped: Option<Result<Delivery>>) {
    if let Some(Ok(delivery)) = dropped {
        delivery.receipt.discard();
    }
}

impl Stream for OverflowBuffer {
    type Item = Result<Delivery>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.shared.lock();
        match state.items.pop_front() {
            Some(next) => Poll::Ready(Some(next)),
            None if state.ended => Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Inbound for OverflowBuffer {
    /// Stops reading. The stream yields the buffered items and then ends.
    fn stop(self: Pin<&mut Self>) {
        self.reader.abort();
        self.shared.end();
    }

    fn health(&self) -> Option<EndpointReporter> {
        self.health.clone()
    }
}

impl Drop for OverflowBuffer {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
