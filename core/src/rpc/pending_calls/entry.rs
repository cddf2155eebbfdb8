//! Entries of the table of in-flight calls.

use std::task::Waker;

use crate::error::Result;
use crate::message::{Address, Deadline, Message};

/// A call of a caller that waits, or has not taken the outcome yet.
pub(super) struct Entry {
    pub(super) state: CallState,
    pub(super) deadline: Deadline,
    /// The method, for the log.
    pub(super) method: Option<Address>,
}

pub(super) enum CallState {
    Waiting(Waker),
    Ended(CallEnd),
}

/// The end of a call: its outcome, or `None` if its deadline has passed.
pub(in crate::rpc) type CallEnd = Option<Result<Box<Message>>>;

impl Entry {
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.state, CallState::Waiting(_))
    }

    /// Stores the end. Returns the waker, or `None` if the call has ended already.
    pub(super) fn end(&mut self, end: CallEnd) -> Option<Waker> {
        if !self.is_in_flight() {
            return None;
        }
        match std::mem::replace(&mut self.state, CallState::Ended(end)) {
            CallState::Waiting(waker) => Some(waker),
            CallState::Ended(_) => None,
        }
    }
}
