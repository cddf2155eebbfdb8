//! The presence of an instance: its state, and the task that announces it.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::envelope::{InstanceEvent, PresenceState};
use crate::error::{Error, ErrorKind, Result};
use crate::transport::{LogThrottle, Sender};

/// The state of an instance, shared by its two halves and its task.
pub(super) struct Presence {
    state: watch::Sender<PresenceState>,
    /// Signal of a query. Several queries before an announcement are answered by one.
    query: Notify,
}

impl Presence {
    /// Creates the presence of an instance that has not announced itself.
    pub(super) fn new() -> Self {
        Self { state: watch::Sender::new(PresenceState::Joined), query: Notify::new() }
    }

    /// Makes the instance announce itself.
    pub(super) fn answer(&self) {
        self.query.notify_one();
    }

    /// Announces that the instance receives no more broadcasts.
    pub(super) fn drain(&self) {
        self.enter(PresenceState::Draining);
    }

    /// Announces that the instance has ended, and ends its task.
    pub(super) fn leave(&self) {
        self.enter(PresenceState::Left);
    }

    fn enter(&self, state: PresenceState) {
        self.state.send_if_modified(|current| {
            let is_later = *current != PresenceState::Left && *current != state;
            if is_later {
                *current = state;
            }
            is_later
        });
    }
}

/// The announcements of an instance.
pub(super) struct Announcer {
    pub(super) presence: Arc<Presence>,
    pub(super) sender: Sender,
    /// The text of the instance.
    pub(super) instance: ByteString,
    pub(super) heartbeat: Duration,
}

impl Announcer {
    /// Announces the state of the instance at each change, each query and each heartbeat, until
    /// the instance has left, or the publisher is closed.
    ///
    /// A failed announcement is logged, and repeated at the next heartbeat. Callers take the
    /// instance for gone meanwhile.
    pub(super) async fn run(self) {
        let mut states = self.presence.state.subscribe();
        let mut failures = LogThrottle::new();
        let mut has_joined = false;
        loop {
            let state = match *states.borrow_and_update() {
                PresenceState::Joined if has_joined => PresenceState::Present,
                state => state,
            };
            match self.announce(state).await {
                Ok(()) => has_joined = true,
                Err(error) if error.kind() == ErrorKind::Closed => return,
                Err(error) => note(&mut failures, &error),
            }
            if state == PresenceState::Left {
                return;
            }
            tokio::select! {
                biased;
                _ = states.changed() => {}
                () = self.presence.query.notified() => {}
                () = sleep(self.heartbeat) => {}
            }
        }
    }

    async fn announce(&self, state: PresenceState) -> Result<()> {
        let heartbeat_ms = u64::try_from(self.heartbeat.as_millis()).unwrap_or(u64::MAX);
        let event = InstanceEvent::presence(state, heartbeat_ms, &self.instance)?;
        self.sender.send_within(event, ANNOUNCE_MAX).await
    }
}

fn note(failures: &mut LogThrottle, error: &Error) {
    if let Some(count) = failures.note() {
        tracing::warn!(?error, count, "cannot announce an instance");
    }
}

/// The longest time that an announcement takes.
const ANNOUNCE_MAX: Duration = Duration::from_secs(5);
