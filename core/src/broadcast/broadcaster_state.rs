//! The state of a broadcaster: the instances that are there, and the gatherings that run. No I/O.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::broadcast;
use tokio::time::Instant;

use super::envelope::{InstanceEvent, PresenceState};
use super::gather_progress::GatherProgress;
use super::instance_changes::{InstanceChange, InstanceChanges};
use super::membership::Membership;
use crate::error::{Code, Error, ErrorKind, Result};
use crate::message::{Deadline, Instance, Message};

/// The state of a broadcaster, shared by its clones, its gatherings and its reader.
pub(super) struct BroadcasterState(Mutex<State>);

struct State {
    members: Membership,
    /// By the numbers of the calls.
    gatherings: FxHashMap<u64, GatherProgress>,
    /// The number of the latest call.
    last: u64,
    discovery: Discovery,
    /// The time within which the instances answer a query.
    discovery_time: Duration,
    late_outcomes: u64,
    /// `None` after the reader has ended.
    changes: Option<broadcast::Sender<InstanceChange>>,
    closed: Option<Error>,
}

/// The progress of finding the instances.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Discovery {
    /// The query which instances are there has yet to be sent.
    Asking,
    /// The instances that are there answer until then.
    Until(Instant),
    /// All instances are known that were there.
    Settled,
}

impl Discovery {
    fn begun(time: Duration) -> Self {
        // No time overflows the clock.
        Self::Until(Deadline::after(time).instant())
    }
}

impl BroadcasterState {
    /// Creates the state of a broadcaster that knows no instance, has sent a query, and knows all
    /// instances after `discovery_time`.
    pub(super) fn new(discovery_time: Duration) -> Self {
        Self(Mutex::new(State {
            members: Membership::default(),
            gatherings: FxHashMap::default(),
            last: 0,
            discovery: Discovery::begun(discovery_time),
            discovery_time,
            late_outcomes: 0,
            changes: Some(broadcast::Sender::new(InstanceChanges::HELD_MAX)),
            closed: None,
        }))
    }

    /// Begins a gathering, and returns the number of its call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Overloaded`] if too many gatherings run, or the error by which the broadcaster
    /// was closed.
    pub(super) fn begin(&self, expected: Option<Vec<Instance>>) -> Result<u64> {
        let mut state = self.lock();
        if let Some(error) = &state.closed {
            return Err(error.clone());
        }
        if state.gatherings.len() >= GATHERINGS_MAX {
            let cause = "cannot gather: too many gatherings run";
            return Err(Error::new(ErrorKind::Overloaded, cause)
                .with("limit", GATHERINGS_MAX)
                .unsent());
        }
        let progress = match expected {
            Some(expected) => {
                let known =
                    |named: Instance| state.members.get(named.id()).cloned().unwrap_or(named);
                GatherProgress::new(expected.into_iter().map(known), false)
            }
            None => {
                let may_grow = state.discovery != Discovery::Settled;
                GatherProgress::new(state.members.receiving().cloned(), may_grow)
            }
        };
        state.last += 1;
        let call = state.last;
        state.gatherings.insert(call, progress);
        Ok(call)
    }

    /// Calls a function with the progress of a gathering, and with the error by which the
    /// broadcaster was closed. `None` for a gathering that has ended.
    pub(super) fn with<T>(
        &self,
        call: u64,
        function: impl FnOnce(&mut GatherProgress, Option<&Error>) -> T,
    ) -> Option<T> {
        let mut state = self.lock();
        let State { gatherings, closed, .. } = &mut *state;
        gatherings.get_mut(&call).map(|progress| function(progress, closed.as_ref()))
    }

    /// Ends a gathering, and returns its progress.
    pub(super) fn end(&self, call: u64) -> Option<GatherProgress> {
        self.lock().gatherings.remove(&call)
    }

    /// Notes an event of an instance.
    pub(super) fn received(
        &self,
        (event, instance): (InstanceEvent, Instance),
        message: Box<Message>,
    ) {
        let mut state = self.lock();
        let wakers = match event {
            InstanceEvent::Outcome { call } => state.replied(call, instance, message),
            InstanceEvent::Presence { state: presence, heartbeat_ms } => {
                let heartbeat = Duration::from_millis(heartbeat_ms);
                state.announced(&instance, (presence, heartbeat))
            }
        };
        drop(state);
        // Not under the lock: a waker may run code of the program.
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns the time at which [`tick`](Self::tick) is due.
    pub(super) fn next_tick(&self) -> Option<Instant> {
        let state = self.lock();
        let settles_at = match state.discovery {
            Discovery::Until(settles_at) => Some(settles_at),
            Discovery::Asking | Discovery::Settled => None,
        };
        settles_at.into_iter().chain(state.members.next_gone()).min()
    }

    /// Removes the instances that are gone by now, and settles the set of instances. Returns
    /// whether a query has to be sent, and then noted by [`asked`](Self::asked).
    ///
    /// If none is left, the caller itself may have been cut off, so the set is not settled any
    /// more.
    pub(super) fn tick(&self) -> bool {
        let (mut state, now) = (self.lock(), Instant::now());
        let mut wakers = Vec::new();
        let gone = state.members.remove_gone(now);
        let must_ask = !gone.is_empty() && state.members.is_empty();
        for instance in gone {
            wakers.extend(state.gone(&instance));
            state.report(&InstanceChange::Left(instance));
        }
        let discovery = state.discovery;
        match discovery {
            _ if must_ask => state.discovery = Discovery::Asking,
            Discovery::Until(settles_at) if settles_at <= now => {
                state.discovery = Discovery::Settled;
                for progress in state.gatherings.values_mut() {
                    progress.settled();
                    wakers.extend(progress.waker.take());
                }
            }
            _ => {}
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        must_ask
    }

    /// Notes that the query of a [`tick`](Self::tick) is sent: the instances answer from now on.
    pub(super) fn asked(&self) {
        let mut state = self.lock();
        if state.discovery == Discovery::Asking {
            state.discovery = Discovery::begun(state.discovery_time);
        }
    }

    /// Ends all gatherings with an error.
    pub(super) fn close(&self, error: Error) {
        let mut state = self.lock();
        state.closed.get_or_insert(error.unsent());
        state.changes = None;
        let progress = state.gatherings.values_mut();
        let wakers: Vec<_> = progress.filter_map(|progress| progress.waker.take()).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Returns the instances that receive broadcasts, in the order of their names and ids.
    pub(super) fn instances(&self) -> Vec<Instance> {
        let mut instances: Vec<_> = self.lock().members.receiving().cloned().collect();
        instances.sort_by(|one, other| (one.name(), one.id()).cmp(&(other.name(), other.id())));
        instances
    }

    /// Returns the changes from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<InstanceChange> {
        let state = self.lock();
        match &state.changes {
            Some(changes) => changes.subscribe(),
            // Its stream ends at once.
            None => broadcast::Sender::new(1).subscribe(),
        }
    }

    /// Returns the number of gatherings that run, and that of late outcomes.
    pub(super) fn counts(&self) -> (usize, u64) {
        let state = self.lock();
        (state.gatherings.len(), state.late_outcomes)
    }

    // No code panics while it holds the lock, and the state would be consistent even then.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The largest number of gatherings that run at once.
const GATHERINGS_MAX: usize = 4_096;

impl State {
    fn replied(&mut self, call: u64, instance: Instance, reply: Box<Message>) -> Vec<Waker> {
        let Some(progress) = self.gatherings.get_mut(&call) else {
            self.late_outcomes += 1;
            return Vec::new();
        };
        // A call goes to an instance that drains as well, and no gathering waits for it there.
        let is_refusal = reply.fault.as_ref().is_some_and(|it| it.code == Code::Unavailable)
            && self.members.is_draining(&instance)
            && !progress.is_waiting_for(&instance);
        if is_refusal || !progress.replied(instance, reply) {
            self.late_outcomes += 1;
        }
        progress.waker.take().into_iter().collect()
    }

    fn announced(
        &mut self,
        instance: &Instance,
        (presence, heartbeat): (PresenceState, Duration),
    ) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for change in self.members.announced(instance, (presence, heartbeat), Instant::now()) {
            match (&change, presence) {
                (InstanceChange::Left(left), _) => wakers.extend(self.gone(left)),
                // One that has just joined may not have got the calls that were sent before.
                (InstanceChange::Joined(joined), PresenceState::Present) => {
                    self.gatherings.values_mut().for_each(|progress| progress.known(joined));
                }
                _ => {}
            }
            self.report(&change);
        }
        wakers
    }

    /// Notes that an instance is gone, and returns the wakers of the gatherings that wait for it.
    fn gone(&mut self, instance: &Instance) -> Vec<Waker> {
        let waiting = self.gatherings.values_mut().filter_map(|progress| {
            progress.gone(instance).then(|| progress.waker.take()).flatten()
        });
        waiting.collect()
    }

    fn report(&self, change: &InstanceChange) {
        // Without a reader of changes, nothing is to be done.
        self.changes.iter().for_each(|changes| drop(changes.send(change.clone())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(2);
    const DISCOVERY_TIME: Duration = Duration::from_millis(500);

    fn announce(state: &BroadcasterState, id: &str, presence: PresenceState) {
        let heartbeat_ms = u64::try_from(HEARTBEAT.as_millis()).unwrap();
        let event = InstanceEvent::Presence { state: presence, heartbeat_ms };
        state.received((event, instance(id)), Box::default());
    }

    fn instance(id: &str) -> Instance {
        format!("n=shop;i={id}").parse().unwrap()
    }

    fn is_complete(state: &BroadcasterState, call: u64) -> bool {
        state.with(call, |progress, _| progress.is_complete()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn set_of_instances_is_open_again_after_the_last_has_expired() {
        let state = BroadcasterState::new(DISCOVERY_TIME);
        announce(&state, "a", PresenceState::Present);
        announce(&state, "b", PresenceState::Present);
        tokio::time::advance(DISCOVERY_TIME).await;
        assert!(!state.tick());
        tokio::time::advance(2 * HEARTBEAT).await;
        assert!(state.tick(), "all have expired");
        let call = state.begin(None).unwrap();
        tokio::time::advance(2 * DISCOVERY_TIME).await;
        assert!(!state.tick() && !is_complete(&state, call), "nobody was asked");
        state.asked();
        announce(&state, "a", PresenceState::Present);
        tokio::time::advance(DISCOVERY_TIME).await;
        assert!(!state.tick());
        let progress = state.end(call).unwrap();
        assert!(!progress.is_complete());
        assert_eq!(progress.into_silent(), [instance("a")]);
    }

    #[tokio::test(start_paused = true)]
    async fn set_of_instances_stays_settled_while_one_is_there_or_all_have_left() {
        let state = BroadcasterState::new(Duration::ZERO);
        announce(&state, "a", PresenceState::Present);
        assert!(!state.tick());
        tokio::time::advance(2 * HEARTBEAT).await;
        announce(&state, "b", PresenceState::Present);
        tokio::time::advance(HEARTBEAT).await;
        assert!(!state.tick(), "one of two has expired");
        announce(&state, "b", PresenceState::Left);
        let call = state.begin(None).unwrap();
        assert!(is_complete(&state, call), "nobody is there");
    }

    #[tokio::test(start_paused = true)]
    async fn longest_time_of_discovery_is_bounded() {
        let state = BroadcasterState::new(Duration::MAX);
        assert_eq!(state.next_tick(), Some(Instant::now() + Deadline::MAX));
    }
}
