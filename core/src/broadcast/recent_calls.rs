//! The calls that an instance has received last, by which it drops repeats. No I/O.

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};

/// The calls that were received last, at most [`RecentCalls::MAX`].
///
/// It holds a number of 64 bits for each call, by a hasher with a secret key.
pub(super) struct RecentCalls {
    hasher: RandomState,
    /// The oldest first.
    calls: VecDeque<u64>,
}

impl RecentCalls {
    /// The largest number of calls. A repeat after so many others runs once more.
    pub(super) const MAX: usize = 1_024;

    /// Creates the memory of an instance that has received nothing.
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), calls: VecDeque::new() }
    }

    /// Notes the call with this key. Returns `false` for a repeat.
    pub(super) fn note(&mut self, key: impl Hash) -> bool {
        let call = self.hasher.hash_one(key);
        if self.calls.contains(&call) {
            return false;
        }
        if self.calls.len() >= Self::MAX {
            self.calls.pop_front();
        }
        self.calls.push_back(call);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_known_until_many_others_have_come() {
        let mut calls = RecentCalls::new();
        assert!(calls.note(("inbox", 0)) && calls.note(("other", 0)));
        assert!(!calls.note(("inbox", 0)) && !calls.note(("other", 0)));
        for call in 2..RecentCalls::MAX {
            assert!(calls.note(("inbox", call)));
        }
        assert!(!calls.note(("inbox", 0)), "the oldest one that is held");
        assert!(calls.note(("inbox", RecentCalls::MAX)));
        assert!(calls.note(("inbox", 0)), "it made room");
        assert_eq!(calls.calls.len(), RecentCalls::MAX);
    }
}
