//! The presence of an instance: its state, and the task that announces it.

use std::sync::Arc;
use std::time::Duration;

use bytestring::ByteString;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;

use super::envelope::{InstanceEvent, PresenceState};
use crate::error::{Error, ErrorKind, Result};
use crate::message::Deadline;
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
    /// the instance has left, or the publisher is closed. An announcement that answers queries
    /// comes at least [`ANSWER_PAUSE`] after the one before, so that queries cannot multiply.
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
            let pause = ANSWER_PAUSE.min(self.heartbeat);
            let query = async {
                sleep(pause).await;
                self.presence.query.notified().await;
            };
            tokio::select! {
                biased;
                _ = states.changed() => {}
                () = query => {}
                () = sleep(self.heartbeat) => {}
            }
        }
    }

    async fn announce(&self, state: PresenceState) -> Result<()> {
        let heartbeat_ms = u64::try_from(self.heartbeat.as_millis()).unwrap_or(u64::MAX);
        let mut event = InstanceEvent::presence(state, heartbeat_ms, &self.instance)?;
        // A later one says it again, and callers that have not got it by then know better.
        event.transient = true;
        event.deadline = Some(Deadline::after(2 * self.heartbeat));
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
/// The shortest time before an announcement that answers queries.
const ANSWER_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;
    use crate::message::Message;
    use crate::transport::{Outbound, Sending};

    const HEARTBEAT: Duration = Duration::from_secs(2);

    struct Sent(mpsc::UnboundedSender<Message>);

    impl Outbound for Sent {
        fn send(&self, message: Message) -> Sending<'_> {
            self.0.send(message).unwrap();
            Sending::ready(Ok(()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn queries_are_answered_together_and_changes_at_once() {
        let (sending, mut sent) = mpsc::unbounded_channel();
        let presence = Arc::new(Presence::new());
        let announcer = Announcer {
            presence: presence.clone(),
            sender: Sender::new(Sent(sending)),
            instance: "n=shop;i=1".into(),
            heartbeat: HEARTBEAT,
        };
        let running = tokio::spawn(announcer.run());
        let mut last = Instant::now();
        let mut next = async || {
            let mut event = sent.recv().await.unwrap();
            assert!(event.transient);
            assert_eq!(event.deadline.unwrap().remaining(), 2 * HEARTBEAT);
            let (event, _) = InstanceEvent::take(&mut event).unwrap();
            let InstanceEvent::Presence { state, .. } = event else { panic!("{event:?}") };
            let pause = last.elapsed();
            last = Instant::now();
            (state, pause)
        };
        assert_eq!(next().await, (PresenceState::Joined, Duration::ZERO));
        presence.answer();
        assert_eq!(next().await, (PresenceState::Present, ANSWER_PAUSE));
        for _ in 0..3 {
            presence.answer();
        }
        assert_eq!(next().await, (PresenceState::Present, ANSWER_PAUSE));
        assert_eq!(next().await, (PresenceState::Present, HEARTBEAT));
        presence.drain();
        assert_eq!(next().await, (PresenceState::Draining, Duration::ZERO));
        presence.leave();
        assert_eq!(next().await, (PresenceState::Left, Duration::ZERO));
        running.await.unwrap();
    }
}
