//! The calls in flight: who waits for which reply. No I/O and no clock.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};
use crate::message::{CallId, Message};

/// The table of calls in flight of one requester, bounded by `max`.
pub(super) struct PendingCalls {
    state: Mutex<State>,
    max: usize,
}

struct State {
    waiting: FxHashMap<CallId, oneshot::Sender<Result<Message>>>,
    last: u64,
    closed: Option<Error>,
}

impl PendingCalls {
    pub(super) fn new(max: usize) -> Self {
        Self {
            state: Mutex::new(State { waiting: FxHashMap::default(), last: 0, closed: None }),
            max,
        }
    }

    /// Enters a call into the table.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] if the table is full, or the error that it was closed with.
    pub(super) fn open(self: &Arc<Self>) -> Result<PendingCall> {
        let (answer, reply) = oneshot::channel();
        let mut state = self.lock();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        if state.waiting.len() >= self.max {
            let error = Error::new(ErrorKind::Overloaded, "too many calls in flight");
            return Err(error.with("limit", self.max).unsent());
        }
        state.last += 1;
        let id = CallId(state.last);
        state.waiting.insert(id, answer);
        Ok(PendingCall { pending: self.clone(), id, reply, answered: false })
    }

    /// Ends the call with this outcome. `false` if nobody waits for it.
    pub(super) fn complete(&self, id: CallId, outcome: Result<Message>) -> bool {
        let waiting = self.lock().waiting.remove(&id);
        waiting.is_some_and(|answer| answer.send(outcome).is_ok())
    }

    /// Fails every call in flight.
    pub(super) fn fail_all(&self, error: &Error) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        for answer in waiting.into_values() {
            // Whoever gave up in this very moment needs no error.
            let _ = answer.send(Err(error.clone()));
        }
    }

    /// Fails every call in flight, and every later one.
    pub(super) fn close(&self, error: &Error) {
        self.lock().closed.get_or_insert_with(|| error.clone().unsent());
        self.fail_all(error);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// No code of ours panics while it holds the lock, and the table would be whole even then.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the table, and the future of the outcome. Dropping it takes the call out of the
/// table.
pub(super) struct PendingCall {
    pending: Arc<PendingCalls>,
    id: CallId,
    reply: oneshot::Receiver<Result<Message>>,
    answered: bool,
}

impl PendingCall {
    pub(super) fn id(&self) -> CallId {
        self.id
    }
}

impl Future for PendingCall {
    type Output = Result<Message>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = std::task::ready!(Pin::new(&mut self.reply).poll(cx));
        self.answered = true;
        // The table drops the answering side only by answering, so a lost one means that it is gone
        // as a whole.
        Poll::Ready(
            outcome.unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "the requester is gone"))),
        )
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if !self.answered {
            self.pending.lock().waiting.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(max: usize) -> Arc<PendingCalls> {
        Arc::new(PendingCalls::new(max))
    }

    #[tokio::test]
    async fn each_reply_reaches_its_own_call() {
        let pending = table(10);
        let (first, second) = (pending.open().unwrap(), pending.open().unwrap());
        assert!(pending.complete(second.id(), Ok(Message::new("second"))));
        assert!(pending.complete(first.id(), Ok(Message::new("first"))));
        assert_eq!(first.await.unwrap().body.into_bytes(), "first");
        assert_eq!(second.await.unwrap().body.into_bytes(), "second");
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn an_abandoned_call_leaves_nothing_behind_and_its_reply_is_late() {
        let pending = table(10);
        let ticket = pending.open().unwrap();
        let id = ticket.id();
        drop(ticket);
        assert_eq!(pending.len(), 0);
        assert!(!pending.complete(id, Ok(Message::default())));
    }

    #[test]
    fn numbers_are_never_used_twice() {
        let pending = table(10);
        let first = pending.open().unwrap().id();
        let second = pending.open().unwrap().id();
        assert_ne!(first, second);
    }

    #[test]
    fn a_full_table_refuses_and_says_its_bound() {
        let pending = table(1);
        let held = pending.open().unwrap();
        let error = pending.open().map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert!(error.is_unsent());
        assert_eq!(error.detail("limit"), Some("1"));
        drop(held);
        assert!(pending.open().is_ok());
    }

    #[tokio::test]
    async fn closing_fails_the_waiting_and_the_coming() {
        let pending = table(10);
        let waiting = pending.open().unwrap();
        pending.close(&Error::new(ErrorKind::Closed, "closed"));
        let error = waiting.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(!error.is_unsent(), "it was in flight: nobody knows");
        let later = pending.open().map(drop).unwrap_err();
        assert_eq!(later.kind(), ErrorKind::Closed);
        assert!(later.is_unsent());
    }
}
