//! The links of one socket: their start, their bounds and their end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, future, stream};
use polywire_core::transport::LogThrottle;
use polywire_core::{Deadline, Result};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::link::{self, Arrival, Link, LinkOwner, LinkRules, LinkState};
use super::link_set_options::LinkSetOptions;
use super::link_set_state::{InboundBounds, SetState};
use super::outbox::Outbox;
use super::relay::Relay;
use super::streams::{PeerStream, is_local};
use super::zmtp::TOO_LARGE;
use crate::common_errors::closed;
use crate::config::Settings;
use crate::engine::admission_log::AdmissionLog;
use crate::engine::connected_peer_counts::Host;
use crate::lock::lock;
use crate::security::Admission;
use crate::wire;

/// The links of one socket.
pub(super) struct LinkSet {
    rules: LinkRules,
    admission: Admission,
    /// The bound on a message that a peer sends.
    message_max: usize,
    /// Messages that each link queues.
    capacity: usize,
    owner: Arc<dyn LinkOwner>,
    /// The queue of messages that arrive, unless the owner takes them.
    arrivals: Option<mpsc::WeakSender<Arrival>>,
    /// The task that keeps the queue open. It ends with its runtime, and so does the queue.
    keeper: Option<AbortHandle>,
    state: Mutex<SetState>,
    /// The number of changes of the open links.
    changes: watch::Sender<u64>,
    /// Throttle for log lines of failed handshakes. Remote peers decide how often that happens.
    handshake_failures: LogThrottle,
    /// Throttle for log lines of connections beyond the bounds.
    rejections: AdmissionLog,
}

/// Messages that the crate may hold: 256, so that the relay has enough for one write.
const WINDOW: usize = 256;
/// The share of the handshakes that one remote host may have: an eighth.
const HOST_SHARE: usize = 8;
/// The reason for the end of a link whose set is closed.
const CLOSED: &str = "the socket was closed";

impl LinkSet {
    /// Creates the set of a new socket, and the queue of what arrives, if there is one.
    pub(super) fn new(
        settings: &Settings,
        options: LinkSetOptions,
        owner: Arc<dyn LinkOwner>,
    ) -> (Arc<Self>, Option<mpsc::Receiver<Arrival>>) {
        let Settings { limits, admission, .. } = settings;
        let LinkSetOptions { kind, identity, arrivals_max, capacity } = options;
        let (sender, receiver) = arrivals_max.map(|max| mpsc::channel(max.max(1))).unzip();
        let arrivals = sender.as_ref().map(mpsc::Sender::downgrade);
        let keeper = Handle::try_current().ok().map(|runtime| {
            let keep = async {
                let _sender = sender;
                future::pending::<()>().await;
            };
            runtime.spawn(keep).abort_handle()
        });
        let set = Self {
            rules: LinkRules {
                kind,
                identity,
                handshake_timeout: admission.handshake_timeout.min(Deadline::MAX),
                heartbeat: settings.heartbeat,
                silence_max: settings.silence_max(),
                unread_max: kind.unread_max(settings),
            },
            admission: *admission,
            message_max: admission.message_max(limits, wire::head_max(limits)),
            capacity,
            owner,
            arrivals,
            keeper,
            state: Mutex::default(),
            changes: watch::Sender::new(0),
            handshake_failures: LogThrottle::new(),
            rejections: AdmissionLog::default(),
        };
        (Arc::new(set), receiver)
    }

    /// Starts a link to a peer that this side has connected to.
    ///
    /// # Errors
    ///
    /// `Closed` if the set is closed.
    pub(super) fn start(self: &Arc<Self>, stream: PeerStream, endpoint: &str) -> Result<Arc<Link>> {
        self.start_link(stream, endpoint, None)?.map_err(|_| closed())
    }

    /// Starts a link to a peer that has connected to this side, unless the peer is one too many.
    pub(super) fn admit(self: &Arc<Self>, stream: PeerStream, endpoint: &str) {
        let address = stream.peer_address();
        let all = self.admission.pending_handshakes_max;
        let is_remote = address.is_some_and(|address| !is_local(address.ip()));
        let handshakes_max = if is_remote { (all / HOST_SHARE).max(1) } else { all };
        let bounds = InboundBounds { host: address.map(|it| Host::of(it.ip())), handshakes_max };
        // An error means that the set is closed, and with it the listener in a moment.
        if let Ok(Err(bound)) = self.start_link(stream, endpoint, Some(bounds)) {
            self.rejections.note(bound);
        }
    }

    /// Starts a link, or returns the name of the bound that an inbound peer is beyond.
    fn start_link(
        self: &Arc<Self>,
        stream: PeerStream,
        endpoint: &str,
        inbound: Option<InboundBounds>,
    ) -> Result<Result<Arc<Link>, &'static str>> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let address = stream.peer_address();
        let window = self.rules.kind.is_counted().then_some(WINDOW.min(self.capacity));
        let link = Arc::new(Link {
            number: LAST.fetch_add(1, Ordering::Relaxed) + 1,
            name: address.map_or_else(|| endpoint.to_owned(), |address| format!("tcp://{address}")),
            endpoint: endpoint.to_owned(),
            host: inbound.as_ref().and_then(|bounds| bounds.host),
            is_inbound: inbound.is_some(),
            identity: OnceLock::new(),
            outbox: Outbox::new(self.capacity, window),
            relay: Relay::new(self.rules.kind, self.message_max, self.rules.silence_max),
            state: watch::Sender::new(LinkState::Handshake),
            reason: Mutex::default(),
            task: OnceLock::new(),
        });
        let upgrade = |arrivals: &mpsc::WeakSender<_>| arrivals.upgrade().ok_or_else(closed);
        let arrivals = self.arrivals.as_ref().map(upgrade).transpose()?;
        {
            let mut state = lock(&self.state);
            if state.is_closed {
                return Err(closed());
            }
            if let Some(bound) = inbound.and_then(|one| state.exceeded(&one, &self.admission)) {
                return Ok(Err(bound));
            }
            state.starting.insert(link.number, link.clone());
        }
        stream.prepare(self.rules.kind, self.rules.heartbeat, self.rules.unread_max);
        let end = LinkEnd { set: self.clone(), link: link.clone() };
        let task = tokio::spawn(async move {
            let LinkEnd { set, link } = &end;
            let opened = || set.open(link);
            let run = link::run(link, &set.rules, &*set.owner, arrivals, stream, opened);
            if let Err(reason) = run.await {
                set.log_failure(link, &reason);
                lock(&link.reason).get_or_insert(reason);
            }
        });
        // Set once, here. A link that was cut before is cut now.
        let _ = link.task.set(task.abort_handle());
        if lock(&link.reason).is_some() {
            task.abort();
        }
        Ok(Ok(link))
    }

    /// Logs a failed handshake of an inbound peer, or a message that is too large, throttled.
    fn log_failure(&self, link: &Link, reason: &str) {
        if *link.state.borrow() != LinkState::Handshake {
            if reason == TOO_LARGE {
                self.rejections.note("message_max");
            }
        } else if link.is_inbound
            && let Some(count) = self.handshake_failures.note()
        {
            let endpoint = &link.endpoint;
            tracing::warn!(endpoint, last = link.name, reason, count, "handshakes of peers failed");
        }
    }

    /// Takes a link into the open ones, unless the set is closed.
    fn open(&self, link: &Arc<Link>) -> Result<(), String> {
        {
            let mut state = lock(&self.state);
            if state.is_closed {
                return Err(CLOSED.to_owned());
            }
            // Others may have finished their handshakes meanwhile.
            if link.is_counted() {
                if let Some(bound) = state.connected.exceeded(link.host, &self.admission) {
                    return Err(format!("too many peers are connected (`{bound}`)"));
                }
                state.connected.add(link.number, link.host);
            }
        }
        self.owner.opened(link)?;
        {
            let mut state = lock(&self.state);
            state.starting.remove(&link.number);
            state.open.insert(link.number, link.clone());
        }
        link.state.send_replace(LinkState::Open);
        self.changes.send_modify(|changes| *changes += 1);
        Ok(())
    }

    /// Removes a link that has ended.
    fn end(&self, link: &Arc<Link>) {
        let was_open = {
            let mut state = lock(&self.state);
            state.starting.remove(&link.number);
            state.connected.remove(link.number);
            state.open.remove(&link.number).is_some()
        };
        link.outbox.end();
        if was_open {
            self.owner.ended(link);
        }
        link.state.send_replace(LinkState::Ended);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Returns the open links, the oldest first.
    pub(super) fn links(&self) -> Vec<Arc<Link>> {
        lock(&self.state).open.values().cloned().collect()
    }

    /// Returns the open links, and those in their handshake.
    pub(super) fn all_links(&self) -> Vec<Arc<Link>> {
        let SetState { starting, open, .. } = &*lock(&self.state);
        starting.values().chain(open.values()).cloned().collect()
    }

    /// Returns an open link by its number.
    pub(super) fn link(&self, number: u64) -> Option<Arc<Link>> {
        lock(&self.state).open.get(&number).cloned()
    }

    /// Returns the number of open links.
    pub(super) fn count(&self) -> usize {
        lock(&self.state).open.len()
    }

    /// Returns whether the set is closed.
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).is_closed
    }

    /// Watches the number of changes of the open links.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Signals a change that the owner has made.
    pub(super) fn notify_changed(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Returns a value of the set, now and after each change, until the set is closed. The stream
    /// holds the set.
    pub(super) fn states<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl Fn(&Self) -> T + Send + 'static,
    ) -> BoxStream<'static, T> {
        let state = (self.clone(), self.changes(), read, true);
        let states = stream::unfold(state, |(set, mut changes, read, is_first)| async move {
            if !is_first {
                // Never an error: the set holds the sender.
                let _ = changes.changed().await;
            }
            if set.is_closed() {
                return None;
            }
            Some((read(&set), (set, changes, read, false)))
        });
        states.boxed()
    }

    /// Starts no more links, ends those in their handshake, and ends the queue of arrivals with the
    /// last link.
    pub(super) fn close(&self) {
        lock(&self.state).is_closed = true;
        let starting: Vec<_> = lock(&self.state).starting.values().cloned().collect();
        starting.iter().for_each(|link| link.cut(CLOSED));
        if let Some(keeper) = &self.keeper {
            keeper.abort();
        }
        self.notify_changed();
    }

    /// Sends what is queued, for this time at most, and ends all links of a closed set.
    pub(super) async fn finish(self: Arc<Self>, linger: Duration) {
        let open = self.links();
        open.iter().for_each(|link| link.outbox.end());
        let all = future::join_all(open.iter().map(|link| link.wait_end()));
        let _ = tokio::time::timeout(linger, all).await;
        open.iter().for_each(|link| link.cut(CLOSED));
        // The ports of their connections are free then.
        future::join_all(open.iter().map(|link| link.wait_end())).await;
    }
}

/// Removes a link from its set when the task of the link ends in any way.
struct LinkEnd {
    set: Arc<LinkSet>,
    link: Arc<Link>,
}

impl Drop for LinkEnd {
    fn drop(&mut self) {
        self.set.end(&self.link);
    }
}
