//! The queue of one service, and the seats of the responders around it. No I/O, no tasks: state and
//! wakers.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use polywire_core::transport::{Abandoned, Delivery};
use polywire_core::{Message, Result};
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use crate::error::lock;

/// What a responder takes.
pub(super) type Item = Result<Delivery>;

/// Requests of one service that wait for a responder. It holds as many as the windows of its
/// responders together, and [`AHEAD`] more, if these are small, so that what tells of abandoned
/// calls is read while all windows are full. Then the socket is not read, and what is beyond waits
/// in the sockets on both sides.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Wakes who waits for room, or for nothing any more.
    changed: Notify,
}

/// Requests beyond the windows, and how many bytes they may hold.
const AHEAD: usize = 1000;
const AHEAD_BYTES: usize = 16 << 20;
/// Abandoned calls that wait to be told. Whoever tells them takes them at once; of more, the eldest
/// are forgotten.
const ABANDONED: usize = 1000;

#[derive(Default)]
struct State {
    ready: VecDeque<Waiting>,
    /// What the bodies of those in `ready` hold.
    bytes: usize,
    seats: FxHashMap<u64, Seat>,
    closed: bool,
}

/// An item, and the seats that have declined it.
struct Waiting {
    item: Item,
    declined: Vec<u64>,
}

/// What a seat has taken.
pub(super) struct Taken {
    pub(super) item: Item,
    /// The seats that have had it, if there are others to take it should this one decline.
    pub(super) had: Option<Vec<u64>>,
}

/// A responder's place at the queue.
struct Seat {
    window: usize,
    stopped: bool,
    /// Calls whose callers have stopped waiting. This seat may have taken them, or another one.
    abandoned: VecDeque<Abandoned>,
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
        let taken = Seat { window, stopped: false, abandoned: VecDeque::new(), waker: None };
        lock(&self.state).seats.insert(seat, taken);
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
                if state.has_room() {
                    state.put(Waiting::new(item));
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// Adds a request whether there is room or not, for one who cannot wait; or gives it back if
    /// nobody sits here.
    ///
    /// That is one request each time that a responder joins the only one, and no more; and what is
    /// read while there [is room](Self::has_room).
    #[expect(clippy::result_large_err, reason = "the error is the request itself, which moves on")]
    pub(super) fn push_beyond(&self, item: Item) -> Result<(), Item> {
        let mut state = lock(&self.state);
        if state.seats.is_empty() || state.closed {
            return Err(item);
        }
        state.put(Waiting::new(item));
        Ok(())
    }

    /// Whether more may be read.
    pub(super) fn has_room(&self) -> bool {
        lock(&self.state).has_room()
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.state).ready.is_empty()
    }

    /// Notes that nobody waits for a call any more: it is not taken, or those who take are told.
    pub(super) fn abandon(&self, call: &Abandoned) {
        let mut state = lock(&self.state);
        if let Some(at) = state.ready.iter().position(|waiting| is_of(&waiting.item, call)) {
            if let Some(Waiting { item, .. }) = state.ready.remove(at) {
                state.bytes -= size(&item);
            }
            return self.changed.notify_one();
        }
        for seat in state.seats.values_mut() {
            if seat.abandoned.len() >= ABANDONED {
                seat.abandoned.pop_front();
            }
            seat.abandoned.push_back(call.clone());
        }
        state.wake_seats();
    }

    /// Whether there is an abandoned call to be told of.
    pub(super) fn is_told(&self, seat: u64) -> bool {
        lock(&self.state).seats.get(&seat).is_some_and(|seat| !seat.abandoned.is_empty())
    }

    /// Which call nobody waits for any more. Whoever gets `None` is woken when there is one.
    pub(super) fn take_abandoned(&self, seat: u64, cx: &Context<'_>) -> Option<Abandoned> {
        let mut state = lock(&self.state);
        let seat = state.seats.get_mut(&seat)?;
        let abandoned = seat.abandoned.pop_front();
        if abandoned.is_none() {
            seat.register(cx);
        }
        abandoned
    }

    /// Adds a request that was declined for those who have not had it; or gives it back if there is
    /// nobody else.
    #[expect(clippy::result_large_err, reason = "the error is the request itself, which moves on")]
    pub(super) fn hand_on(&self, message: Message, had: &[u64]) -> Result<(), Message> {
        let mut state = lock(&self.state);
        let has_others =
            state.seats.iter().any(|(number, seat)| !seat.stopped && !had.contains(number));
        if state.closed || !has_others {
            return Err(message);
        }
        // Beyond the bounds, if there is no room, because it was within them before.
        state.put(Waiting { item: Ok(Delivery::settled(message)), declined: had.to_vec() });
        Ok(())
    }

    /// Takes the next request for this seat; `None` when the queue is closed.
    pub(super) fn poll_take(&self, seat: u64, cx: &Context<'_>) -> Poll<Option<Taken>> {
        let mut state = lock(&self.state);
        let State { ready, bytes, seats, closed } = &mut *state;
        if *closed {
            return Poll::Ready(None);
        }
        // One that was stopped takes, in order to refuse, only what nobody else would.
        let takes = seats
            .get(&seat)
            .is_some_and(|own| !own.stopped || seats.values().all(|other| other.stopped));
        // What all have declined who are left, and were not stopped, comes to one of them again,
        // which says so.
        let is_for_this = |waiting: &Waiting| {
            let declined = &waiting.declined;
            !declined.contains(&seat)
                || seats.iter().all(|(other, seat)| seat.stopped || declined.contains(other))
        };
        let next = if takes { ready.iter().position(is_for_this) } else { None };
        match next.and_then(|at| ready.remove(at)) {
            Some(Waiting { item, mut declined }) => {
                *bytes -= size(&item);
                self.changed.notify_one();
                let had = (seats.len() > 1).then(|| {
                    declined.push(seat);
                    declined
                });
                Poll::Ready(Some(Taken { item, had }))
            }
            None => {
                if let Some(seat) = seats.get_mut(&seat) {
                    seat.register(cx);
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
        state.seats.is_empty().then(|| state.take_all())
    }

    /// Ends every seat. Returns what nobody took.
    pub(super) fn close(&self) -> Vec<Item> {
        let mut state = lock(&self.state);
        state.closed = true;
        state.wake_seats();
        self.changed.notify_one();
        state.take_all()
    }
}

/// How much an item counts for.
fn size(item: &Item) -> usize {
    item.as_ref().map_or(0, |delivery| delivery.message.body.len())
}

fn is_of(item: &Item, call: &Abandoned) -> bool {
    let Ok(Delivery { message, .. }) = item else { return false };
    message.id == Some(call.id) && message.reply_to.as_ref() == Some(&call.reply_to)
}

impl Waiting {
    fn new(item: Item) -> Self {
        Self { item, declined: Vec::new() }
    }
}

impl Seat {
    fn register(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }
}

impl State {
    fn has_room(&self) -> bool {
        let windows: usize = self.seats.values().map(|seat| seat.window).sum();
        let waiting = self.ready.len();
        waiting < windows || (waiting < windows + AHEAD && self.bytes < AHEAD_BYTES)
    }

    fn put(&mut self, waiting: Waiting) {
        self.bytes += size(&waiting.item);
        self.ready.push_back(waiting);
        self.wake_seats();
    }

    fn take_all(&mut self) -> Vec<Item> {
        self.bytes = 0;
        self.ready.drain(..).map(|waiting| waiting.item).collect()
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

#[cfg(test)]
mod tests {
    use std::task::Context;

    use futures_util::FutureExt;
    use futures_util::task::noop_waker;
    use polywire_core::Message;
    use polywire_core::message::{CallId, ReplyTo};
    use polywire_core::transport::Delivery;

    use super::*;

    fn item() -> Item {
        Ok(Delivery::settled(Message::default()))
    }

    fn take(queue: &Queue, seat: u64) -> Poll<Option<Item>> {
        let taken = queue.poll_take(seat, &Context::from_waker(&noop_waker()));
        taken.map(|taken| taken.map(|taken| taken.item))
    }

    #[test]
    fn pushing_waits_for_room_and_goes_on_when_there_is() {
        let queue = Queue::default();
        queue.join(1, 1);
        for _ in 0..=AHEAD {
            assert!(queue.push(item()).now_or_never().unwrap().is_ok());
        }
        let mut waiting = Box::pin(queue.push(item()));
        assert!((&mut waiting).now_or_never().is_none());
        assert!(take(&queue, 1).is_ready());
        assert!(waiting.now_or_never().unwrap().is_ok());
    }

    fn request(peer: &'static str, call: u64, size: usize) -> Item {
        let mut message = Message::new(vec![0; size]);
        (message.reply_to, message.id) = (Some(ReplyTo::new(peer)), Some(CallId(call)));
        Ok(Delivery::settled(message))
    }

    fn abandoned(peer: &'static str, call: u64) -> Abandoned {
        Abandoned::new(ReplyTo::new(peer), CallId(call))
    }

    fn told(queue: &Queue, seat: u64) -> Option<Abandoned> {
        queue.take_abandoned(seat, &Context::from_waker(&noop_waker()))
    }

    #[test]
    fn large_requests_are_not_read_ahead_beyond_the_windows() {
        let queue = Queue::default();
        queue.join(1, 2);
        for call in 0..2 {
            assert!(queue.push(request("a", call, AHEAD_BYTES)).now_or_never().unwrap().is_ok());
        }
        assert!(!queue.has_room());
        assert!(take(&queue, 1).is_ready());
        assert!(queue.has_room());
        queue.abandon(&abandoned("a", 1));
        for call in 0..AHEAD as u64 {
            assert!(queue.has_room());
            assert!(queue.push(request("a", call, 0)).now_or_never().unwrap().is_ok());
        }
    }

    #[test]
    fn an_abandoned_request_that_waits_is_not_taken_and_no_other_is_missing() {
        let queue = Queue::default();
        queue.join(1, 4);
        for (peer, call) in [("a", 1), ("b", 1), ("a", 2)] {
            assert!(queue.push(request(peer, call, 0)).now_or_never().unwrap().is_ok());
        }
        queue.abandon(&abandoned("a", 1));
        assert_eq!(told(&queue, 1), None);
        for expected in [("b", 1), ("a", 2)] {
            let Poll::Ready(Some(Ok(taken))) = take(&queue, 1) else { panic!("it is there") };
            let call = abandoned(expected.0, expected.1);
            assert!(is_of(&Ok(taken), &call));
        }
        assert!(take(&queue, 1).is_pending());
    }

    #[test]
    fn an_abandoned_call_that_was_taken_is_told_to_all_seats_and_they_never_pile_up() {
        let queue = Queue::default();
        queue.join(1, 4);
        queue.join(2, 4);
        queue.abandon(&abandoned("a", 1));
        assert_eq!(
            [told(&queue, 1), told(&queue, 2)],
            [Some(abandoned("a", 1)), Some(abandoned("a", 1))]
        );
        assert_eq!(told(&queue, 1), None);
        (0..3 * ABANDONED as u64).for_each(|call| queue.abandon(&abandoned("a", call)));
        assert_eq!(std::iter::from_fn(|| told(&queue, 1)).count(), ABANDONED);
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
    fn what_a_seat_declines_goes_to_each_other_once_and_then_back() {
        let queue = Queue::default();
        (1..=3).for_each(|seat| queue.join(seat, 4));
        queue.stop(3);
        assert!(queue.push(request("a", 1, 10)).now_or_never().unwrap().is_ok());
        let take = |seat| queue.poll_take(seat, &Context::from_waker(&noop_waker()));
        let Poll::Ready(Some(Taken { item: Ok(first), had: Some(had) })) = take(1) else {
            panic!("it is there")
        };
        assert_eq!(had, [1]);
        assert!(queue.hand_on(first.message, &had).is_ok());
        assert!(take(1).is_pending());
        let Poll::Ready(Some(Taken { item: Ok(second), had: Some(had) })) = take(2) else {
            panic!("it is for the other one")
        };
        assert_eq!(had, [1, 2]);
        // The third one takes no more.
        assert!(queue.hand_on(second.message.clone(), &had).is_err());
        // Nor does one that has left, and nobody but the first is there to say so.
        assert!(queue.hand_on(second.message, &[1]).is_ok());
        queue.leave(3);
        queue.leave(2);
        assert!(matches!(take(1), Poll::Ready(Some(Taken { had: None, .. }))));
    }

    #[test]
    fn what_waits_for_a_seat_that_is_stopped_goes_back_to_one_that_declined_it() {
        let queue = Queue::default();
        (1..=2).for_each(|seat| queue.join(seat, 4));
        assert!(queue.push(item()).now_or_never().unwrap().is_ok());
        let Poll::Ready(Some(Ok(Delivery { message, .. }))) = take(&queue, 1) else {
            panic!("it is there")
        };
        assert!(queue.hand_on(message.clone(), &[1]).is_ok());
        assert!(take(&queue, 1).is_pending());
        queue.stop(2);
        assert!(take(&queue, 2).is_pending());
        assert!(take(&queue, 1).is_ready());
        assert!(queue.hand_on(message, &[1]).is_err());
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
