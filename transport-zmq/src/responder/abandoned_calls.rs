//! Abandoned calls that a consumer does not know of yet. No I/O.

use std::collections::VecDeque;

use polywire_core::message::ReplyTo;
use polywire_core::transport::Abandoned;
use rustc_hash::FxHashMap;

/// A bounded queue of abandoned calls, oldest first, one for each consumer. A caller with many of
/// them takes the places of its own.
#[derive(Default)]
pub(super) struct AbandonedCalls(VecDeque<Abandoned>);

impl AbandonedCalls {
    /// Calls at most: 1,000.
    pub(super) const MAX: usize = 1000;

    /// Returns whether there is no call.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a call. If there are too many, drops the oldest one of the caller that has most. If the
    /// consumer runs a dropped call, the handler goes on until the deadline.
    ///
    /// Each call that is added to a full queue costs a pass over all others.
    pub(super) fn push(&mut self, call: Abandoned) {
        self.0.push_back(call);
        if self.0.len() <= Self::MAX {
            return;
        }
        let mut by_caller = FxHashMap::<&ReplyTo, usize>::default();
        for call in &self.0 {
            *by_caller.entry(&call.reply_to).or_default() += 1;
        }
        let greediest = by_caller.into_iter().max_by_key(|(_, calls)| *calls);
        let oldest = greediest
            .and_then(|(caller, _)| self.0.iter().position(|call| call.reply_to == *caller));
        self.0.remove(oldest.unwrap_or(0));
    }

    /// Removes the oldest call.
    pub(super) fn pop(&mut self) -> Option<Abandoned> {
        self.0.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::message::CallId;

    use super::*;

    #[test]
    fn storm_of_cancels_takes_no_place_of_another_caller() {
        let mut calls = AbandonedCalls::default();
        calls.push(Abandoned::new(ReplyTo::new("honest"), CallId(1)));
        for id in 0..3 * AbandonedCalls::MAX as u64 {
            calls.push(Abandoned::new(ReplyTo::new("storm"), CallId(id)));
        }
        assert_eq!(calls.pop().unwrap().reply_to, ReplyTo::new("honest"));
        let rest: Vec<_> = std::iter::from_fn(|| calls.pop()).collect();
        assert_eq!(rest.len(), AbandonedCalls::MAX - 1);
        assert_eq!(rest.last().unwrap().id, CallId(3 * AbandonedCalls::MAX as u64 - 1));
    }
}
