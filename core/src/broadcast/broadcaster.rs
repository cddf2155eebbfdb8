//! Broadcaster: sends calls to every instance of a service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::broadcaster_state::BroadcasterState;
use super::envelope::CallerEvent;
use super::instance_changes::InstanceChanges;
use crate::error::Result;
use crate::message::{Address, Deadline, Instance, Message};
use crate::middleware::Trace;
use crate::transport::{Sender, Sending};

/// Sender of calls to every instance of a service, and reader of their outcomes.
///
/// The instances are servers that are [bound to the broadcasts](crate::Server::bind_broadcast) of
/// the service. [`request`](Self::request) prepares a call, [`instances`](Self::instances) lists
/// the instances that are there, and [`changes`](Self::changes) reports the ones that come and go.
///
/// Clones share the endpoint handles, so cloning is cheap. The last clone, and the last
/// [`Gathering`](super::Gathering), close them.
///
/// The [module](crate::broadcast) has the way of the messages, and
/// [`Server::bind_broadcast`](crate::Server::bind_broadcast) an example.
#[derive(Clone)]
pub struct Broadcaster<D> {
    pub(super) shared: Arc<BroadcasterShared>,
    pub(super) dialect: D,
    pub(super) timeout: Duration,
    pub(super) trace: Option<Trace>,
}

impl<D> Broadcaster<D> {
    /// Returns the name of the service.
    #[must_use]
    pub fn service(&self) -> &Address {
        &self.shared.service
    }

    /// Returns the instances that receive broadcasts, as far as they have announced themselves, in
    /// the order of their names and ids.
    #[must_use]
    pub fn instances(&self) -> Vec<Instance> {
        self.shared.state.instances()
    }

    /// Returns the changes of the instances from now on. An instance is known as gone within two
    /// of its heartbeats.
    #[must_use]
    pub fn changes(&self) -> InstanceChanges {
        InstanceChanges::new(self.shared.state.changes())
    }

    /// Returns the counters of the broadcaster.
    #[must_use]
    pub fn stats(&self) -> BroadcasterStats {
        let (running, late_outcomes) = self.shared.state.counts();
        BroadcasterStats { running, late_outcomes }
    }

    /// Returns a clone whose calls record a span each, by the conventions of OpenTelemetry; see
    /// [`Trace::publisher`]. The span of an instance continues the trace.
    #[must_use]
    pub fn with_trace(&self, trace: &Trace) -> Self
    where
        D: Clone,
    {
        Self { trace: Some(trace.clone()), ..self.clone() }
    }
}

impl<D> fmt::Debug for Broadcaster<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broadcaster")
            .field("service", self.service())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Counters of a broadcaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BroadcasterStats {
    /// Gatherings that have not ended.
    pub running: usize,
    /// Outcomes that arrived after their gathering had ended, or that were second ones of an
    /// instance.
    pub late_outcomes: u64,
}

/// The part of a broadcaster that its clones and its gatherings share.
pub(super) struct BroadcasterShared {
    pub(super) service: Address,
    pub(super) sender: Sender,
    /// The name of the inbox, a part of the topic of the outcomes.
    pub(super) inbox: String,
    pub(super) state: Arc<BroadcasterState>,
    pub(super) reader: AbortHandle,
}

impl BroadcasterShared {
    /// Sends a prepared event within a time.
    pub(super) async fn send(
        &self,
        event: Message,
        timeout: Duration,
        trace: Option<&Trace>,
    ) -> Result<()> {
        let send = |event| self.sender.send_within(event, timeout);
        match trace {
            Some(trace) => trace.around(event, send).await,
            None => send(event).await,
        }
    }

    /// Cancels a call at each instance that runs it. Does not wait; the cancel may get lost, and
    /// the instances then run until the deadline.
    pub(super) fn cancel(self: &Arc<Self>, call: u64) {
        let mut event = Message::default();
        let cancel = CallerEvent::Cancel { inbox: self.inbox.clone(), call };
        if cancel.write(&mut event).is_err() {
            return;
        }
        event.transient = true;
        event.deadline = Some(Deadline::after(CANCEL_MAX));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        // In a task, since a broker confirms later. The task ends within the limit.
        let shared = self.clone();
        drop(runtime.spawn(async move {
            let sending: Sending<'_> = shared.sender.send(event);
            if let Err(error) = shared.sender.sent_within(sending, CANCEL_MAX).await {
                tracing::debug!(?error, call, "cannot cancel a broadcast");
            }
        }));
    }
}

impl Drop for BroadcasterShared {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The longest time that a cancel is on its way.
const CANCEL_MAX: Duration = Duration::from_secs(5);
