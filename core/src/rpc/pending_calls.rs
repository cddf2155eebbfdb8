//! The table of in-flight calls, which matches replies with their callers. No I/O and no clock.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::permitted_calls::{Decision, PermittedCalls};
use crate::error::{Code, Error, ErrorKind, Fault, Result};
use crate::message::{Address, CallId, Message};
use crate::transport::{Asked, ServerAddress};

/// The in-flight calls of one requester, at most `max`.
pub(super) struct PendingCalls {
    state: Mutex<State>,
    max: usize,
}

struct State {
    calls: FxHashMap<CallId, Entry>,
    /// The number of the latest call.
    last: u64,
    /// The number of calls that have got their outcome.
    completed: u64,
    /// The calls of those above that servers may have begun.
    permitted: PermittedCalls,
    /// The error for calls after the table was closed.
    closed: Option<Error>,
}

/// A call in flight.
struct Entry {
    sender: oneshot::Sender<Result<Box<Message>>>,
    /// The method, for the log.
    method: Option<Address>,
}

impl PendingCalls {
    /// Creates an empty table for at most `max` calls.
    pub(super) fn new(max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                calls: FxHashMap::default(),
                last: 0,
                completed: 0,
                permitted: PermittedCalls::default(),
                closed: None,
            }),
            max,
        }
    }

    /// Adds a new call of a method to the table. Dropping the returned future removes the call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] if the table is full, or the error that the table was closed with.
    pub(super) fn open(self: &Arc<Self>, method: Option<Address>) -> Result<PendingCall> {
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
        state.calls.insert(id, Entry { sender, method });
        Ok(PendingCall { table: self.clone(), id, reply, completed: false })
    }

    /// Completes the call with this outcome. Returns `false` if the call has ended already.
    pub(super) fn complete(&self, id: CallId, outcome: Result<Box<Message>>) -> bool {
        let mut state = self.lock();
        let entry = state.remove(id);
        state.completed += u64::from(entry.is_some());
        drop(state);
        entry.is_some_and(|entry| entry.sender.send(outcome).is_ok())
    }

    /// Fails every in-flight call.
    pub(super) fn fail_all(&self, error: &Error) {
        let calls = {
            let mut state = self.lock();
            state.permitted.clear();
            std::mem::take(&mut state.calls)
        };
        for Entry { sender, .. } in calls.into_values() {
            // The caller may have dropped the call in the meantime.
            let _ = sender.send(Err(error.clone()));
        }
    }

    /// Decides whether a server may begin a call. A call that has ended is denied.
    pub(super) fn decide(&self, asked: &Asked) -> Decision {
        let mut state = self.lock();
        let is_in_flight = state.calls.contains_key(&asked.id);
        if is_in_flight { state.permitted.decide(asked) } else { Decision::Deny }
    }

    /// Returns whether a server may have begun the call.
    pub(super) fn is_permitted(&self, id: CallId) -> bool {
        self.lock().permitted.contains(id)
    }

    /// Returns each server that may have begun a call.
    pub(super) fn servers(&self) -> FxHashSet<ServerAddress> {
        self.lock().permitted.servers()
    }

    /// Notes that a server is gone, and ends its calls after a grace.
    pub(super) fn server_is_gone(&self, server: &ServerAddress) {
        let over = self.lock().permitted.gone(server, Instant::now());
        for id in over {
            self.complete(id, Ok(Box::new(Message::failed(interrupted()).with_id(id))));
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

    /// Returns the number of the latest call.
    pub(super) fn latest(&self) -> CallId {
        CallId(self.lock().last)
    }

    /// Returns the number of calls that have got their outcome: not those that were dropped, as at
    /// their deadlines, and not those that failed with the connection.
    pub(super) fn completed(&self) -> u64 {
        self.lock().completed
    }

    /// Returns the calls in flight up to and including `last`, if there are any.
    pub(super) fn oldest(&self, last: CallId) -> Option<OldCalls> {
        let state = self.lock();
        let old = || state.calls.keys().filter(|id| id.0 <= last.0);
        let oldest = *old().min_by_key(|id| id.0)?;
        let method = state.calls.get(&oldest).and_then(|entry| entry.method.clone());
        Some(OldCalls { oldest, method, count: old().count() })
    }

    // No code panics while it holds the lock, and the table would be consistent even then.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Removes a call that ends.
    fn remove(&mut self, id: CallId) -> Option<Entry> {
        self.permitted.remove(id);
        self.calls.remove(&id)
    }
}

/// The oldest calls of a table.
pub(super) struct OldCalls {
    /// The call that waits the longest.
    pub(super) oldest: CallId,
    /// Its method.
    pub(super) method: Option<Address>,
    /// The number of calls.
    pub(super) count: usize,
}

/// Returns the fault of a call that may have been run, and is not run again.
pub(super) fn interrupted() -> Fault {
    let cause = "the server of the call is lost: the call may have been run, in full or in part";
    Fault::new(Code::Interrupted, cause)
}

/// An entry of the table, and the future of its outcome. Dropping it removes the entry.
pub(super) struct PendingCall {
    table: Arc<PendingCalls>,
    id: CallId,
    reply: oneshot::Receiver<Result<Box<Message>>>,
    completed: bool,
}

impl PendingCall {
    /// Returns the number of the call.
    pub(super) fn id(&self) -> CallId {
        self.id
    }
}

impl Future for PendingCall {
    type Output = Result<Box<Message>>;

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
            self.table.lock().remove(self.id);
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
        let (first, second) = (pending.open(None).unwrap(), pending.open(None).unwrap());
        assert!(pending.complete(second.id(), Ok(Box::new(Message::new("second")))));
        assert!(pending.complete(first.id(), Ok(Box::new(Message::new("first")))));
        assert_eq!(first.await.unwrap().body.into_bytes(), "first");
        assert_eq!(second.await.unwrap().body.into_bytes(), "second");
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn dropped_call_leaves_no_entry_and_its_reply_is_late() {
        let pending = table(10);
        let call = pending.open(None).unwrap();
        let id = call.id();
        drop(call);
        assert_eq!(pending.len(), 0);
        assert!(!pending.complete(id, Ok(Box::new(Message::default()))));
    }

    #[test]
    fn call_ids_are_never_reused() {
        let pending = table(10);
        let first = pending.open(None).unwrap().id();
        let second = pending.open(None).unwrap().id();
        assert_ne!(first, second);
    }

    #[test]
    fn full_table_refuses_and_names_its_bound() {
        let pending = table(1);
        let held = pending.open(None).unwrap();
        let error = pending.open(None).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert!(error.is_unsent());
        assert_eq!(error.detail("limit"), Some("1"));
        drop(held);
        assert!(pending.open(None).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_has_ended_is_denied_and_a_lost_server_ends_its_calls() {
        let pending = table(10);
        let (ended, waiting) = (pending.open(None).unwrap(), pending.open(None).unwrap());
        let ann = ServerAddress::new("ann");
        let asked = |id| Asked::new(id, ann.clone(), id.0);
        assert_eq!(pending.decide(&asked(ended.id())), Decision::Permit);
        let id = ended.id();
        drop(ended);
        assert_eq!(pending.decide(&asked(id)), Decision::Deny);
        assert!(pending.servers().is_empty());
        assert_eq!(pending.decide(&asked(waiting.id())), Decision::Permit);
        pending.server_is_gone(&ann);
        tokio::time::advance(std::time::Duration::from_millis(600)).await;
        assert!(pending.is_permitted(waiting.id()));
        pending.server_is_gone(&ann);
        assert_eq!(waiting.await.unwrap().fault.unwrap().code, Code::Interrupted);
        assert!(pending.servers().is_empty());
    }

    #[tokio::test]
    async fn closing_fails_in_flight_and_later_calls() {
        let pending = table(10);
        let waiting = pending.open(None).unwrap();
        pending.close(&Error::new(ErrorKind::Closed, "closed"));
        let error = waiting.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        assert!(!error.is_unsent(), "the call was in flight, so its outcome is unknown");
        let later = pending.open(None).map(drop).unwrap_err();
        assert_eq!(later.kind(), ErrorKind::Closed);
        assert!(later.is_unsent());
    }
}
