//! The table of in-flight calls, which matches replies with their callers. No I/O.
//!
//! A call waits in its entry of the table: the entry has the waker of the caller, the deadline, and
//! in the end the outcome. So a call costs no channel and no timer of its own.
//!
//! A late reply finds no call here, and is dropped in `core/src/rpc/reply_reader.rs`.

mod entry;
mod expiry;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::time::Instant;

pub(super) use self::entry::CallEnd;
use self::entry::{CallState, Entry};
use self::expiry::Expiry;
use super::at_most_once_permits::{BeginPermits, Decision};
use crate::error::{Code, Error, ErrorKind, Fault, Result};
use crate::message::{Address, CallId, Deadline, Message};
use crate::panic_containment::catch;
use crate::transport::{Asked, ServerAddress};

/// The in-flight calls of one requester, at most `max`.
pub(super) struct PendingCalls {
    state: Mutex<State>,
    max: usize,
}

struct State {
    /// The calls whose futures exist. Those with an outcome are not in flight any more.
    calls: FxHashMap<CallId, Entry>,
    /// The number of calls without an outcome.
    in_flight: usize,
    /// The number of the latest call.
    last: u64,
    /// The number of calls that have got their outcome.
    completed: u64,
    /// The calls of those above that servers may have begun.
    permitted: BeginPermits,
    /// The error for calls after the table was closed.
    closed: Option<Error>,
    expiry: Expiry,
}

impl PendingCalls {
    /// Creates an empty table for at most `max` calls.
    pub(super) fn new(max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                calls: FxHashMap::default(),
                in_flight: 0,
                last: 0,
                completed: 0,
                permitted: BeginPermits::default(),
                closed: None,
                expiry: Expiry::default(),
            }),
            max,
        }
    }

    /// Adds a new call of a method to the table, which wakes `waker` at the end of the call.
    /// Dropping the returned value removes the call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] if the table is full, or the error that the table was closed with.
    pub(super) fn open(
        &self,
        method: Option<Address>,
        deadline: Deadline,
        waker: &Waker,
    ) -> Result<PendingCall<'_>> {
        let mut state = self.lock();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        if state.in_flight >= self.max {
            let error = Error::new(
                ErrorKind::Overloaded,
                "cannot start the call: too many calls are in flight",
            );
            return Err(error.with("limit", self.max).unsent());
        }
        state.last += 1;
        let id = CallId(state.last);
        let waiting = CallState::Waiting(waker.clone());
        state.calls.insert(id, Entry { state: waiting, deadline, method });
        state.in_flight += 1;
        let task = state.expiry.add(deadline.instant());
        drop(state);
        task.into_iter().for_each(Waker::wake);
        Ok(PendingCall { table: self, id, is_taken: false })
    }

    /// Ends the call with this outcome. Returns `false` if the call has ended already.
    pub(super) fn complete(&self, id: CallId, outcome: Result<Box<Message>>) -> bool {
        // A late reply is not dropped under the lock: its body may be a value of the program.
        let mut end = Some(Some(outcome));
        let mut state = self.lock();
        let waker = state.end(id, &mut end);
        state.completed += u64::from(waker.is_some());
        drop(state);
        drop(end);
        // Not under the lock: a waker may run code of the program.
        waker.map(Waker::wake).is_some()
    }

    /// Fails every in-flight call.
    pub(super) fn fail_all(&self, error: &Error) {
        let mut state = self.lock();
        state.permitted.clear();
        let wakers = state.end_all(|_| Some(Some(Err(error.clone()))));
        drop(state);
        wake_all(wakers);
    }

    /// Decides whether a server may begin a call. A call that has ended is denied.
    pub(super) fn decide(&self, asked: &Asked) -> Decision {
        let mut state = self.lock();
        let is_in_flight = state.calls.get(&asked.id).is_some_and(Entry::is_in_flight);
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

    /// Returns the time of the next search for expired calls. The waker is woken when that time
    /// changes.
    pub(super) fn next_expiry(&self, cx: &Context<'_>) -> Option<Instant> {
        let mut state = self.lock();
        let before = state.expiry.task.replace(cx.waker().clone());
        let next = state.expiry.next;
        drop(state);
        drop(before);
        next
    }

    /// Ends the calls whose deadlines have passed. Each call is looked at, so that a call pays
    /// nothing for a deadline that does not pass.
    pub(super) fn expire(&self, now: Instant) {
        let mut state = self.lock();
        // A search looks at each place of the table, which does not shrink.
        let (mut next, places) = (None, state.calls.capacity());
        let wakers = state.end_all(|deadline| {
            let at = deadline.instant();
            if at <= now {
                return Some(None);
            }
            next = Some(next.map_or(at, |next: Instant| next.min(at)));
            None
        });
        state.expiry.searched(now, places);
        // The task is the caller, which is not to be woken.
        drop(next.and_then(|next| state.expiry.add(next)));
        drop(state);
        wake_all(wakers);
    }

    /// Returns the number of in-flight calls.
    pub(super) fn len(&self) -> usize {
        self.lock().in_flight
    }

    /// Returns the number of the latest call.
    pub(super) fn latest(&self) -> CallId {
        CallId(self.lock().last)
    }

    /// Returns the number of calls that have got their outcome: not those that were dropped, not
    /// those that expired, and not those that failed with the connection.
    pub(super) fn completed(&self) -> u64 {
        self.lock().completed
    }

    /// Returns the calls in flight up to and including `last`, if there are any.
    pub(super) fn oldest(&self, last: CallId) -> Option<OldCalls> {
        let state = self.lock();
        let in_flight = || state.calls.iter().filter(|(_, entry)| entry.is_in_flight());
        let old = || in_flight().filter(|(id, _)| id.0 <= last.0);
        let (oldest, entry) = old().min_by_key(|(id, _)| id.0)?;
        Some(OldCalls { oldest: *oldest, method: entry.method.clone(), count: old().count() })
    }

    // No code panics while it holds the lock, and the table would be consistent even then.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends a call that is in flight, with the end that it takes. Returns its waker.
    fn end(&mut self, id: CallId, end: &mut Option<CallEnd>) -> Option<Waker> {
        let entry = self.calls.get_mut(&id).filter(|entry| entry.is_in_flight())?;
        let waker = entry.end(end.take()?)?;
        self.in_flight -= 1;
        self.permitted.remove(id);
        Some(waker)
    }

    /// Ends the calls in flight that `end` has an end for. Returns their wakers.
    fn end_all(&mut self, mut end: impl FnMut(Deadline) -> Option<CallEnd>) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for (id, entry) in &mut self.calls {
            if entry.is_in_flight()
                && let Some(end) = end(entry.deadline)
            {
                self.permitted.remove(*id);
                wakers.extend(entry.end(end));
            }
        }
        self.in_flight -= wakers.len();
        wakers
    }
}

/// Wakes callers. A waker is code of the program: its panic must not leave the others asleep.
fn wake_all(wakers: Vec<Waker>) {
    wakers.into_iter().for_each(|waker| drop(catch(|| waker.wake())));
}

/// A guard that closes a table when one of its tasks is gone, unless the table is closed already.
pub(super) struct CloseOnDrop(pub(super) Arc<PendingCalls>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let cause = "the requester is closed: its task was dropped with its runtime, or panicked";
        self.0.close(&Error::new(ErrorKind::Closed, cause));
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

/// The caller's hold on an entry of the table. Dropping it removes the entry.
pub(super) struct PendingCall<'t> {
    table: &'t PendingCalls,
    id: CallId,
    /// Set when the entry is removed already.
    is_taken: bool,
}

impl PendingCall<'_> {
    /// Returns the number of the call.
    pub(super) fn id(&self) -> CallId {
        self.id
    }

    /// Polls for the end of the call, which is ready once.
    pub(super) fn poll_end(&mut self, cx: &Context<'_>) -> Poll<CallEnd> {
        let mut state = self.table.lock();
        let waiting = state.calls.get_mut(&self.id).map(|entry| &mut entry.state);
        if let Some(CallState::Waiting(waker)) = waiting {
            if !waker.will_wake(cx.waker()) {
                let before = std::mem::replace(waker, cx.waker().clone());
                // Not under the lock: the last waker of a task may drop the task.
                drop(state);
                drop(before);
            }
            return Poll::Pending;
        }
        self.remove(state).map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes the end of the call, if it has ended.
    pub(super) fn take_end(&mut self) -> Option<CallEnd> {
        let state = self.table.lock();
        let is_in_flight = state.calls.get(&self.id).is_none_or(Entry::is_in_flight);
        if is_in_flight { None } else { self.remove(state) }
    }

    /// Removes the entry, and returns the end of the call if it has ended.
    fn remove(&mut self, mut state: MutexGuard<'_, State>) -> Option<CallEnd> {
        self.is_taken = true;
        let entry = state.calls.remove(&self.id)?;
        if entry.is_in_flight() {
            state.in_flight -= 1;
            state.permitted.remove(self.id);
        }
        // Not under the lock: the entry may own the last waker of a task.
        drop(state);
        match entry.state {
            CallState::Ended(end) => Some(end),
            CallState::Waiting(_) => None,
        }
    }
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        if !self.is_taken {
            drop(self.remove(self.table.lock()));
        }
    }
}
