//! Which messages came back, worked out from their confirms, since the engine does not say it.
//!
//! The broker returns a message before it confirms it. The engine puts what comes back into a
//! queue, and hands the oldest to whichever confirm it resolves next. So a returned message may
//! arrive with the confirm of another one, before its own or after it. Two things are certain, and
//! enough:
//!
//! - A confirm that brings nothing found the queue empty. Whatever came back before it, its own
//!   message included, is with confirms that were resolved before it.
//! - No more wait in the queue than messages wait for their confirms. So once as many more confirms
//!   have been resolved as messages were on their way, whatever was in the queue has been handed
//!   out.

use lapin::types::ShortString;
use polywire_core::Error;
use rustc_hash::FxHashMap;

use crate::wire::Publishing;

/// What tells a message that may come back from all others of its line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    routing_key: ShortString,
    id: ShortString,
}

impl Mark {
    /// That of a message about to be published, if it can come back.
    ///
    /// Two have the same only if somebody else gave both their id, and both go to the same queue:
    /// then either stands for the other.
    pub(super) fn of(message: &Publishing) -> Option<Self> {
        let id = message.properties.message_id().clone().filter(|_| message.mandatory)?;
        Some(Self { routing_key: message.routing_key.clone(), id })
    }

    pub(super) fn new(routing_key: ShortString, id: Option<ShortString>) -> Self {
        Self { routing_key, id: id.unwrap_or_default() }
    }
}

/// A confirm that was resolved, with whatever message came with it, and what is to be told.
#[derive(Debug)]
pub(super) struct Confirm<T> {
    pub(super) mark: Option<Mark>,
    pub(super) verdict: Verdict,
    pub(super) brought: Option<Mark>,
    pub(super) whose: T,
}

/// What a confirm says of its own message.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Taken,
    Refused,
    /// The line is lost, and with it all that has not been confirmed.
    Lost(Error),
}

/// What became of a message.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    Taken,
    Returned,
    Refused,
    Unknown(Error),
}

/// The confirms of a line, of which some are not understood yet.
///
/// Each batch holds at least those that were resolved before the batch was begun, and none that was
/// resolved before the last one was. So what a batch leaves open is decided with the next one, and
/// a confirm speaks for those of the batch before the last.
#[derive(Debug)]
pub(super) struct Returns<T> {
    /// How often each came back, without those of whom it is told.
    returned: FxHashMap<Mark, usize>,
    /// The last batch, and how many confirms there must be until its returned messages are known.
    last: (Vec<Confirm<T>>, u64),
    undecided: Vec<Undecided<T>>,
    /// As many as were resolved, up to the last batch.
    resolved: u64,
    lost: Option<Error>,
}

/// A message that the broker has taken, and may have returned.
#[derive(Debug)]
struct Undecided<T> {
    mark: Mark,
    whose: T,
    known_at: u64,
}

impl<T> Returns<T> {
    pub(super) fn new() -> Self {
        let (returned, last) = (FxHashMap::default(), (Vec::new(), 0));
        Self { returned, last, undecided: Vec::new(), resolved: 0, lost: None }
    }

    /// Whether another batch, be it an empty one, would tell more.
    pub(super) fn is_waiting(&self) -> bool {
        !self.last.0.is_empty()
    }

    /// Takes the next batch, beside which so many messages are on their way; tells what is certain
    /// by then.
    pub(super) fn take(&mut self, batch: Vec<Confirm<T>>, on_their_way: usize) -> Vec<(T, Fate)> {
        let mut told = Vec::with_capacity(self.last.0.len());
        for mark in batch.iter().filter_map(|confirm| confirm.brought.clone()) {
            *self.returned.entry(mark).or_default() += 1;
        }
        let was_empty = batch.iter().any(Confirm::found_nothing);
        self.lost = self.lost.take().or_else(|| batch.iter().find_map(Confirm::loss));
        for undecided in std::mem::take(&mut self.undecided) {
            self.decide(undecided, was_empty, &mut told);
        }
        let (last, known_at) = std::mem::take(&mut self.last);
        for confirm in last {
            self.understand(confirm, known_at, &mut told);
        }
        let is_idle = batch.is_empty() && on_their_way == 0 && self.undecided.is_empty();
        if is_idle {
            // What is left came back for those who were told something else.
            self.returned.clear();
        }
        let known_at = self.resolved + (batch.len() + on_their_way) as u64;
        // One that ends with its line brings nothing.
        self.resolved += batch.iter().filter(|confirm| confirm.loss().is_none()).count() as u64;
        self.last = (batch, known_at);
        told
    }

    fn understand(&mut self, confirm: Confirm<T>, known_at: u64, told: &mut Vec<(T, Fate)>) {
        let found_nothing = confirm.found_nothing();
        let Confirm { mark, verdict, whose, .. } = confirm;
        let fate = match (verdict, mark) {
            (Verdict::Taken, None) => Fate::Taken,
            (Verdict::Taken, Some(mark)) => {
                return self.decide(Undecided { mark, whose, known_at }, found_nothing, told);
            }
            (Verdict::Refused, _) => Fate::Refused,
            (Verdict::Lost(error), _) => Fate::Unknown(error),
        };
        told.push((whose, fate));
    }

    fn decide(&mut self, undecided: Undecided<T>, is_known: bool, told: &mut Vec<(T, Fate)>) {
        let fate = if self.came_back(&undecided.mark) {
            Fate::Returned
        } else if is_known || undecided.known_at <= self.resolved {
            Fate::Taken
        } else if let Some(error) = &self.lost {
            Fate::Unknown(error.clone())
        } else {
            return self.undecided.push(undecided);
        };
        told.push((undecided.whose, fate));
    }

    fn came_back(&mut self, mark: &Mark) -> bool {
        let Some(times) = self.returned.get_mut(mark) else { return false };
        *times -= 1;
        if *times == 0 {
            self.returned.remove(mark);
        }
        true
    }
}

impl<T> Confirm<T> {
    /// Whether the engine had no returned message left.
    fn found_nothing(&self) -> bool {
        self.brought.is_none() && self.loss().is_none()
    }

    fn loss(&self) -> Option<Error> {
        match &self.verdict {
            Verdict::Lost(error) => Some(error.clone()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use polywire_core::ErrorKind;

    use super::*;

    fn mark(n: u32) -> Mark {
        Mark::new("queue".into(), Some(n.to_string().into()))
    }

    /// The engine's book-keeping: the oldest returned message goes with the next confirm, whose
    /// ever it is.
    #[derive(Default)]
    struct Engine {
        returned: VecDeque<u32>,
    }

    impl Engine {
        fn confirm(&mut self, n: u32) -> Confirm<u32> {
            let brought = self.returned.pop_front().map(mark);
            Confirm { mark: Some(mark(n)), verdict: Verdict::Taken, brought, whose: n }
        }
    }

    /// Numbers without a pattern that matters.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, bound: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % bound
        }
    }

    fn check(told: &[(u32, Fate)], is_returned: impl Fn(u32) -> bool) -> usize {
        for (n, fate) in told {
            assert!(matches!(fate, Fate::Returned) == is_returned(*n), "{n} is told {fate:?}");
        }
        told.len()
    }

    /// Confirms come in any order, and batches end anywhere.
    #[test]
    fn each_message_is_told_what_became_of_it() {
        for seed in 0..200 {
            let mut dice = Dice(seed);
            let share = 1 + dice.below(10) as u32;
            let is_returned = |n: u32| n % 10 < share;
            let (mut engine, mut returns) = (Engine::default(), Returns::new());
            let (mut next, mut pending, mut told) = (0_u32, Vec::new(), 0);
            while next < 500 || !pending.is_empty() {
                for _ in 0..dice.below(20).min(500 - next as usize) {
                    pending.push(next);
                    if is_returned(next) {
                        engine.returned.push_back(next);
                    }
                    next += 1;
                }
                let mut batch = Vec::new();
                for _ in 0..dice.below(20).min(pending.len()) {
                    batch.push(engine.confirm(pending.swap_remove(dice.below(pending.len()))));
                }
                told += check(&returns.take(batch, pending.len()), is_returned);
            }
            told += check(&returns.take(Vec::new(), 0), is_returned);
            assert_eq!(told, next as usize, "everybody is told");
            assert!(!returns.is_waiting() && returns.returned.is_empty());
        }
    }

    #[test]
    fn return_that_comes_with_a_later_confirm_is_waited_for() {
        let mut returns = Returns::new();
        let with = |n, brought| Confirm {
            mark: Some(mark(n)),
            verdict: Verdict::Taken,
            brought: Some(mark(brought)),
            whose: n,
        };
        // Both came back, and the confirm of the second is there first.
        assert!(returns.take(vec![with(2, 1)], 1).is_empty());
        assert!(returns.take(Vec::new(), 1).is_empty(), "it is not known what became of 2");
        assert!(matches!(returns.take(vec![with(1, 2)], 0)[..], [(2, Fate::Returned)]));
        assert!(matches!(returns.take(Vec::new(), 0)[..], [(1, Fate::Returned)]));
    }

    #[test]
    fn what_is_open_when_the_line_is_lost_stays_unknown() {
        let mut returns = Returns::new();
        let brought = Some(mark(1));
        let second = Confirm { mark: Some(mark(2)), verdict: Verdict::Taken, brought, whose: 2 };
        let error = Error::new(ErrorKind::Disconnected, "lost");
        let third =
            Confirm { mark: Some(mark(3)), verdict: Verdict::Lost(error), brought: None, whose: 3 };
        assert!(returns.take(vec![second], 2).is_empty());
        let told = returns.take(vec![third], 1);
        assert!(matches!(told[..], [(2, Fate::Unknown(_))]), "{told:?}");
        let told = returns.take(Vec::new(), 1);
        assert!(matches!(told[..], [(3, Fate::Unknown(_))]), "{told:?}");
    }
}
