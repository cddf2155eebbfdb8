//! A queue, and the seats around it of those who take from it. No I/O, no tasks: state and wakers.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::dead_letters::DeadLetterStore;
use super::lock;
use crate::error::{Error, ErrorKind, Fault, Result};
use crate::message::Message;
use crate::transport::{Abandoned, Outcome};

/// Messages that wait to be taken: the requests of a service, the jobs of a queue, the events of a
/// subscription.
pub(super) struct Queue {
    unserved: NoConsumerPolicy,
    state: Mutex<State>,
    /// Where its dead letters go.
    graves: Arc<DeadLetterStore>,
    /// Wakes senders when there is room again, or nobody left to wait for.
    changed: Notify,
}

/// What becomes of messages that nobody is there to take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NoConsumerPolicy {
    /// They are refused: who sent them is to know.
    Refused,
    /// They wait for somebody.
    Held,
    /// They are gone: nobody wants them.
    Gone,
}

#[derive(Default)]
struct State {
    /// The urgent ones first. Bounded, together with `due`, by [`CAPACITY`], and by the windows of
    /// the seats for what they give back.
    ready: VecDeque<Waiting>,
    /// What is to be taken at a time to come.
    due: BTreeMap<(Instant, u64), Waiting>,
    seats: FxHashMap<u64, Consumer>,
    last_tag: u64,
    last_place: u64,
    /// Whether anything that is ready may have been declined.
    has_declined: bool,
}

struct Waiting {
    message: Message,
    attempt: u32,
    /// Its place among what is as urgent, which it has again when it is given back.
    place: u64,
    declined: Option<Box<Declined>>,
}

/// The seats that have declined something, and what the last one said.
struct Declined {
    by: Vec<u64>,
    fault: Box<Fault>,
}

/// A place at the queue.
struct Consumer {
    taking: bool,
    window: usize,
    unsettled: FxHashMap<u64, Waiting>,
    /// Of what is unsettled.
    abandoned: VecDeque<Abandoned>,
    waker: Option<Waker>,
}

/// What a seat finds.
#[expect(
    clippy::large_enum_variant,
    reason = "what is taken would have to be boxed, message by message"
)]
pub(super) enum Found {
    Taken(Taken),
    /// Nothing yet. If it is known when there will be something, it is to look again then.
    Nothing(Option<Instant>),
    /// It takes no more.
    End,
}

/// What was taken: the tag to settle it by, the message, and which attempt it is.
pub(super) struct Taken {
    pub(super) tag: u64,
    pub(super) message: Message,
    pub(super) attempt: u32,
}

const CAPACITY: usize = 1024;

impl Queue {
    pub(super) fn new(unserved: NoConsumerPolicy, graves: Arc<DeadLetterStore>) -> Self {
        Self { unserved, state: Mutex::default(), graves, changed: Notify::new() }
    }

    /// Adds a message, waiting for room.
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

    /// Adds a message, or gives it back if there is no room now.
    #[expect(clippy::result_large_err, reason = "the error is the message itself, which moves on")]
    pub(super) fn try_push(&self, message: Message) -> Result<Result<()>, Message> {
        let mut state = lock(&self.state);
        if !state.is_served() {
            match self.unserved {
                NoConsumerPolicy::Refused => return Ok(Err(nobody())),
                NoConsumerPolicy::Gone => return Ok(Ok(())),
                NoConsumerPolicy::Held => {}
            }
        }
        if state.ready.len() + state.due.len() >= CAPACITY {
            return Err(message);
        }
        state.put_behind(Waiting { message, attempt: 1, place: 0, declined: None });
        state.wake_seats();
        Ok(Ok(()))
    }

    /// Seats somebody who holds at most `window` messages unsettled.
    pub(super) fn join(&self, seat: u64, window: usize) {
        let (unsettled, abandoned) = (FxHashMap::default(), VecDeque::new());
        let seated = Consumer { taking: true, window, unsettled, abandoned, waker: None };
        lock(&self.state).seats.insert(seat, seated);
    }

    /// Takes the next message for this seat.
    pub(super) fn take(&self, seat: u64, cx: &Context<'_>) -> Found {
        let mut state = lock(&self.state);
        state.make_ready();
        let State { ready, due, seats, last_tag, .. } = &mut *state;
        let number = seat;
        let Some(seat) = seats.get_mut(&seat).filter(|seat| seat.taking) else {
            return Found::End;
        };
        let room = seat.unsettled.len() < seat.window;
        let next =
            ready.iter().position(|waiting| !waiting.is_declined_by(number)).filter(|_| room);
        let Some(waiting) = next.and_then(|next| ready.remove(next)) else {
            seat.waker = Some(cx.waker().clone());
            let next = due.first_key_value().map(|((at, _), _)| *at);
            return Found::Nothing(next.filter(|_| room));
        };
        *last_tag += 1;
        let (message, attempt) = (waiting.message.clone(), waiting.attempt);
        seat.unsettled.insert(*last_tag, waiting);
        self.changed.notify_one();
        Found::Taken(Taken { tag: *last_tag, message, attempt })
    }

    /// Notes that nobody waits for the outcome of a call: it is taken no more, or whoever has taken
    /// it is told.
    pub(super) fn abandon(&self, call: &Abandoned) {
        let mut state = lock(&self.state);
        let waiting = state.ready.len();
        state.ready.retain(|waiting| !waiting.is_of(call));
        if state.ready.len() < waiting {
            return self.changed.notify_one();
        }
        for seat in state.seats.values_mut() {
            if seat.unsettled.values().any(|waiting| waiting.is_of(call)) {
                seat.abandoned.push_back(call.clone());
                seat.wake();
            }
        }
    }

    /// Which call that this seat has taken nobody waits for any more.
    pub(super) fn poll_abandoned(&self, seat: u64, cx: &Context<'_>) -> Poll<Abandoned> {
        let mut state = lock(&self.state);
        let Some(seat) = state.seats.get_mut(&seat) else { return Poll::Pending };
        if let Some(call) = seat.abandoned.pop_front() {
            return Poll::Ready(call);
        }
        seat.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Notes what became of a message. Returns those that nobody is left to take.
    pub(super) fn settle(&self, seat: u64, tag: u64, outcome: Outcome) -> Vec<Message> {
        let mut state = lock(&self.state);
        let Some(place) = state.seats.get_mut(&seat) else { return Vec::new() };
        let Some(mut waiting) = place.unsettled.remove(&tag) else { return Vec::new() };
        if !place.taking && place.unsettled.is_empty() {
            state.seats.remove(&seat);
        }
        match outcome {
            Outcome::Ack | Outcome::Discard => {}
            Outcome::Requeue => state.put(waiting.again()),
            Outcome::Decline(fault) => {
                waiting.decline(seat, fault);
                state.put(waiting);
            }
            Outcome::Retry(retry) => {
                waiting.message.history.get_or_insert_default().failed(&retry.error);
                state.put_off(waiting.again(), Instant::now() + retry.after, tag);
            }
            Outcome::DeadLetter(burial) => {
                let Waiting { mut message, attempt, .. } = waiting;
                message.history.get_or_insert_default().died(burial.reason, attempt, &burial.error);
                self.graves.dead_letter(message);
            }
        }
        state.wake_seats();
        self.orphans(&mut state)
    }

    /// Lets a seat take no more; what it holds can still be settled. Returns what nobody is left to
    /// take.
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
        for waiting in left.unsettled.into_values() {
            state.put(waiting.again());
        }
        if let Some(waker) = left.waker {
            waker.wake();
        }
        state.wake_seats();
        self.orphans(&mut state)
    }

    /// What becomes of messages that nobody is there to take.
    pub(super) fn unserved(&self) -> NoConsumerPolicy {
        self.unserved
    }

    /// Whether somebody is there to take.
    pub(super) fn is_served(&self) -> bool {
        lock(&self.state).is_served()
    }

    fn orphans(&self, state: &mut State) -> Vec<Message> {
        if self.unserved == NoConsumerPolicy::Held {
            return Vec::new();
        }
        if state.is_served() {
            let declined = state.take_declined();
            if !declined.is_empty() {
                self.changed.notify_waiters();
            }
            return declined;
        }
        self.changed.notify_waiters();
        let due = std::mem::take(&mut state.due).into_values();
        state.ready.drain(..).chain(due).map(Waiting::into_orphan).collect()
    }
}

impl State {
    fn is_served(&self) -> bool {
        self.seats.values().any(|seat| seat.taking)
    }

    /// Takes out what everybody has declined who is there to take.
    fn take_declined(&mut self) -> Vec<Message> {
        if !std::mem::take(&mut self.has_declined) {
            return Vec::new();
        }
        let mut orphans = Vec::new();
        for waiting in std::mem::take(&mut self.ready) {
            let mut taking = self.seats.iter().filter(|(_, seat)| seat.taking);
            if taking.all(|(number, _)| waiting.is_declined_by(*number)) {
                orphans.push(waiting.into_orphan());
            } else {
                self.has_declined |= waiting.declined.is_some();
                self.ready.push_back(waiting);
            }
        }
        orphans
    }

    /// Behind what is as urgent.
    fn put_behind(&mut self, waiting: Waiting) {
        self.last_place += 1;
        self.put(Waiting { place: self.last_place, ..waiting });
    }

    /// At its place.
    fn put(&mut self, waiting: Waiting) {
        self.has_declined |= waiting.declined.is_some();
        let at = self.ready.partition_point(|other| other.rank() < waiting.rank());
        self.ready.insert(at, waiting);
    }

    fn put_off(&mut self, waiting: Waiting, until: Instant, tag: u64) {
        self.due.insert((until, tag), waiting);
    }

    /// Lets be taken whatever is due.
    fn make_ready(&mut self) {
        let now = Instant::now();
        while let Some(first) = self.due.first_entry().filter(|first| first.key().0 <= now) {
            let waiting = first.remove();
            self.put_behind(waiting);
        }
    }

    /// Wakes every seat, since one that is woken alone might not come back to take.
    fn wake_seats(&mut self) {
        for seat in self.seats.values_mut() {
            seat.wake();
        }
    }
}

impl Consumer {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Waiting {
    fn is_of(&self, call: &Abandoned) -> bool {
        self.message.id == Some(call.id) && self.message.reply_to.as_ref() == Some(&call.reply_to)
    }

    fn is_declined_by(&self, seat: u64) -> bool {
        self.declined.as_ref().is_some_and(|declined| declined.by.contains(&seat))
    }

    fn decline(&mut self, seat: u64, fault: Box<Fault>) {
        match &mut self.declined {
            Some(declined) => {
                declined.by.push(seat);
                declined.fault = fault;
            }
            None => self.declined = Some(Box::new(Declined { by: vec![seat], fault })),
        }
    }

    /// The message, with what the last one that declined it said.
    fn into_orphan(self) -> Message {
        let fault = self.declined.map(|declined| declined.fault);
        Message { fault, ..self.message }
    }

    /// What is taken first is least.
    fn rank(&self) -> (Reverse<u8>, u64) {
        (Reverse(self.message.priority.unwrap_or(0)), self.place)
    }

    fn again(self) -> Self {
        Self { attempt: self.attempt.saturating_add(1), ..self }
    }
}

fn nobody() -> Error {
    Error::new(ErrorKind::Unroutable, "no server takes calls to this service").unsent()
}
