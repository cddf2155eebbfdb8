//! The table of in-flight calls, which matches replies with their callers. No I/O and no clock.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use crate::error::{Error, ErrorKind, Result};
use crate::message::{CallId, Message};

/// The in-flight calls of one requester, at most `max`.
pub(super) struct PendingCalls {
    state: Mutex<State>,
    max: usize,
}

struct State {
    calls: FxHashMap<CallId, oneshot::Sender<Result<Message>>>,
    /// The number of the latest call.
    last: u64,
    /// The error for calls after the table was closed.
    closed: Option<Error>,
}

impl PendingCalls {
    /// Creates an empty table for at most `max` calls.
    pub(super) fn new(max: usize) -> Self {
        Self {
            state: Mutex::new(State { calls: FxHashMap::default(), last: 0, closed: None }),
            max,
        }
    }

    /// Adds a new call to the table. Dropping the returned future removes the call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] if the table is full, or the error that the table was closed with.
    pub(super) fn open(self: &Arc<Self>) -> Result<PendingCall> {
        let (sender, reply) = oneshot::channel();
        let mut state = self.lock();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        if state.calls.len() >= self.max {
            let error = Error::new(
                ErrorKind::Overloaded,
                "cannot start the call: too many calls are in flight",
            );
            return Err(error.with("limit", self.max).unsent());
        }
        state.last += 1;
        let id = CallId(state.last);
        state.calls.insert(id, sender);
        Ok(PendingCall { table: self.clone(), id, reply, completed: false })
    }

    /// Completes the call with this outcome. Returns `false` if the call has ended already.
    pub(super) fn complete(&self, id: CallId, outcome: Result<Message>) -> bool {
        let sender = self.lock().calls.remove(&id);
        sender.is_some_and(|sender| sender.send(outcome).is_ok())
    }

    /// Fails every in-flight call.
    pub(super) fn fail_all(&self, error: &Error) {
        let calls = std::mem::take(&mut self.lock().calls);
        for sender in calls.into_values() {
            // The caller may have dropped the call in the meantime.
            let _ = sender.send(Err(error.clone()));
        }
    }

    /// Fails every in-flight call, and every later call.
    pub(super) fn close(&self, error: &Error) {
        self.lock().closed.get_or_insert_with(|| error.clone().unsent());
        self.fail_all(error);
    }

    /// Returns the number of in-flight calls.
    pub(super) fn len(&self) -> usize {
        self.lock().calls.len()
    }

    // No code panics while it holds the lock, and the table would be consistent even then.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry of the table, and the future of its outcome. Dropping it removes the entry.
pub(super) struct PendingCall {
    table: Arc<PendingCalls>,
    id: CallId,
    reply: oneshot::Receiver<Result<Message>>,
    completed: bool,
}

impl PendingCall {
    /// Returns the number of the call.
    pub(super) fn id(&self) -> CallId {
        self.id
    }
}

impl Future for PendingCall {
    type Output = Result<Message>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = std::task::ready!(Pin::new(&mut self.reply).poll(cx));
        self.completed = true;
        // The table completes each call before it drops the sender. A lost sender means that the
        // table itself was dropped.
        Poll::Ready(
            outcome
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Closed, "the requester is closed"))),
        )
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        if !self.completed {
            self.table.lock().calls.remove(&self.id);
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
    fn dropped_call_leaves_no_entry_and_its_reply_is_late() {
        let pending = table(10);
        let call = pending.open().unwrap();
        let id = call.id();
        drop(call);
        assert_eq!(pending.len(), 0);
        assert!(!pending.complete(id, Ok(Message::default())));
    }

    #[test]
    fn call_ids_are_never_reused() {
        let pending = table(10);
        let first = pending.open().unwrap().id();
        let second = pending.open().unwrap().id();
        assert_ne!(first, second);
    }

    #[test]
    fn full_table_refuses_and_names_its_bound() {
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
    async fn closing_fails_in_flight_and_later_calls() {
        let pending = table(10);
        let waiting = pending.open().unwrap();
        pending.close(&Error::new(ErrorKind::Closed, "closed"));
        let error = waiting.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(!error.is_unsent(), "the call was in flight, so its outcome is unknown");
        let later = pending.open().map(drop).unwrap_err();
        assert_eq!(later.kind(), ErrorKind::Closed);
        assert!(later.is_unsent());
    }
}
