//! One connection of a calling end, and the task that keeps it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use polywire_core::Result;
use polywire_core::message::CallId;
use tokio::task::AbortHandle;

use super::ledger::{Entry, Ledger};
use super::outage::Outage;
use super::{Board, Loss};
use crate::engine::{Dealer, Freight, Ports};
use crate::error::lock;
use crate::wire::Frames;

/// A socket, whether somebody is at its other end, and the calls on it.
pub(crate) struct Link {
    name: Arc<str>,
    /// Which one it is among the links of its end.
    number: usize,
    kind: LinkKind,
    dealer: Arc<dyn Dealer>,
    live: AtomicBool,
    /// Its peer said that it does not serve the service. It may later, so this only puts it last.
    refusing: AtomicBool,
    ledger: Ledger,
    /// What lies in the socket for its peer.
    freight: Arc<Freight>,
    board: Arc<Board>,
    supervisor: OnceLock<AbortHandle>,
}

/// Who dials whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum LinkKind {
    /// It dials its peer.
    Dialling,
    /// Peers dial it, whenever they like, and are not told apart.
    Awaited,
    /// Its peer came by this connection of the lobby, and goes with it.
    Guest(u64),
}

impl Link {
    pub(super) fn new(
        name: String,
        number: usize,
        kind: LinkKind,
        dealer: Arc<dyn Dealer>,
        board: Arc<Board>,
    ) -> Arc<Self> {
        let (live, refusing) = (AtomicBool::new(false), AtomicBool::new(false));
        let (ledger, supervisor) = (Ledger::new(board.peer_bytes_max), OnceLock::new());
        let freight = Freight::new(match kind {
            LinkKind::Dialling | LinkKind::Guest(_) => board.peer_bytes_max,
            // Of several peers, one that is slow would take it up alone. Their queues are shorter
            // instead.
            LinkKind::Awaited => usize::MAX,
        });
        let name = name.into();
        Arc::new(Self {
            name,
            number,
            kind,
            dealer,
            live,
            refusing,
            ledger,
            freight,
            board,
            supervisor,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(super) fn ports(&self) -> &dyn Ports {
        &*self.dealer
    }

    /// Keeps it up from now on, in a task of its own.
    pub(super) fn supervise(self: &Arc<Self>) {
        self.supervisor.get_or_init(|| tokio::spawn(supervise(self.clone())).abort_handle());
    }

    pub(crate) fn kind(&self) -> LinkKind {
        self.kind
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Whether somebody is there for this message, who has not given it back.
    pub(super) fn may_have(&self, entry: &Entry) -> bool {
        self.is_live() && !(entry.is_returned && entry.was_tried(self.number))
    }

    /// Whether its peer knows us and does not let us in.
    pub(crate) fn is_denied(&self) -> bool {
        self.dealer.is_denied()
    }

    pub(crate) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Relaxed)
    }

    /// How many calls it carries.
    pub(super) fn load(&self) -> usize {
        self.ledger.load()
    }

    /// Waits until it is known whether its peer can be reached now.
    pub(super) fn tried(&self) -> BoxFuture<'_, ()> {
        self.dealer.tried()
    }

    /// Hands a request over, or gives it back if nobody is there or there is no room.
    pub(crate) fn try_send(&self, entry: Entry, frames: Frames) -> Result<(), Frames> {
        let call = entry.call;
        if !self.is_live() || self.freight.is_full() || (call.is_some() && self.ledger.is_heavy()) {
            return Err(frames);
        }
        // Before it is sent, for its reply may be here before `try_send` has returned.
        self.ledger.enter(entry);
        if !self.is_live() {
            // It went in between. If the entry was there by then, it is among the lost, which is
            // told already.
            let is_told = call.is_some_and(|call| self.ledger.take(call).is_none());
            return if is_told { Ok(()) } else { Err(frames) };
        }
        self.freight.hand_over(frames, |frames| self.dealer.try_send(frames)).inspect_err(|_| {
            call.and_then(|call| self.ledger.take(call));
        })
    }

    /// Forgets a call that nobody waits for any more, and tells the peer by these frames if they
    /// can be sent at once. `false` if it does not carry it.
    pub(super) fn withdraw(&self, call: CallId, cancel: impl FnOnce() -> Option<Frames>) -> bool {
        if self.ledger.take(call).is_none() {
            return false;
        }
        if let Some(frames) = cancel() {
            // Without room, the server goes on until the deadline of the call.
            let _ = self.dealer.try_send(frames);
        }
        true
    }

    /// Takes out a call whose server is gone, behind a forwarder.
    pub(super) fn lost(&self, call: CallId) -> Option<Entry> {
        self.board.lose(|| self.ledger.take(call).into_iter().collect()).pop()
    }

    /// Notes that a call was answered. `is_declined` says whether that leaves it to others, and is
    /// asked only if it could be sent to one; then the call is returned.
    pub(crate) fn answered(
        &self,
        call: CallId,
        is_declined: impl FnOnce() -> bool,
    ) -> Option<Entry> {
        // Read first, because a write would take the line from other cores for each reply.
        if self.is_refusing() {
            self.refusing.store(false, Ordering::Relaxed);
        }
        self.ledger.take(call).filter(|entry| entry.is_kept() && is_declined())
    }

    /// Notes that a call was refused.
    pub(crate) fn refused(&self, call: CallId) -> Option<Entry> {
        self.refusing.store(true, Ordering::Relaxed);
        self.ledger.take(call)
    }

    /// Waits until there may be room for a message. May be dropped.
    pub(crate) async fn room(&self) {
        self.ledger.lighter().await;
        self.freight.room().await;
        self.dealer.room().await;
    }

    pub(crate) fn replies(&self) -> BoxStream<'static, Frames> {
        self.dealer.replies()
    }

    /// Fails what is on it, and closes it.
    pub(super) fn retire(&self) -> BoxFuture<'static, ()> {
        let calls = self.fail_all();
        tracing::info!(endpoint = &*self.name, calls, "disconnected");
        self.close()
    }

    /// Lets go of the socket, which its supervisor holds.
    pub(super) fn abandon(&self) {
        if let Some(supervisor) = self.supervisor.get() {
            supervisor.abort();
        }
    }

    pub(super) fn close(&self) -> BoxFuture<'static, ()> {
        self.abandon();
        self.live.store(false, Ordering::Release);
        self.dealer.close()
    }

    /// Tells that a peer has dialled, once in a while: strangers come as often as they like.
    pub(super) fn welcome(&self) {
        if let Some(count) = self.board.came.note() {
            tracing::info!(endpoint = &*self.name, count, "connected");
        }
    }

    pub(super) fn came(&self) {
        self.refusing.store(false, Ordering::Relaxed);
        self.live.store(true, Ordering::Release);
        self.board.changed.notify_waiters();
    }

    /// Waits until its peer is gone. Meanwhile it forgets calls that were given up, which may keep
    /// large requests.
    async fn watch(&self) {
        let down = self.dealer.down();
        tokio::pin!(down);
        while tokio::time::timeout(PRUNE_PAUSE, &mut down).await.is_err() {
            self.prune();
        }
    }

    /// Forgets calls that have expired.
    pub(super) fn prune(&self) {
        self.ledger.prune();
    }

    /// Notes that its peer is gone, and fails the calls that were on it.
    pub(super) fn went(&self) {
        let calls = self.fail_all();
        let reason = self.dealer.reason().unwrap_or_default();
        let endpoint = &*self.name;
        if self.kind == LinkKind::Dialling {
            tracing::warn!(endpoint, calls, reason, "the connection is lost");
        } else if let Some(count) = self.board.went.note() {
            tracing::warn!(endpoint, calls, reason, count, "the connection is lost");
        }
    }

    /// Gives up the calls that were on the link: no reply can come to them any more. Returns how
    /// many there were.
    fn fail_all(&self) -> usize {
        self.live.store(false, Ordering::Release);
        let lost = self.board.lose(|| self.ledger.take_all());
        let calls = lost.len();
        let losses = lock(&self.board.losses);
        for entry in lost {
            if let Some(losses) = &*losses {
                // Nobody takes losses any more only if nobody waits for replies either.
                let _ = losses.send(Loss { entry, endpoint: self.name.clone() });
            }
        }
        drop(losses);
        self.board.changed.notify_waiters();
        calls
    }
}

/// Keeps a link up until its socket is closed.
async fn supervise(link: Arc<Link>) {
    let is_dialling = link.kind == LinkKind::Dialling;
    let mut outage = Outage::begin(is_dialling, false);
    while outage.last_until(&link.name, link.dealer.up()).await.is_ok() {
        if is_dialling {
            outage.end(&link.name);
        } else {
            link.welcome();
        }
        link.came();
        link.watch().await;
        link.went();
        outage = Outage::begin(is_dialling, true);
        // A peer that takes us in and throws us out at once is not to be hammered.
        tokio::time::sleep(PAUSE).await;
    }
}

pub(super) const PRUNE_PAUSE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
