//! The buffer between the socket of a subscriber and its receiver.
//!
//! Usually the receiver reads the socket itself. While the subscriber waits for an answer to a sync
//! marker, its [`SyncWaiter`] reads the socket and buffers the events for the receiver.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use polywire_core::{Body, Error, Result};

use crate::lock::lock;
use crate::wire::{Frames, SyncMarker};

/// The events that have arrived at a subscriber.
///
/// The socket is polled under the lock, by one reader at a time. Events keep their order: the
/// receiver takes buffered ones first.
pub(super) struct EventBuffer(Mutex<State>);

struct State {
    /// The messages from the socket.
    arrivals: BoxStream<'static, Arrival>,
    /// Events that arrived before the answer to a sync marker. At [`BUFFERED_MAX`] of them, or
    /// [`BUFFERED_BYTES_MAX`], the waiter stops reading.
    buffered: VecDeque<Arrival>,
    /// The size of the buffered events.
    buffered_bytes: usize,
    /// An error of the subscriber itself, which the receiver has not had.
    notice: Option<Error>,
    /// Set while a [`SyncWaiter`] reads the socket.
    is_syncing: bool,
    /// The waker of a waiter that has stopped reading.
    waiter: Option<Waker>,
    /// The waker of the receiver.
    receiver: Option<Waker>,
}

/// A message: its first frame, and the others.
type Arrival = (Bytes, Frames);

impl EventBuffer {
    /// Creates an empty buffer in front of the messages of a socket.
    pub(super) fn new(arrivals: BoxStream<'static, Arrival>) -> Self {
        Self(Mutex::new(State {
            arrivals,
            buffered: VecDeque::new(),
            buffered_bytes: 0,
            notice: None,
            is_syncing: false,
            waiter: None,
            receiver: None,
        }))
    }

    /// Polls for the next message. Yields `None` when the socket is closed, and an error after
    /// [`notify`](Self::notify).
    ///
    /// While a waiter reads the socket, only buffered messages are yielded.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Arrival>>> {
        let mut state = lock(&self.0);
        if let Some(error) = state.notice.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(buffered) = state.take_buffered() {
            return Poll::Ready(Some(Ok(buffered)));
        }
        if !state.receiver.as_ref().is_some_and(|receiver| receiver.will_wake(cx.waker())) {
            state.receiver = Some(cx.waker().clone());
        }
        if state.is_syncing {
            return Poll::Pending;
        }
        state.arrivals.poll_next_unpin(cx).map(|arrival| arrival.map(Ok))
    }

    /// Passes an error to the receiver, ahead of all messages and in place of an earlier error.
    pub(super) fn notify(&self, error: Error) {
        let mut state = lock(&self.0);
        state.notice = Some(error);
        state.wake();
    }

    /// Reads the socket on behalf of the receiver until the guard is dropped. Only one guard may
    /// exist at a time.
    pub(super) fn wait_for_sync(&self) -> SyncWaiter<'_> {
        lock(&self.0).is_syncing = true;
        SyncWaiter(self)
    }

    /// Drops all events. Does not poll the socket again: when a runtime ends, the tasks of the
    /// engine may have ended already, and then receiving would block forever.
    pub(super) fn clear(&self) {
        let mut state = lock(&self.0);
        state.arrivals = stream::empty().boxed();
        state.buffered.clear();
        (state.buffered_bytes, state.notice) = (0, None);
        if let Some(waiter) = state.waiter.take() {
            waiter.wake();
        }
    }

    /// Buffers the events that have arrived, and closes the buffer for later ones.
    ///
    /// At most 1,000 events are read without waiting. Later ones are lost. The receiver then yields
    /// the buffered events, and ends.
    pub(super) fn stop(&self) {
        let mut state = lock(&self.0);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..READ_AT_STOP {
            let Poll::Ready(Some(arrival)) = state.arrivals.poll_next_unpin(&mut cx) else { break };
            state.push(arrival);
        }
        state.arrivals = stream::empty().boxed();
        state.wake();
    }
}

/// The maximum of events that are read at a stop, since a publisher may never pause.
const READ_AT_STOP: usize = 1000;
/// The maximum of events that a waiter buffers.
const BUFFERED_MAX: usize = 10_000;
/// The size of the buffered events at which a waiter stops reading. The last event may exceed it.
const BUFFERED_BYTES_MAX: usize = 64 << 20;

impl State {
    /// Buffers a message for the receiver.
    fn push(&mut self, arrival: Arrival) {
        self.buffered_bytes += size(&arrival);
        self.buffered.push_back(arrival);
    }

    /// Removes the oldest message, and wakes the waiter, which may read on.
    fn take_buffered(&mut self) -> Option<Arrival> {
        let buffered = self.buffered.pop_front()?;
        self.buffered_bytes -= size(&buffered);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
        Some(buffered)
    }

    /// Returns whether the waiter has to stop reading.
    fn is_full(&self) -> bool {
        self.buffered.len() >= BUFFERED_MAX || self.buffered_bytes >= BUFFERED_BYTES_MAX
    }

    /// Wakes the receiver.
    fn wake(&mut self) {
        if let Some(receiver) = self.receiver.take() {
            receiver.wake();
        }
    }
}

/// Returns the size of a message in bytes.
fn size((first, Frames { head, body }): &Arrival) -> usize {
    first.len() + head.len() + body.as_ref().map_or(0, Body::len)
}

/// The guard of a subscriber that waits for answers to a sync marker, and reads the socket
/// meanwhile.
pub(super) struct SyncWaiter<'a>(&'a EventBuffer);

impl SyncWaiter<'_> {
    /// Waits for the next answer, and returns its marker and its frames. Returns `None` when the
    /// socket is closed. While the buffer is full, waits for the receiver to make room.
    ///
    /// May be dropped: no event and no answer is lost.
    pub(super) async fn answer(&mut self) -> Option<(SyncMarker, Frames)> {
        poll_fn(|cx| {
            let mut state = lock(&self.0.0);
            loop {
                if state.is_full() {
                    state.waiter = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                let Some((first, frames)) = std::task::ready!(state.arrivals.poll_next_unpin(cx))
                else {
                    return Poll::Ready(None);
                };
                if let Some(marker) = SyncMarker::read(&first) {
                    return Poll::Ready(Some((marker, frames)));
                }
                state.push((first, frames));
                state.wake();
            }
        })
        .await
    }
}

impl Drop for SyncWaiter<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.0);
        (state.is_syncing, state.waiter) = (false, None);
        // From here on the receiver is woken by the socket.
        state.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::FutureExt;

    use super::*;

    fn event(size: usize) -> Arrival {
        (Bytes::from_static(b"channel\0topic\0"), Frames { head: vec![0; size].into(), body: None })
    }

    /// Makes a buffer of endless events of this size, and a count of the events read.
    fn endless(size: usize) -> (EventBuffer, Arc<AtomicUsize>) {
        let read = Arc::new(AtomicUsize::new(0));
        let count = read.clone();
        let arrivals = stream::repeat_with(move || {
            count.fetch_add(1, Ordering::Relaxed);
            assert!(
                count.load(Ordering::Relaxed) < 10 * BUFFERED_MAX,
                "the waiter reads without end"
            );
            event(size)
        });
        (EventBuffer::new(arrivals.boxed()), read)
    }

    #[test]
    fn waiter_stops_reading_when_the_buffer_is_full() {
        for (size, most) in [(1, BUFFERED_MAX), (BUFFERED_BYTES_MAX / 8, 8)] {
            let (buffer, read) = endless(size);
            let mut waiter = buffer.wait_for_sync();
            assert!(waiter.answer().now_or_never().is_none());
            assert_eq!(read.load(Ordering::Relaxed), most);
            // Each event that is taken makes room for one more.
            let mut cx = Context::from_waker(Waker::noop());
            assert!(buffer.poll_take(&mut cx).is_ready());
            assert!(waiter.answer().now_or_never().is_none());
            assert_eq!(read.load(Ordering::Relaxed), most + 1);
        }
    }

    #[test]
    fn taking_an_event_wakes_the_waiter() {
        let (buffer, _) = endless(1);
        let mut waiter = buffer.wait_for_sync();
        let woken = Arc::new(AtomicUsize::new(0));
        let waker = futures_util::task::waker(Arc::new(Woken(woken.clone())));
        let mut answer = Box::pin(waiter.answer());
        assert!(answer.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        assert!(buffer.poll_take(&mut Context::from_waker(Waker::noop())).is_ready());
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    }

    struct Woken(Arc<AtomicUsize>);

    impl futures_util::task::ArcWake for Woken {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
