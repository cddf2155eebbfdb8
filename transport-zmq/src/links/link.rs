//! One connection of a calling end, and the task that keeps it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use polywire_core::{CallId, Error, ErrorKind, Result};
use tokio::task::AbortHandle;

use super::Board;
use super::ledger::{Entry, Ledger};
use crate::engine::{Dealer, Ports};
use crate::error::lock;
use crate::wire::Frames;

/// A socket, whether somebody is at its other end, and the calls on it.
pub(crate) struct Link {
    name: String,
    /// Which one it is among the links of its end.
    number: usize,
    /// Whether peers dial it, whenever they like.
    awaited: bool,
    dealer: Arc<dyn Dealer>,
    live: AtomicBool,
    /// Its peer said that it does not serve the service. It may later, so this only puts it last.
    refusing: AtomicBool,
    ledger: Ledger,
    board: Arc<Board>,
    supervisor: OnceLock<AbortHandle>,
}

impl Link {
    pub(super) fn new(
        name: String,
        number: usize,
        awaited: bool,
        dealer: Arc<dyn Dealer>,
        board: Arc<Board>,
    ) -> Arc<Self> {
        let (live, refusing) = (AtomicBool::new(false), AtomicBool::new(false));
        let (ledger, supervisor) = (Ledger::default(), OnceLock::new());
        Arc::new(Self { name, number, awaited, dealer, live, refusing, ledger, board, supervisor })
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

    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Whether its peer knows us and does not let us in.
    pub(crate) fn is_denied(&self) -> bool {
        self.dealer.is_denied()
    }

    pub(crate) fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Relaxed)
    }

    /// Hands a request over, or gives it back if nobody is there or there is no room.
    pub(crate) fn try_send(&self, entry: Entry, frames: Frames) -> Result<(), Frames> {
        if !self.is_live() {
            return Err(frames);
        }
        let call = entry.call;
        // Before it is sent, for its reply may be here before `try_send` has returned.
        self.ledger.enter(entry);
        self.dealer.try_send(frames).inspect_err(|_| {
            call.and_then(|call| self.ledger.take(call));
        })
    }

    /// Notes that a call was answered.
    pub(crate) fn answered(&self, call: CallId) {
        self.ledger.take(call);
        // Read first, because a write would take the line from other cores for each reply.
        if self.is_refusing() {
            self.refusing.store(false, Ordering::Relaxed);
        }
    }

    /// Notes that a call was refused.
    pub(crate) fn refused(&self, call: CallId) -> Option<Entry> {
        self.refusing.store(true, Ordering::Relaxed);
        self.ledger.take(call)
    }

    pub(crate) fn room(&self) -> BoxFuture<'_, ()> {
        self.dealer.room()
    }

    pub(crate) fn replies(&self) -> BoxStream<'static, Frames> {
        self.dealer.replies()
    }

    /// Fails what is on it, and closes it.
    pub(super) fn retire(&self) -> BoxFuture<'static, ()> {
        self.went();
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

    fn came(&self) {
        tracing::debug!(endpoint = self.name, "connected");
        self.refusing.store(false, Ordering::Relaxed);
        self.live.store(true, Ordering::Release);
        self.board.changed.notify_waiters();
    }

    /// Waits until its peer is gone. Meanwhile it forgets calls that were given up, which may keep large requests.
    async fn watch(&self) {
        let down = self.dealer.down();
        tokio::pin!(down);
        while tokio::time::timeout(PRUNE_PAUSE, &mut down).await.is_err() {
            self.ledger.prune();
        }
    }

    /// Fails the calls that were on the link: no reply can come to them any more.
    fn went(&self) {
        self.live.store(false, Ordering::Release);
        let calls = self.ledger.take_all();
        tracing::debug!(endpoint = self.name, calls = calls.len(), "the connection was lost");
        let error = Error::new(ErrorKind::Disconnected, "the connection was lost before the reply came")
            .with("endpoint", &self.name);
        let failures = lock(&self.board.failures);
        for call in calls {
            if let Some(failures) = &*failures {
                // Nobody takes failures any more only if nobody waits for replies either.
                let _ = failures.send(error.clone().with_call(call));
            }
        }
        drop(failures);
        self.board.changed.notify_waiters();
    }
}

/// Keeps a link up until its socket is closed.
async fn supervise(link: Arc<Link>) {
    while link.dealer.up().await.is_ok() {
        link.came();
        link.watch().await;
        link.went();
        // A peer that takes us in and throws us out at once is not to be hammered.
        tokio::time::sleep(PAUSE).await;
    }
}

const PRUNE_PAUSE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);
