//! What arrives at a subscriber: read by whoever takes events, or by who waits for an answer to a hello.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};

use crate::error::lock;
use crate::wire::{Frames, Hello};

pub(super) struct Inbox(Mutex<State>);

struct State {
    arrivals: BoxStream<'static, Arrival>,
    /// Events that came before the answer to a hello. Bounded by what is on its way when the hello is answered: the
    /// high-water marks on both sides, and what lies in the connections.
    kept: VecDeque<Arrival>,
    /// Somebody waits for an answer, and reads.
    listening: bool,
    taker: Option<Waker>,
}

/// The first frame, and the rest.
type Arrival = (Bytes, Frames);

impl Inbox {
    pub(super) fn new(arrivals: BoxStream<'static, Arrival>) -> Self {
        Self(Mutex::new(State { arrivals, kept: VecDeque::new(), listening: false, taker: None }))
    }

    /// The next event, or what looks like one. `None` when the socket is closed.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Arrival>> {
        let mut state = lock(&self.0);
        if let Some(kept) = state.kept.pop_front() {
            return Poll::Ready(Some(kept));
        }
        if !state.taker.as_ref().is_some_and(|taker| taker.will_wake(cx.waker())) {
            state.taker = Some(cx.waker().clone());
        }
        if state.listening {
            return Poll::Pending;
        }
        state.arrivals.poll_next_unpin(cx)
    }

    /// Reads until the guard is dropped, keeping events for who takes them. One at a time does.
    pub(super) fn listen(&self) -> Ear<'_> {
        lock(&self.0).listening = true;
        Ear(self)
    }

    /// Forgets everything. It does not look at the socket once more: when a runtime ends, the engine's tasks may be gone
    /// already, and then its receive does not come back.
    pub(super) fn clear(&self) {
        let mut state = lock(&self.0);
        state.arrivals = stream::empty().boxed();
        state.kept.clear();
    }

    /// Takes in no more than what is here.
    pub(super) fn stop(&self) {
        let mut state = lock(&self.0);
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(arrival)) = state.arrivals.poll_next_unpin(&mut cx) {
            if state.kept.len() >= KEPT_AT_STOP {
                break;
            }
            state.kept.push_back(arrival);
        }
        state.arrivals = stream::empty().boxed();
        state.wake();
    }
}

/// A publisher that does not pause is not followed for ever.
const KEPT_AT_STOP: usize = 1000;

impl State {
    fn wake(&mut self) {
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
    }
}

/// The right to read.
pub(super) struct Ear<'a>(&'a Inbox);

impl Ear<'_> {
    /// The next answer to a hello: to which, and what it says. `None` when the socket is closed.
    pub(super) async fn answer(&mut self) -> Option<(Hello, Frames)> {
        poll_fn(|cx| {
            let mut state = lock(&self.0.0);
            loop {
                let Some((first, frames)) = std::task::ready!(state.arrivals.poll_next_unpin(cx)) else {
                    return Poll::Ready(None);
                };
                if let Some(hello) = Hello::read(&first) {
                    return Poll::Ready(Some((hello, frames)));
                }
                state.kept.push_back((first, frames));
                state.wake();
            }
        })
        .await
    }
}

impl Drop for Ear<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.0);
        state.listening = false;
        // It is its turn to be woken by what arrives.
        state.wake();
    }
}
