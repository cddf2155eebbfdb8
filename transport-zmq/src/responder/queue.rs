//! The queue of one service, and the seats of the responders around it. No I/O, no tasks: state and wakers.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use polywire_core::{Delivery, Result};
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use crate::error::lock;

/// What a responder takes.
pub(super) type Item = Result<Delivery>;

/// Requests of one service that wait for a responder. It holds as many as the windows of its responders together;
/// then the socket is not read, and what is beyond waits in the sockets on both sides.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes who waits for room, or for nothing any more.
    changed: Notify,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Item>,
    seats: FxHashMap<u64, Seat>,
    closed: bool,
}

/// A responder's place at the queue.
struct Seat {
    window: usize,
    stopped: bool,
    waker: Option<Waker>,
}

impl Queue {
    /// A queue that ends those who join it.
    pub(super) fn closed() -> Self {
        let state = State { closed: true, ..State::default() };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Seats a responder.
    pub(super) fn join(&self, seat: u64, window: usize) {
        lock(&self.state).seats.insert(seat, Seat { window, stopped: false, waker: None });
    }

    /// Adds a request, waiting for room; or gives it back if nobody sits here any more.
    pub(super) async fn push(&self, item: Item) -> Result<(), Item> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listening before looking: room made in between is not missed.
            changed.as_mut().enable();
            {
                let mut state = lock(&self.state);
                if state.seats.is_empty() || state.closed {
                    return Err(item);
                }
                if state.ready.len() < state.seats.values().map(|seat| seat.window).sum() {
                    state.ready.push_back(item);
                    state.wake_seats();
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// Adds a request whether there is room or not, for one who cannot wait; or gives it back if nobody sits here.
    ///
    /// That is one request each time that a responder joins the only one, and no more.
    #[expect(clippy::result_large_err, reason = "the error is the request itself, which moves on")]
    pub(super) fn push_beyond(&self, item: Item) -> Result<(), Item> {
        let mut state = lock(&self.state);
        if state.seats.is_empty() || state.closed {
            return Err(item);
        }
        state.ready.push_back(item);
        state.wake_seats();
        Ok(())
    }

    /// Takes the next request for this seat; `None` when the queue is closed.
    pub(super) fn poll_take(&self, seat: u64, cx: &Context<'_>) -> Poll<Option<Item>> {
        let mut state = lock(&self.state);
        let State { ready, seats, closed } = &mut *state;
        if *closed {
            return Poll::Ready(None);
        }
        // One that was stopped takes, in order to refuse, only what nobody else would.
        let takes =
            seats.get(&seat).is_some_and(|own| !own.stopped || seats.values().all(|other| other.stopped));
        match takes.then(|| ready.pop_front()).flatten() {
            Some(item) => {
                self.changed.notify_one();
                Poll::Ready(Some(item))
            }
            None => {
                if let Some(seat) = seats.get_mut(&seat)
                    && !seat.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
                {
                    seat.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Wakes every seat, to look again.
    pub(super) fn wake(&self) {
        lock(&self.state).wake_seats();
    }

    /// Puts a seat last: it takes only what no other one is there for.
    pub(super) fn stop(&self, seat: u64) {
        let mut state = lock(&self.state);
        if let Some(seat) = state.seats.get_mut(&seat) {
            seat.stopped = true;
        }
        state.wake_seats();
    }

    /// Takes a seat away. Returns what nobody is left to take if it was the last one.
    pub(super) fn leave(&self, seat: u64) -> Option<Vec<Item>> {
        let mut state = lock(&self.state);
        state.seats.remove(&seat)?;
        state.wake_seats();
        self.changed.notify_one();
        state.seats.is_empty().then(|| state.ready.drain(..).collect())
    }

    /// Ends every seat. Returns what nobody took.
    pub(super) fn close(&self) -> Vec<Item> {
        let mut state = lock(&self.state);
        state.closed = true;
        state.wake_seats();
        self.changed.notify_one();
        state.ready.drain(..).collect()
    }
}

impl State {
    /// Wakes every seat, since one that is woken alone might not come back to take.
    fn wake_seats(&mut self) {
        for seat in self.seats.values_mut() {
            if let Some(waker) = seat.waker.take() {
                waker.wake();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use futures_util::FutureExt;
    use futures_util::task::noop_waker;
    use polywire_core::{Delivery, Message};

    use super::*;

    fn item() -> Item {
        Ok(Delivery::settled(Message::default()))
    }

    fn take(queue: &Queue, seat: u64) -> Poll<Option<Item>> {
        queue.poll_take(seat, &Context::from_waker(&noop_waker()))
    }

    #[test]
    fn pushing_waits_for_room_and_goes_on_when_there_is() {
        let queue = Queue::default();
        queue.join(1, 1);
        assert!(queue.push(item()).now_or_never().unwrap().is_ok());
        let mut waiting = Box::pin(queue.push(item()));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(take(&queue, 1).is_ready());
        assert!(waiting.now_or_never().unwrap().is_ok());
    }

    #[test]
    fn the_last_to_leave_hands_back_what_waits() {
        let queue = Queue::default();
        queue.join(1, 4);
        queue.join(2, 4);
        assert!(queue.push(item()).now_or_never().unwrap().is_ok());
        assert!(queue.leave(1).is_none());
        assert_eq!(queue.leave(2).unwrap().len(), 1);
        assert!(queue.push(item()).now_or_never().unwrap().is_err());
    }

    #[test]
    fn a_stopped_seat_takes_only_what_no_other_would() {
        let queue = Queue::default();
        queue.join(1, 4);
        queue.join(2, 4);
        queue.stop(1);
        assert!(queue.push(item()).now_or_never().unwrap().is_ok());
        assert!(take(&queue, 1).is_pending());
        assert!(take(&queue, 2).is_ready());
        assert!(queue.push(item()).now_or_never().unwrap().is_ok());
        queue.leave(2);
        assert!(take(&queue, 1).is_ready());
    }

    #[test]
    fn a_closed_queue_ends_its_seats() {
        let queue = Queue::default();
        queue.join(1, 4);
        assert!(queue.push(item()).now_or_never().unwrap().is_ok());
        assert_eq!(queue.close().len(), 1);
        assert!(matches!(take(&queue, 1), Poll::Ready(None)));
    }
}
