//! The links of a calling end: which one a request takes, and how it waits for one.

use std::ops::Index;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use futures_util::future::join_all;
use polywire_core::{Deadline, Error, ErrorKind, Result};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::ledger::Entry;
use super::link::{Link, supervise};
use crate::error::{closed, lock};
use crate::transport::End;
use crate::wire::{Frames, Native, Wire};

/// The connections of an end.
pub(super) struct Links {
    links: Box<[Arc<Link>]>,
    next: AtomicUsize,
    closed: AtomicBool,
    connect_timeout: Duration,
    /// One permit: the right to wait for room. Closed with the end.
    turns: Semaphore,
    board: Arc<Board>,
    supervisors: Vec<AbortHandle>,
}

/// Where links tell what happens to them.
pub(super) struct Board {
    /// A link came or went, or the end was closed.
    pub(super) changed: Notify,
    /// Calls that failed; none once the end is closed. Unbounded, because each item ends one call in flight, and core
    /// bounds those.
    pub(super) failures: Mutex<Option<UnboundedSender<Error>>>,
}

impl Board {
    pub(super) fn new(failures: UnboundedSender<Error>) -> Self {
        Self { changed: Notify::new(), failures: Mutex::new(Some(failures)) }
    }
}

impl Links {
    /// Takes care of these links from now on.
    pub(super) fn new(links: Vec<Arc<Link>>, board: Arc<Board>, connect_timeout: Duration) -> Self {
        let supervisors =
            links.iter().map(|link| tokio::spawn(supervise(link.clone())).abort_handle()).collect();
        Self {
            links: links.into_boxed_slice(),
            next: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            connect_timeout,
            turns: Semaphore::new(1),
            board,
            supervisors,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.iter()
    }

    /// Hands a request to the next link that has room, or gives it back.
    pub(super) fn try_send(&self, entry: &Entry, frames: Frames) -> Result<(), Frames> {
        if let [link] = &*self.links {
            return link.try_send(entry.clone(), frames);
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        self.try_send_to_one(entry, frames, start, |_| true)
    }

    /// Hands a request to one of the wanted links, those that are not known to refuse it first.
    pub(super) fn try_send_to_one(
        &self,
        entry: &Entry,
        mut frames: Frames,
        start: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<(), Frames> {
        let count = self.links.len();
        for refusing in [false, true] {
            for at in (0..count).map(|i| start.wrapping_add(i) % count).filter(|at| wanted(*at)) {
                let link = &self.links[at];
                if !link.is_live() || link.is_refusing() != refusing {
                    continue;
                }
                // Kept, because another link can take what this one refuses.
                let entry = entry.clone().at(at, frames.clone());
                match link.try_send(entry, frames) {
                    Ok(()) => return Ok(()),
                    Err(back) => frames = back,
                }
            }
        }
        Err(frames)
    }

    /// Hands a request over, waiting for a peer, and for room. Those who wait take turns.
    pub(super) async fn send(
        &self,
        entry: Entry,
        deadline: Option<Deadline>,
        mut frames: Frames,
    ) -> Result<()> {
        let patience = Instant::now() + self.connect_timeout;
        let give_up = deadline.map_or(patience, |deadline| patience.min(deadline.instant()));
        let _turn = self.turn(give_up).await?;
        loop {
            let changed = self.board.changed.notified();
            tokio::pin!(changed);
            // Listening before looking: what changes in between is not missed.
            changed.as_mut().enable();
            if self.is_closed() {
                return Err(closed());
            }
            if let Some(deadline) = deadline {
                Native.restamp(&mut frames, deadline);
            }
            frames = match self.try_send(&entry, frames) {
                Ok(()) => return Ok(()),
                Err(back) => back,
            };
            match self.links.iter().find(|link| link.is_live()) {
                // The caller's deadline bounds the wait.
                Some(link) => tokio::select! {
                    () = link.room() => {}
                    () = changed => {}
                },
                None => tokio::select! {
                    () = sleep_until(give_up) => return Err(self.nobody()),
                    () = changed => {}
                },
            }
        }
    }

    /// Waits for the turn to wait for room: all at once would wake each other in vain.
    async fn turn(&self, give_up: Instant) -> Result<SemaphorePermit<'_>> {
        let turn = self.turns.acquire();
        tokio::pin!(turn);
        tokio::select! {
            turn = &mut turn => return turn.map_err(|_| closed()),
            () = sleep_until(give_up) => {}
        }
        if !self.links.iter().any(|link| link.is_live()) {
            return Err(self.nobody());
        }
        turn.await.map_err(|_| closed())
    }

    fn nobody(&self) -> Error {
        let names: Vec<_> = self.links.iter().map(|link| link.name()).collect();
        let error = Error::new(ErrorKind::Unroutable, "nobody is there to take calls");
        error.with("endpoints", names.join(", ")).unsent()
    }

    /// Waits a moment for the peers that answer at once, so that the first requests are dealt out to all of them.
    pub(super) async fn settle_in(&self) {
        let settled = async {
            loop {
                let changed = self.board.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.links.iter().all(|link| link.is_live() || link.is_awaited()) {
                    return;
                }
                changed.await;
            }
        };
        // The others come later, or never.
        let _ = timeout(self.connect_timeout.min(SETTLE_MAX), settled).await;
    }

    /// Whether somebody waits for room.
    pub(super) fn is_crowded(&self) -> bool {
        self.turns.available_permits() == 0
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

const SETTLE_MAX: Duration = Duration::from_millis(100);

impl Index<usize> for Links {
    type Output = Link;

    fn index(&self, at: usize) -> &Link {
        &self.links[at]
    }
}

impl End for Links {
    fn close(&self) -> BoxFuture<'static, ()> {
        self.closed.store(true, Ordering::Release);
        // Without it, the stream of replies ends.
        drop(lock(&self.board.failures).take());
        self.turns.close();
        self.board.changed.notify_waiters();
        for supervisor in &self.supervisors {
            supervisor.abort();
        }
        join_all(self.links.iter().map(|link| link.close())).map(|_| ()).boxed()
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for supervisor in &self.supervisors {
            supervisor.abort();
        }
    }
}
