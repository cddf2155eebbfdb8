//! The table of the instances that a caller knows. No I/O.

use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::envelope::PresenceState;
use super::instance_changes::InstanceChange;
use crate::message::Instance;

/// The instances that have announced themselves, at most [`Membership::MAX`].
#[derive(Default)]
pub(super) struct Membership {
    /// By the ids of the instances.
    members: FxHashMap<String, Member>,
}

struct Member {
    instance: Instance,
    is_draining: bool,
    /// The time at which the instance counts as gone without another announcement.
    gone_at: Instant,
}

impl Membership {
    /// The largest number of instances. Further ones are not known.
    pub(super) const MAX: usize = 4_096;

    /// Notes an announcement. Returns the changes that it makes, in their order.
    ///
    /// An instance that runs again under the same id, by another process or from another time on,
    /// is a new one, and the earlier one has left.
    pub(super) fn announced(
        &mut self,
        instance: &Instance,
        (state, heartbeat): (PresenceState, Duration),
        now: Instant,
    ) -> Vec<InstanceChange> {
        let mut changes = Vec::new();
        if state == PresenceState::Left {
            // That of an earlier run may arrive late.
            let is_known = self.get(instance.id()) == Some(instance);
            let left = if is_known { self.members.remove(instance.id()) } else { None };
            changes.extend(left.map(|left| InstanceChange::Left(left.instance)));
            return changes;
        }
        let is_draining = state == PresenceState::Draining;
        // Two heartbeats, of a clock that may be a little slower.
        let gone_at = now + 2 * heartbeat.min(HEARTBEAT_MAX) + SLACK;
        let change = if is_draining { InstanceChange::Draining } else { InstanceChange::Joined };
        if let Some(member) = self.members.get_mut(instance.id()) {
            let known = &member.instance;
            let is_late = instance.since().zip(known.since()).is_some_and(|(new, old)| new < old);
            if is_late {
                return changes;
            }
            let is_same_run = (instance.pid(), instance.since()) == (known.pid(), known.since());
            let has_changed = !is_same_run || (is_draining && !member.is_draining);
            (member.is_draining, member.gone_at) = (is_draining, gone_at);
            if member.instance != *instance {
                let earlier = std::mem::replace(&mut member.instance, instance.clone());
                changes.extend((!is_same_run).then_some(InstanceChange::Left(earlier)));
            }
            changes.extend(has_changed.then(|| change(instance.clone())));
            return changes;
        }
        if self.members.len() >= Self::MAX {
            return changes;
        }
        let member = Member { instance: instance.clone(), is_draining, gone_at };
        self.members.insert(instance.id().to_owned(), member);
        changes.push(change(instance.clone()));
        changes
    }

    /// Removes the instances that are gone by now, and returns them.
    pub(super) fn remove_gone(&mut self, now: Instant) -> Vec<Instance> {
        let gone = self.members.extract_if(|_, member| member.gone_at <= now);
        gone.map(|(_, member)| member.instance).collect()
    }

    /// Returns the time at which the next instance counts as gone.
    pub(super) fn next_gone(&self) -> Option<Instant> {
        self.members.values().map(|member| member.gone_at).min()
    }

    /// Returns the instance with this id.
    pub(super) fn get(&self, id: &str) -> Option<&Instance> {
        self.members.get(id).map(|member| &member.instance)
    }

    /// Returns whether no instance is known.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Returns whether an instance is known as draining.
    pub(super) fn is_draining(&self, instance: &Instance) -> bool {
        self.members.get(instance.id()).is_some_and(|member| member.is_draining)
    }

    /// Iterates over the instances that receive broadcasts.
    pub(super) fn receiving(&self) -> impl Iterator<Item = &Instance> {
        let receiving = self.members.values().filter(|member| !member.is_draining);
        receiving.map(|member| &member.instance)
    }
}

/// The longest heartbeat that a caller believes.
const HEARTBEAT_MAX: Duration = Duration::from_hours(1);
/// The delay that an announcement may have.
const SLACK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(2);

    fn announce(
        members: &mut Membership,
        id: &str,
        state: PresenceState,
    ) -> Option<InstanceChange> {
        members.announced(&instance(id), (state, HEARTBEAT), Instant::now()).pop()
    }

    fn instance(id: &str) -> Instance {
        format!("n=shop;i={id}").parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn silent_instance_is_gone_after_two_heartbeats() {
        let mut members = Membership::default();
        announce(&mut members, "a", PresenceState::Joined);
        tokio::time::advance(HEARTBEAT).await;
        announce(&mut members, "b", PresenceState::Present);
        assert!(members.remove_gone(Instant::now()).is_empty());
        tokio::time::advance(HEARTBEAT + SLACK).await;
        assert_eq!(members.next_gone(), Some(Instant::now()));
        assert_eq!(members.remove_gone(Instant::now()), [instance("a")]);
        assert_eq!(members.receiving().collect::<Vec<_>>(), [&instance("b")]);
    }

    #[tokio::test(start_paused = true)]
    async fn each_change_is_reported_once() {
        let mut members = Membership::default();
        let mut change = |state| announce(&mut members, "a", state);
        assert!(matches!(change(PresenceState::Joined), Some(InstanceChange::Joined(_))));
        assert_eq!(change(PresenceState::Present), None);
        assert!(matches!(change(PresenceState::Draining), Some(InstanceChange::Draining(_))));
        assert_eq!(change(PresenceState::Draining), None);
        assert!(matches!(change(PresenceState::Left), Some(InstanceChange::Left(_))));
        assert_eq!(change(PresenceState::Left), None);
    }

    #[tokio::test(start_paused = true)]
    async fn instance_that_runs_again_is_a_new_one() {
        let mut members = Membership::default();
        let run = |since: u32, pid: u32| -> Instance {
            format!("n=shop;i=a;p={pid};s={since}").parse().unwrap()
        };
        let mut changes = |instance: &Instance, state| {
            members.announced(instance, (state, HEARTBEAT), Instant::now())
        };
        let [first, second, third] = [run(1, 7), run(2, 7), run(2, 8)];
        assert_eq!(changes(&first, PresenceState::Joined), [InstanceChange::Joined(first.clone())]);
        for (earlier, later) in [(&first, &second), (&second, &third)] {
            let due =
                [InstanceChange::Left(earlier.clone()), InstanceChange::Joined(later.clone())];
            assert_eq!(changes(later, PresenceState::Present), due);
            assert_eq!(changes(later, PresenceState::Present), []);
        }
        assert_eq!(changes(&first, PresenceState::Present), [], "a late announcement");
        assert_eq!(changes(&first, PresenceState::Left), [], "a late leave");
        assert_eq!(changes(&third, PresenceState::Left), [InstanceChange::Left(third.clone())]);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_cannot_fill_the_memory() {
        let mut members = Membership::default();
        for id in 0..=Membership::MAX {
            announce(&mut members, &id.to_string(), PresenceState::Present);
        }
        assert_eq!(members.receiving().count(), Membership::MAX);
    }
}
