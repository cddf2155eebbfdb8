//! What arrives at a subscriber: read by whoever takes events, or by who waits for an answer to a
//! hello.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use polywire_core::Body;

use crate::error::lock;
use crate::wire::{Frames, Hello};

pub(super) struct Inbox(Mutex<State>);

struct State {
    arrivals: BoxStream<'static, Arrival>,
    /// Events that came before the answer to a hello. If there are [`KEPT_MAX`], no more are read
    /// until some are taken.
    kept: VecDeque<Arrival>,
    /// The bytes of them.
    kept_bytes: usize,
    /// Somebody waits for an answer, and reads.
    listening: bool,
    /// Who waits for an answer while there is no room for the events before it.
    listener: Option<Waker>,
    taker: Option<Waker>,
}

/// The first frame, and the rest.
type Arrival = (Bytes, Frames);

impl Inbox {
    pub(super) fn new(arrivals: BoxStream<'static, Arrival>) -> Self {
        Self(Mutex::new(State {
            arrivals,
            kept: VecDeque::new(),
            kept_bytes: 0,
            listening: false,
            listener: None,
            taker: None,
        }))
    }

    /// The next event, or what looks like one. `None` when the socket is closed.
    pub(super) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<Arrival>> {
        let mut state = lock(&self.0);
        if let Some(kept) = state.take_kept() {
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

    /// Forgets everything. It does not look at the socket once more: when a runtime ends, the
    /// engine's tasks may be gone already, and then its receive does not come back.
    pub(super) fn clear(&self) {
        let mut state = lock(&self.0);
        state.arrivals = stream::empty().boxed();
        state.kept.clear();
        state.kept_bytes = 0;
        if let Some(listener) = state.listener.take() {
            listener.wake();
        }
    }

    /// Takes in no more than what is here.
    pub(super) fn stop(&self) {
        let mut state = lock(&self.0);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..KEPT_AT_STOP {
            let Poll::Ready(Some(arrival)) = state.arrivals.poll_next_unpin(&mut cx) else { break };
            state.keep(arrival);
        }
        state.arrivals = stream::empty().boxed();
        state.wake();
    }
}

/// A publisher that does not pause is not followed for ever.
const KEPT_AT_STOP: usize = 1000;
/// Events that are kept for who waits for an answer; or so many bytes of them, and one more.
const KEPT_MAX: usize = 10_000;
const KEPT_BYTES_MAX: usize = 64 << 20;

impl State {
    fn keep(&mut self, arrival: Arrival) {
        self.kept_bytes += size(&arrival);
        self.kept.push_back(arrival);
    }

    fn take_kept(&mut self) -> Option<Arrival> {
        let kept = self.kept.pop_front()?;
        self.kept_bytes -= size(&kept);
        if let Some(listener) = self.listener.take() {
            listener.wake();
        }
        Some(kept)
    }

    fn is_full(&self) -> bool {
        self.kept.len() >= KEPT_MAX || self.kept_bytes >= KEPT_BYTES_MAX
    }

    fn wake(&mut self) {
        if let Some(taker) = self.taker.take() {
            taker.wake();
        }
    }
}

fn size((first, Frames { head, body }): &Arrival) -> usize {
    first.len() + head.len() + body.as_ref().map_or(0, Body::len)
}

/// The right to read.
pub(super) struct Ear<'a>(&'a Inbox);

impl Ear<'_> {
    /// The next answer to a hello: to which, and what it says. `None` when the socket is closed.
    /// While too many events wait to be taken, it waits, too.
    pub(super) async fn answer(&mut self) -> Option<(Hello, Frames)> {
        poll_fn(|cx| {
            let mut state = lock(&self.0.0);
            loop {
                if state.is_full() {
                    state.listener = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                let Some((first, frames)) = std::task::ready!(state.arrivals.poll_next_unpin(cx))
                else {
                    return Poll::Ready(None);
                };
                if let Some(hello) = Hello::read(&first) {
                    return Poll::Ready(Some((hello, frames)));
                }
                state.keep((first, frames));
                state.wake();
            }
        })
        .await
    }
}

impl Drop for Ear<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.0.0);
        (state.listening, state.listener) = (false, None);
        // It is its turn to be woken by what arrives.
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

    /// An inbox of endless events of this size, and how many of them were read.
    fn endless(size: usize) -> (Inbox, Arc<AtomicUsize>) {
        let read = Arc::new(AtomicUsize::new(0));
        let count = read.clone();
        let arrivals = stream::repeat_with(move || {
            count.fetch_add(1, Ordering::Relaxed);
            assert!(count.load(Ordering::Relaxed) < 10 * KEPT_MAX, "it reads for ever");
            event(size)
        });
        (Inbox::new(arrivals.boxed()), read)
    }

    #[test]
    fn who_waits_for_an_answer_keeps_no_more_than_there_is_room_for() {
        for (size, most) in [(1, KEPT_MAX), (KEPT_BYTES_MAX / 8, 8)] {
            let (inbox, read) = endless(size);
            let mut ear = inbox.listen();
            assert!(ear.answer().now_or_never().is_none());
            assert_eq!(read.load(Ordering::Relaxed), most);
            // Each that is taken makes room for one more.
            let mut cx = Context::from_waker(Waker::noop());
            assert!(inbox.poll_take(&mut cx).is_ready());
            assert!(ear.answer().now_or_never().is_none());
            assert_eq!(read.load(Ordering::Relaxed), most + 1);
        }
    }

    #[test]
    fn who_takes_an_event_wakes_who_waits_for_room() {
        let (inbox, _) = endless(1);
        let mut ear = inbox.listen();
        let woken = Arc::new(AtomicUsize::new(0));
        let waker = futures_util::task::waker(Arc::new(Woken(woken.clone())));
        let mut answer = Box::pin(ear.answer());
        assert!(answer.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        assert!(inbox.poll_take(&mut Context::from_waker(Waker::noop())).is_ready());
        assert_eq!(woken.load(Ordering::Relaxed), 1);
    }

    struct Woken(Arc<AtomicUsize>);

    impl futures_util::task::ArcWake for Woken {
        fn wake_by_ref(this: &Arc<Self>) {
            this.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
