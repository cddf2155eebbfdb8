//! The progress of one gathering: the instances that it waits for, and the outcomes that have
//! arrived. No I/O.

use std::collections::VecDeque;
use std::task::Waker;

use rustc_hash::{FxHashMap, FxHashSet};

use super::membership::Membership;
use crate::message::{Instance, Message};

/// The progress of a gathering.
///
/// Each instance has one outcome, so the queue is bounded by the number of instances,
/// [`Membership::MAX`] and those that the caller named.
pub(super) struct GatherProgress {
    /// The instances without an outcome, by their ids.
    waiting: FxHashMap<String, Instance>,
    /// The ids of the instances with an outcome.
    ended: FxHashSet<String>,
    arrived: VecDeque<Arrived>,
    /// Set if an instance that was there before the call may still become known.
    may_grow: bool,
    /// The waker of the reader, while it waits.
    pub(super) waker: Option<Waker>,
}

/// An outcome, as it has arrived.
pub(super) struct Arrived {
    pub(super) instance: Instance,
    /// The reply; `None` if the instance is gone.
    pub(super) reply: Option<Box<Message>>,
}

impl GatherProgress {
    /// Creates the progress of a call that waits for these instances. `may_grow` if others may
    /// become known that were there before the call.
    pub(super) fn new(expected: impl IntoIterator<Item = Instance>, may_grow: bool) -> Self {
        let waiting = expected.into_iter().map(|instance| (instance.id().to_owned(), instance));
        Self {
            waiting: waiting.collect(),
            ended: FxHashSet::default(),
            arrived: VecDeque::new(),
            may_grow,
            waker: None,
        }
    }

    /// Notes an instance that has become known, and was there before the call.
    pub(super) fn known(&mut self, instance: &Instance) {
        if self.may_grow && !self.ended.contains(instance.id()) {
            self.waiting.entry(instance.id().to_owned()).or_insert_with(|| instance.clone());
        }
    }

    /// Notes that all instances are known by now that were there before the call.
    pub(super) fn settled(&mut self) {
        self.may_grow = false;
    }

    /// Notes a reply. Returns `false` for a second one of an instance, and beyond the bound.
    pub(super) fn replied(&mut self, instance: Instance, reply: Box<Message>) -> bool {
        let is_waited_for = self.waiting.remove(instance.id()).is_some();
        if self.ended.contains(instance.id())
            || (!is_waited_for && self.ended.len() >= Membership::MAX)
        {
            return false;
        }
        self.end(Arrived { instance, reply: Some(reply) });
        true
    }

    /// Returns whether the outcome of an instance is waited for.
    pub(super) fn is_waiting_for(&self, instance: &Instance) -> bool {
        self.waiting.contains_key(instance.id())
    }

    /// Notes that an instance is gone. Returns `false` if its outcome is not waited for.
    pub(super) fn gone(&mut self, instance: &Instance) -> bool {
        let Some(instance) = self.waiting.remove(instance.id()) else { return false };
        self.end(Arrived { instance, reply: None });
        true
    }

    fn end(&mut self, arrived: Arrived) {
        self.ended.insert(arrived.instance.id().to_owned());
        self.arrived.push_back(arrived);
    }

    /// Takes the oldest outcome.
    pub(super) fn take(&mut self) -> Option<Arrived> {
        self.arrived.pop_front()
    }

    /// Returns whether each instance has an outcome that is known, or may become known.
    pub(super) fn is_complete(&self) -> bool {
        self.waiting.is_empty() && !self.may_grow
    }

    /// Returns whether no instance has an outcome.
    pub(super) fn is_untouched(&self) -> bool {
        self.ended.is_empty()
    }

    /// Returns the instances without an outcome, in the order of their names and ids.
    pub(super) fn into_silent(self) -> Vec<Instance> {
        let mut silent: Vec<_> = self.waiting.into_values().collect();
        silent.sort_by(|one, other| (one.name(), one.id()).cmp(&(other.name(), other.id())));
        silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(id: &str) -> Instance {
        format!("n=shop;i={id}").parse().unwrap()
    }

    fn reply() -> Box<Message> {
        Box::new(Message::new("1"))
    }

    #[test]
    fn each_instance_has_one_outcome() {
        let mut progress = GatherProgress::new(["a", "b"].map(instance), false);
        assert!(progress.replied(instance("a"), reply()));
        assert!(!progress.replied(instance("a"), reply()), "a duplicate");
        assert!(!progress.gone(&instance("a")), "it has replied");
        assert!(progress.gone(&instance("b")));
        assert!(!progress.replied(instance("b"), reply()), "it is gone");
        assert!(progress.is_complete());
        let mut outcomes = std::iter::from_fn(|| progress.take());
        assert!(outcomes.next().is_some_and(|a| a.instance.id() == "a" && a.reply.is_some()));
        assert!(outcomes.next().is_some_and(|b| b.instance.id() == "b" && b.reply.is_none()));
        assert!(outcomes.next().is_none());
    }

    #[test]
    fn instances_become_known_until_the_set_is_settled() {
        let mut progress = GatherProgress::new([], true);
        assert!(!progress.is_complete() && progress.is_untouched());
        progress.known(&instance("a"));
        assert!(progress.replied(instance("a"), reply()));
        progress.known(&instance("a"));
        progress.settled();
        progress.known(&instance("b"));
        assert!(progress.is_complete());
    }

    #[test]
    fn unexpected_instance_is_gathered_as_well() {
        let mut progress = GatherProgress::new([instance("b"), instance("a")], false);
        assert!(progress.replied(instance("c"), reply()));
        assert!(!progress.is_complete());
        let silent: Vec<_> = progress.into_silent();
        assert_eq!(silent, [instance("a"), instance("b")]);
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut progress = GatherProgress::new([instance("a")], false);
        let stranger = |n: usize| instance(&format!("stranger-{n}"));
        assert!((0..Membership::MAX).all(|n| progress.replied(stranger(n), reply())));
        assert!(!progress.replied(stranger(Membership::MAX), reply()));
        assert!(progress.replied(instance("a"), reply()), "an expected one has its place");
    }
}
