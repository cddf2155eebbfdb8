//! The place for the outcome of one message, between a channel and the waiting sender.
//!
//! A sender waits in a future, or leaves a function that is called with the outcome.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use polywire_core::Result;
use polywire_core::transport::OnSent;

use crate::common_errors::lost_unconfirmed;
use crate::lock::lock;

/// Creates a slot. If it `is_quiet`, a success wakes no task: the sender sees it when something
/// else wakes its task.
pub(super) fn outcome_slot(is_quiet: bool) -> (OutcomeSender, OutcomeReceiver) {
    let slot = Arc::new(Slot { is_quiet, state: Mutex::new(State::Waiting(None)) });
    (OutcomeSender(Target::Slot(slot.clone())), OutcomeReceiver(slot))
}

struct Slot {
    is_quiet: bool,
    state: Mutex<State>,
}

enum State {
    /// No outcome yet. Holds the waker of a sender that has polled.
    Waiting(Option<Waker>),
    Done(Result<()>),
    /// The sender has taken the outcome.
    Taken,
}

/// The end that reports the outcome.
///
/// If it is dropped before, the outcome of the message is unknown.
pub(super) struct OutcomeSender(Target);

enum Target {
    Slot(Arc<Slot>),
    Function(OnSent),
    /// The outcome is reported.
    None,
}

impl OutcomeSender {
    /// Wraps a function that is called with the outcome, on any thread.
    pub(super) fn function(then: OnSent) -> Self {
        Self(Target::Function(then))
    }

    /// Reports the outcome.
    pub(super) fn send(mut self, outcome: Result<()>) {
        self.set(outcome);
    }

    fn set(&mut self, outcome: Result<()>) {
        match std::mem::replace(&mut self.0, Target::None) {
            Target::Slot(slot) => slot.set(outcome),
            Target::Function(then) => then(outcome),
            Target::None => {}
        }
    }
}

impl Drop for OutcomeSender {
    fn drop(&mut self) {
        if !matches!(self.0, Target::None) {
            self.set(Err(lost_unconfirmed()));
        }
    }
}

impl Slot {
    fn set(&self, outcome: Result<()>) {
        let wakes = !self.is_quiet || outcome.is_err();
        let mut state = lock(&self.state);
        let State::Waiting(waker) = &mut *state else { return };
        let waker = waker.take();
        *state = State::Done(outcome);
        drop(state);
        if let Some(waker) = waker.filter(|_| wakes) {
            waker.wake();
        }
    }
}

/// The end that waits. Resolves once; later polls are pending.
pub(super) struct OutcomeReceiver(Arc<Slot>);

impl Future for OutcomeReceiver {
    type Output = Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.0.state);
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(outcome) => Poll::Ready(outcome),
            State::Taken => Poll::Pending,
            State::Waiting(waker) => {
                let waker = waker.filter(|waker| waker.will_wake(cx.waker()));
                *state = State::Waiting(Some(waker.unwrap_or_else(|| cx.waker().clone())));
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use polywire_core::ErrorKind;

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Polls a slot, sets its outcome, and polls again. Returns the outcome and the wake-ups.
    fn outcome(is_quiet: bool, set: impl FnOnce(OutcomeSender)) -> (Poll<Result<()>>, usize) {
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut context = Context::from_waker(&waker);
        let (sender, mut receiver) = outcome_slot(is_quiet);
        assert!(Pin::new(&mut receiver).poll(&mut context).is_pending());
        set(sender);
        let polled = Pin::new(&mut receiver).poll(&mut context);
        assert!(Pin::new(&mut receiver).poll(&mut context).is_pending());
        (polled, wakes.0.load(Ordering::Relaxed))
    }

    #[test]
    fn success_wakes_the_sender_unless_the_slot_is_quiet() {
        for (is_quiet, expected) in [(false, 1), (true, 0)] {
            let (polled, wakes) = outcome(is_quiet, |sender| sender.send(Ok(())));
            assert!(matches!(polled, Poll::Ready(Ok(()))));
            assert_eq!(wakes, expected);
        }
    }

    #[test]
    fn function_is_called_once_with_the_outcome() {
        for (set, expected) in [
            ((|sender| sender.send(Ok(()))) as fn(OutcomeSender), None),
            (|sender| sender.send(Err(lost_unconfirmed())), Some(ErrorKind::Disconnected)),
            (drop, Some(ErrorKind::Disconnected)),
        ] {
            let called = Arc::new(Mutex::new(Vec::new()));
            let calls = called.clone();
            set(OutcomeSender::function(Box::new(move |outcome| lock(&calls).push(outcome))));
            let called: Vec<_> = std::mem::take(&mut *lock(&called));
            assert_eq!(called.len(), 1);
            assert_eq!(called[0].as_ref().err().map(polywire_core::Error::kind), expected);
        }
    }

    #[test]
    fn failure_and_a_dropped_channel_wake_the_sender() {
        for is_quiet in [false, true] {
            for set in [drop, |sender: OutcomeSender| sender.send(Err(lost_unconfirmed()))] {
                let (polled, wakes) = outcome(is_quiet, set);
                let Poll::Ready(Err(error)) = polled else { panic!("{polled:?}") };
                assert_eq!((error.kind(), wakes), (ErrorKind::Disconnected, 1));
            }
        }
    }
}
