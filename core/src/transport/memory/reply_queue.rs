//! Reply queue of a requester.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker, ready};

use tokio::task::coop::poll_proceed;

use super::lock::lock;
use crate::error::Result;
use crate::transport::{Delivery, ReplySink, ServerNotice};

/// Replies and notices for one requester. The queue is unbounded: each reply answers one request,
/// and core bounds the in-flight calls of a requester. A server asks at most once a second for each
/// request that it holds, and windows bound these.
#[derive(Default)]
pub(super) struct ReplyQueue {
    state: Mutex<State>,
    /// Set if there may be notices, so that most polls for them need no lock.
    has_notices: AtomicBool,
}

#[derive(Default)]
struct State {
    replies: VecDeque<Result<Delivery>>,
    notices: VecDeque<ServerNotice>,
    waker: Option<Waker>,
    /// The taker of replies, in place of the receiver.
    sink: Option<ReplySink>,
    /// Set when no more replies are taken.
    is_closed: bool,
    /// Set when the receiver is dropped.
    is_gone: bool,
}

impl ReplyQueue {
    /// Delivers a reply. Returns whether the requester takes it.
    pub(super) fn push(&self, reply: Result<Delivery>) -> bool {
        let mut state = lock(&self.state);
        if state.is_closed {
            return false;
        }
        // Not before those that wait for the receiver.
        if let Some(sink) = state.sink.clone().filter(|_| state.replies.is_empty()) {
            drop(state);
            sink.deliver(reply);
            return true;
        }
        state.replies.push_back(reply);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// Delivers later replies to a taker, in place of the receiver.
    pub(super) fn deliver_to(&self, sink: ReplySink) {
        lock(&self.state).sink = Some(sink);
    }

    /// Appends a notice. Returns whether the requester takes it.
    pub(super) fn push_notice(&self, notice: ServerNotice) -> bool {
        self.append(|state| {
            if !state.is_gone {
                state.notices.push_back(notice);
                self.has_notices.store(true, Ordering::Release);
            }
            !state.is_gone
        })
    }

    /// Takes no more replies. The receiver ends after the queued ones.
    pub(super) fn close(&self) {
        self.append(|state| {
            state.is_closed = true;
            true
        });
    }

    /// Drops what is queued, since the receiver is dropped.
    pub(super) fn leave(&self) {
        let mut locked = lock(&self.state);
        let state = &mut *locked;
        (state.is_closed, state.is_gone) = (true, true);
        let dropped = (
            std::mem::take(&mut state.replies),
            std::mem::take(&mut state.notices),
            state.sink.take(),
        );
        drop(locked);
        drop(dropped);
    }

    /// Polls for the next reply.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
        // A queue that is never empty must not keep other tasks from the thread.
        let budget = ready!(poll_proceed(cx));
        let mut state = lock(&self.state);
        let reply = state.replies.pop_front();
        if reply.is_some() || state.is_closed {
            budget.made_progress();
            return Poll::Ready(reply);
        }
        state.register(cx);
        // A notice that came before the waker was registered has not woken it.
        if self.has_notices.load(Ordering::Acquire) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Polls for the next notice. Registers no waker as long as there was none:
    /// [`poll_next`](Self::poll_next), which follows, does.
    pub(super) fn poll_notice(&self, cx: &Context<'_>) -> Poll<ServerNotice> {
        if !self.has_notices.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let mut state = lock(&self.state);
        let notice = state.notices.pop_front();
        self.has_notices.store(!state.notices.is_empty(), Ordering::Release);
        state.register(cx);
        notice.map_or(Poll::Pending, Poll::Ready)
    }

    fn append(&self, append: impl FnOnce(&mut State) -> bool) -> bool {
        let mut state = lock(&self.state);
        let is_taken = append(&mut state);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        is_taken
    }
}

impl State {
    fn register(&mut self, cx: &Context<'_>) {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            self.waker = Some(cx.waker().clone());
        }
    }
}
