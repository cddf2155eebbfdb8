//! The queue of one service, and the seats of the responders around it. No I/O, no tasks: state and wakers.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::lock;
use crate::transport::Outcome;
use crate::{Error, ErrorKind, Message, Result};

/// Requests of one service that wait for a responder.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes senders when there is room again, or nobody left to wait for.
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Bounded by [`CAPACITY`], and by the windows of the responders for what they give back.
    ready: VecDeque<Waiting>,
    seats: FxHashMap<u64, Seat>,
    last_tag: u64,
}

struct Waiting {
    message: Message,
    redelivered: bool,
}

/// A responder's place at the queue.
struct Seat {
    taking: bool,
    window: usize,
    unsettled: FxHashMap<u64, Message>,
    waker: Option<Waker>,
}

/// What a responder took: the tag to settle it by, the message, and whether somebody had it before.
pub(super) struct Taken {
    pub(super) tag: u64,
    pub(super) message: Message,
    pub(super) redelivered: bool,
}

const CAPACITY: usize = 1024;

impl Queue {
    /// Adds a request, waiting for room.
    pub(super) async fn push(&self, mut message: Message) -> Result<()> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listening before looking: room made in between is not missed.
            changed.as_mut().enable();
            match self.try_push(message) {
                Ok(result) => return result,
                Err(back) => message = back,
            }
            changed.await;
        }
    }

    /// Adds a request, or gives it back if there is no room now.
    #[expect(clippy::result_large_err, reason = "the error is the request itself, which moves on")]
    pub(super) fn try_push(&self, message: Message) -> Result<Result<()>, Message> {
        let mut state = lock(&self.state);
        if !state.is_served() {
            return Ok(Err(
                Error::new(ErrorKind::Unroutable, "no server takes calls to this service").unsent()
            ));
        }
        if state.ready.len() >= CAPACITY {
            return Err(message);
        }
        state.ready.push_back(Waiting { message, redelivered: false });
        state.wake_seats();
        Ok(Ok(()))
    }

    /// Seats a responder that holds at most `window` requests unsettled.
    pub(super) fn join(&self, seat: u64, window: usize) {
        let seated = Seat { taking: true, window, unsettled: FxHashMap::default(), waker: None };
        lock(&self.state).seats.insert(seat, seated);
    }

    /// Takes the next request for this seat; `None` when the seat takes no more.
    pub(super) fn poll_take(&self, seat: u64, cx: &Context<'_>) -> Poll<Option<Taken>> {
        let mut state = lock(&self.state);
        let State { ready, seats, last_tag } = &mut *state;
        let Some(seat) = seats.get_mut(&seat).filter(|seat| seat.taking) else {
            return Poll::Ready(None);
        };
        let room = seat.unsettled.len() < seat.window;
        let Some(Waiting { message, redelivered }) = room.then(|| ready.pop_front()).flatten() else {
            seat.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        *last_tag += 1;
        seat.unsettled.insert(*last_tag, message.clone());
        self.changed.notify_one();
        Poll::Ready(Some(Taken { tag: *last_tag, message, redelivered }))
    }

    /// Notes what became of a request. Returns those that nobody is left to take.
    pub(super) fn settle(&self, seat: u64, tag: u64, outcome: Outcome) -> Vec<Message> {
        let mut state = lock(&self.state);
        let Some(place) = state.seats.get_mut(&seat) else { return Vec::new() };
        let Some(message) = place.unsettled.remove(&tag) else { return Vec::new() };
        if !place.taking && place.unsettled.is_empty() {
            state.seats.remove(&seat);
        }
        if outcome == Outcome::Requeue {
            state.ready.push_front(Waiting { message, redelivered: true });
        }
        state.wake_seats();
        self.orphans(&mut state)
    }

    /// Lets a seat take no more; what it holds can still be settled. Returns what nobody is left to take.
    pub(super) fn stop(&self, seat: u64) -> Vec<Message> {
        let mut state = lock(&self.state);
        let Some(place) = state.seats.get_mut(&seat) else { return Vec::new() };
        place.taking = false;
        if place.unsettled.is_empty() {
            state.seats.remove(&seat);
        }
        self.orphans(&mut state)
    }

    /// Clears a seat: what it holds goes to others. Returns what nobody is left to take.
    pub(super) fn leave(&self, seat: u64) -> Vec<Message> {
        let mut state = lock(&self.state);
        let Some(left) = state.seats.remove(&seat) else { return Vec::new() };
        let held = left.unsettled.into_values().map(|message| Waiting { message, redelivered: true });
        state.ready.extend(held);
        if let Some(waker) = left.waker {
            waker.wake();
        }
        state.wake_seats();
        self.orphans(&mut state)
    }

    fn orphans(&self, state: &mut State) -> Vec<Message> {
        if state.is_served() {
            return Vec::new();
        }
        self.changed.notify_waiters();
        state.ready.drain(..).map(|waiting| waiting.message).collect()
    }
}

impl State {
    fn is_served(&self) -> bool {
        self.seats.values().any(|seat| seat.taking)
    }

    /// Wakes every seat, since one that is woken alone might not come back to take.
    fn wake_seats(&mut self) {
        for seat in self.seats.values_mut() {
            if let Some(waker) = seat.waker.take() {
                waker.wake();
            }
        }
    }
}
