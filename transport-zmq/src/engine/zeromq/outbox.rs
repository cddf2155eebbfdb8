//! The messages that a link has yet to send.
//!
//! The crate queues up to 100,000 messages of a connection, without a way to see or to take back
//! any of them. So a link hands the crate a few at a time, and keeps each until the relay has
//! written it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::Mutex;
use std::task::{Poll, Waker};

use tokio::sync::Notify;
use zeromq::ZmqMessage;

use crate::lock::lock;

/// The queue of one link. Its owner adds messages, and the task of the link takes them.
///
/// The lock is held for a change of the queues only. Calls from several threads are taken one after
/// the other, so messages leave in the order of the calls.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Messages that may be queued.
    capacity: usize,
    /// Messages that the crate may hold, or `None` if the link does not count them.
    window: Option<usize>,
    state: Mutex<State>,
    /// Signals that there is room. Not signaled while there is none.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The messages that the crate has not got, the oldest first.
    queued: VecDeque<ZmqMessage>,
    /// The messages that the crate holds, the oldest first. Bounded by the window.
    ///
    /// Empty if the link does not count messages.
    handed_over: VecDeque<ZmqMessage>,
    /// Set when no message is added any more.
    ended: bool,
    /// The waker of the task that takes the messages.
    taker: Option<Waker>,
}

impl Outbox {
    /// Creates an empty queue.
    pub(super) fn new(capacity: usize, window: Option<usize>) -> Self {
        Self { capacity, window, state: Mutex::default(), room: Notify::new() }
    }

    /// Adds a message if there is room. Otherwise does not make it, and returns `false`.
    ///
    /// `message` runs under the lock, so it must not use the outbox. An ended queue has no room.
    pub(super) fn try_push(&self, message: impl FnOnce() -> ZmqMessage) -> bool {
        let mut state = lock(&self.state);
        if state.ended || state.queued.len() >= self.capacity {
            return false;
        }
        state.push(message());
        true
    }

    /// Adds messages beyond the capacity: subscriptions, whose number the caller bounds, and jobs
    /// that another link could not send.
    ///
    /// An ended queue takes them, too.
    pub(super) fn push_all(&self, messages: impl IntoIterator<Item = ZmqMessage>) {
        let mut state = lock(&self.state);
        messages.into_iter().for_each(|message| state.push(message));
    }

    /// Returns whether a message can be added.
    pub(super) fn has_room(&self) -> bool {
        let state = lock(&self.state);
        !state.ended && state.queued.len() < self.capacity
    }

    /// Returns whether no message can be added any more.
    pub(super) fn has_ended(&self) -> bool {
        lock(&self.state).ended
    }

    /// Returns whether a message has to wait for room. None waits for an ended queue.
    pub(super) fn is_full(&self) -> bool {
        let state = lock(&self.state);
        !state.ended && state.queued.len() >= self.capacity
    }

    /// Waits until there may be room, or no message can be added any more. The future may be
    /// dropped.
    ///
    /// Another sender may take the room first. All waiting senders are woken together.
    pub(super) async fn room(&self) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Enabled before the check, so that no signal in between is missed.
            room.as_mut().enable();
            if !self.is_full() {
                return;
            }
            room.await;
        }
    }

    /// Ends the queue. The messages in it are still taken.
    pub(super) fn end(&self) {
        let mut state = lock(&self.state);
        state.ended = true;
        state.wake();
        drop(state);
        self.room.notify_waiters();
    }

    /// Takes the next message, or returns `None` if the queue has ended and all messages have been
    /// written. One task only may wait. The future may be dropped: it takes a message in the moment
    /// in which it resolves.
    ///
    /// While as many messages as the window are handed over, the future waits for a write.
    pub(super) fn next(&self) -> impl Future<Output = Option<ZmqMessage>> + '_ {
        poll_fn(|cx| {
            let mut state = lock(&self.state);
            if let Some(message) = self.take(&mut state) {
                return Poll::Ready(Some(message));
            }
            if state.ended && state.queued.is_empty() && state.handed_over.is_empty() {
                return Poll::Ready(None);
            }
            state.taker = Some(cx.waker().clone());
            Poll::Pending
        })
    }

    /// Takes a queued message, and keeps a copy of a counted one. `None` if none is queued, or the
    /// window is full.
    fn take(&self, state: &mut State) -> Option<ZmqMessage> {
        if self.window.is_some_and(|window| state.handed_over.len() >= window) {
            return None;
        }
        let message = state.queued.pop_front()?;
        if self.window.is_some() {
            state.handed_over.push_back(message.clone());
        }
        if state.queued.len() < self.capacity {
            self.room.notify_waiters();
        }
        Some(message)
    }

    /// Records that this number of messages has been written to the peer.
    ///
    /// Forgets the oldest messages that were handed over, and wakes the task that takes messages. A
    /// count beyond their number is cut.
    pub(super) fn record_written(&self, count: usize) {
        if count == 0 || self.window.is_none() {
            return;
        }
        let mut state = lock(&self.state);
        let count = count.min(state.handed_over.len());
        state.handed_over.drain(..count);
        state.wake();
    }

    /// Ends the queue, and takes the messages that have not been written, in their order.
    ///
    /// A message that was written in part is among them. The peer cannot have received it as a
    /// whole.
    pub(super) fn take_unsent(&self) -> Vec<ZmqMessage> {
        self.end();
        let mut state = lock(&self.state);
        let state = &mut *state;
        state.handed_over.drain(..).chain(state.queued.drain(..)).collect()
    }
}

impl State {
    fn push(&mut self, message: ZmqMessage) {
        self.queued.push_back(message);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn message(number: u8) -> ZmqMessage {
        ZmqMessage::from(vec![number])
    }

    fn number(message: ZmqMessage) -> Vec<u8> {
        message.into_vec().concat()
    }

    /// Takes the next message at once, if there is one or the queue has ended.
    fn next(outbox: &Outbox) -> Option<Option<Vec<u8>>> {
        outbox.next().now_or_never().map(|message| message.map(number))
    }

    #[test]
    fn messages_that_were_not_written_are_taken_back_in_their_order() {
        let outbox = Outbox::new(3, Some(2));
        for number in 0..3 {
            assert!(outbox.try_push(|| message(number)));
        }
        assert!(!outbox.try_push(|| message(9)));
        for number in 0..2 {
            assert_eq!(next(&outbox), Some(Some(vec![number])));
        }
        assert!(next(&outbox).is_none(), "the window is used up");
        outbox.record_written(1);
        let unsent: Vec<_> = outbox.take_unsent().into_iter().map(number).collect();
        assert_eq!(unsent, [[1], [2]]);
        assert!(!outbox.try_push(|| message(9)));
    }

    #[test]
    fn an_ended_queue_waits_until_everything_is_written() {
        let outbox = Outbox::new(3, Some(2));
        assert!(outbox.try_push(|| message(0)));
        outbox.end();
        assert_eq!(next(&outbox), Some(Some(vec![0])));
        assert!(next(&outbox).is_none());
        outbox.record_written(1);
        assert_eq!(next(&outbox), Some(None));
    }

    #[test]
    fn room_is_signaled_when_a_message_is_taken() {
        let outbox = Outbox::new(1, None);
        assert!(outbox.try_push(|| message(0)));
        let mut room = Box::pin(outbox.room());
        assert!((&mut room).now_or_never().is_none());
        assert!(next(&outbox).is_some());
        assert!(room.now_or_never().is_some());
    }
}
