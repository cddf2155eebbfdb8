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
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Instance, Message};

/// The state of a broadcaster, shared by its clones, its gatherings and its reader.
pub(super) struct BroadcasterState(Mutex<State>);

struct State {
    members: Membership,
    /// By the numbers of the calls.
    gatherings: FxHashMap<u64, GatherProgress>,
    /// The number of the latest call.
    last: u64,
    /// The time at which all instances are known that were there when the broadcaster connected.
    settles_at: Instant,
    is_settled: bool,
    late_outcomes: u64,
    /// `None` after the reader has ended.
    changes: Option<broadcast::Sender<InstanceChange>>,
    closed: Option<Error>,
}

impl BroadcasterState {
    /// Creates the state of a broadcaster that knows no instance, and knows all of them at
    /// `settles_at`.
    pub(super) fn new(settles_at: Instant) -> Self {
        Self(Mutex::new(State {
            members: Membership::default(),
            gatherings: FxHashMap::default(),
            last: 0,
            settles_at,
            is_settled: false,
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
            Some(expected) => GatherProgress::new(expected, false),
            None => GatherProgress::new(state.members.receiving().cloned(), !state.is_settled),
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
        let settles_at = (!state.is_settled).then_some(state.settles_at);
        settles_at.into_iter().chain(state.members.next_gone()).min()
    }

    /// Removes the instances that are gone by now, and settles the set of instances.
    pub(super) fn tick(&self) {
        let (mut state, now) = (self.lock(), Instant::now());
        let mut wakers = Vec::new();
        for instance in state.members.remove_gone(now) {
            state.report(&InstanceChange::Left(instance.clone()));
            wakers.extend(state.gone(&instance));
        }
        if !state.is_settled && state.settles_at <= now {
            state.is_settled = true;
            for progress in state.gatherings.values_mut() {
                progress.settled();
                wakers.extend(progress.waker.take());
            }
        }
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
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
        if !progress.replied(instance, reply) {
            self.late_outcomes += 1;
        }
        progress.waker.take().into_iter().collect()
    }

    fn announced(
        &mut self,
        instance: &Instance,
        (presence, heartbeat): (PresenceState, Duration),
    ) -> Vec<Waker> {
        let change = self.members.announced(instance, (presence, heartbeat), Instant::now());
        let wakers = match (&change, presence) {
            (Some(InstanceChange::Left(_)), _) => self.gone(instance),
            // One that has just joined may not have got the calls that were sent before.
            (Some(InstanceChange::Joined(_)), PresenceState::Present) => {
                self.gatherings.values_mut().for_each(|progress| progress.known(instance));
                Vec::new()
            }
            _ => Vec::new(),
        };
        if let Some(change) = change {
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
