//! The links of an end that sends to one of several peers: which one a message takes, and how it waits for one.

mod ledger;
mod link;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use futures_util::future::{join_all, select_all};
use futures_util::task::AtomicWaker;
use polywire_core::{Deadline, Error, ErrorKind, Limits, Message, Outbound, Result, Sending};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) use self::ledger::Entry;
pub(crate) use self::link::Link;
use crate::config::{Settings, Side};
use crate::engine::{self, Cargo};
use crate::error::{closed, config, lock};
use crate::plan::{Change, Plan};
use crate::transport::{Bound, End, Listening};
use crate::wire::{Frames, Native, Role, Wire};

/// The connections of an end.
pub(crate) struct Links {
    settings: Settings,
    cargo: Cargo,
    /// Replaced as a whole when an endpoint comes or goes, and held only while nothing waits.
    links: RwLock<Arc<[Arc<Link>]>>,
    next: AtomicUsize,
    closed: AtomicBool,
    /// One permit: the right to wait for room. Closed with the end.
    turns: Semaphore,
    /// One permit: the right to change the endpoints.
    changes: Semaphore,
    board: Arc<Board>,
    listening: Listening,
}

/// Where links tell what happens to them.
pub(crate) struct Board {
    /// A link came or went, or the end was closed.
    changed: Notify,
    /// How often the set of links was changed.
    version: AtomicUsize,
    /// Wakes who reads the links, when the set of them was changed.
    reader: AtomicWaker,
    /// Calls that failed; none once the end is closed. Unbounded, because each item ends one call in flight, and core
    /// bounds those.
    failures: Mutex<Option<UnboundedSender<Error>>>,
}

impl Links {
    /// Opens the links of an end, and waits a moment for its peers. Calls that fail are told to `failures`.
    pub(crate) async fn open(
        settings: &Settings,
        cargo: Cargo,
        plan: &Plan,
        bound: &Bound,
        failures: Option<UnboundedSender<Error>>,
    ) -> Result<Arc<Self>> {
        if plan.is_empty() {
            return Err(config("no endpoint is for calling ends"));
        }
        let board = Arc::new(Board {
            changed: Notify::new(),
            version: AtomicUsize::new(0),
            reader: AtomicWaker::new(),
            failures: Mutex::new(failures),
        });
        let links = Arc::new(Self {
            settings: settings.clone(),
            cargo,
            links: RwLock::new(Arc::new([])),
            next: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            turns: Semaphore::new(1),
            changes: Semaphore::new(1),
            board,
            listening: Listening::new(bound),
        });
        for change in plan.changes() {
            links.apply(&change).await?;
        }
        links.settle_in().await;
        Ok(links)
    }

    /// The links that there are now.
    pub(crate) fn all(&self) -> Arc<[Arc<Link>]> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often the set of links was changed; `waker` is woken when it is again.
    pub(crate) fn version(&self, waker: &std::task::Waker) -> usize {
        self.board.reader.register(waker);
        self.board.version.load(Ordering::Acquire)
    }

    /// Hands a message over if that can be done at once and nobody waits to do so, or gives it back.
    pub(crate) fn send_now(&self, entry: &Entry, frames: Frames) -> Result<(), Frames> {
        // Who comes now does not overtake those who wait.
        if self.is_crowded() { Err(frames) } else { self.try_send(entry, frames) }
    }

    /// Hands a message to the next link that has room, or gives it back.
    fn try_send(&self, entry: &Entry, frames: Frames) -> Result<(), Frames> {
        {
            let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
            if let [link] = &**links {
                return link.try_send(entry.clone(), frames);
            }
        }
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        self.try_send_to_one(entry, frames, start, |_| true)
    }

    /// Hands a message to one of the links with a wanted number, those that are not known to refuse it first.
    pub(crate) fn try_send_to_one(
        &self,
        entry: &Entry,
        mut frames: Frames,
        start: usize,
        wanted: impl Fn(usize) -> bool,
    ) -> Result<(), Frames> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        let count = links.len();
        for refusing in [false, true] {
            for link in (0..count).map(|i| &links[start.wrapping_add(i) % count]) {
                if !wanted(link.number()) || !link.is_live() || link.is_refusing() != refusing {
                    continue;
                }
                // Kept, because another link can take what this one refuses.
                let entry = entry.clone().at(link.number(), frames.clone());
                match link.try_send(entry, frames) {
                    Ok(()) => return Ok(()),
                    Err(back) => frames = back,
                }
            }
        }
        Err(frames)
    }

    /// Hands a message over, waiting for a peer, and for room. Those who wait take turns.
    pub(crate) async fn send(
        &self,
        entry: Entry,
        deadline: Option<Deadline>,
        mut frames: Frames,
    ) -> Result<()> {
        let patience = Instant::now() + self.settings.connect_timeout;
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
            let links = self.all();
            let rooms: Vec<_> = links.iter().filter(|link| link.is_live()).map(|link| link.room()).collect();
            if rooms.is_empty() {
                tokio::select! {
                    () = sleep_until(give_up) => return Err(self.nobody()),
                    () = changed => {}
                }
            } else {
                // The caller's deadline bounds the wait.
                tokio::select! {
                    _ = select_all(rooms) => {}
                    () = changed => {}
                }
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
        if !self.all().iter().any(|link| link.is_live()) {
            return Err(self.nobody());
        }
        turn.await.map_err(|_| closed())
    }

    fn nobody(&self) -> Error {
        let links = self.all();
        let names: Vec<_> = links.iter().map(|link| link.name()).collect();
        if !links.is_empty() && links.iter().all(|link| link.is_denied()) {
            let error = Error::new(
                ErrorKind::Denied,
                "the peers do not let us in: wrong credentials, or not allowed",
            );
            return error.with("endpoints", names.join(", ")).unsent();
        }
        let what = match self.cargo {
            Cargo::Requests => "nobody is there to take calls",
            Cargo::Jobs(_) | Cargo::AnyJobs => "nobody is there to take jobs",
        };
        Error::new(ErrorKind::Unroutable, what).with("endpoints", names.join(", ")).unsent()
    }

    /// Waits a moment for the peers that answer at once, so that the first messages are dealt out to all of them.
    async fn settle_in(&self) {
        let settled = async {
            loop {
                let changed = self.board.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.all().iter().all(|link| link.is_live() || link.is_awaited()) {
                    return;
                }
                changed.await;
            }
        };
        // The others come later, or never.
        let _ = timeout(self.settings.connect_timeout.min(SETTLE_MAX), settled).await;
    }

    async fn apply(&self, change: &Change) -> Result<Option<String>> {
        let _turn = self.changes.acquire().await.map_err(|_| closed())?;
        match (change.side, change.adds) {
            (Side::Bind, true) => self.bind(change).await,
            (Side::Bind, false) => self.unbind(change).await,
            (Side::Connect, true) => self.connect(change).await,
            (Side::Connect, false) => Ok(self.disconnect(change).await),
        }
    }

    async fn bind(&self, change: &Change) -> Result<Option<String>> {
        let link = match self.awaited() {
            Some(link) => link,
            None => {
                let dealer = engine::listen(&self.settings, &self.cargo)?;
                let name = change.endpoint.to_string();
                Link::new(name, self.free_number(), true, dealer, self.board.clone())
            }
        };
        let real = engine::apply(link.ports(), change).await?;
        self.listening.note(change, real.as_ref());
        self.add(link).await?;
        Ok(real)
    }

    async fn unbind(&self, change: &Change) -> Result<Option<String>> {
        let Some(link) = self.awaited() else { return Ok(None) };
        let real = engine::apply(link.ports(), change).await?;
        self.listening.note(change, real.as_ref());
        Ok(real)
    }

    async fn connect(&self, Change { endpoint, .. }: &Change) -> Result<Option<String>> {
        let endpoint = endpoint.clone().dialled()?;
        let name = endpoint.to_string();
        if self.dialling(&name).is_some() {
            return Ok(None);
        }
        let dealer = engine::dial(&self.settings, &self.cargo, &endpoint)?;
        self.add(Link::new(name.clone(), self.free_number(), false, dealer, self.board.clone())).await?;
        Ok(Some(name))
    }

    /// Takes a link away. The calls on it fail, and what was handed over to it goes out if there is time.
    async fn disconnect(&self, Change { endpoint, .. }: &Change) -> Option<String> {
        let link = self.dialling(&endpoint.to_string())?;
        self.replace(|links| links.retain(|other| !Arc::ptr_eq(other, &link)));
        link.retire().await;
        Some(link.name().to_owned())
    }

    fn awaited(&self) -> Option<Arc<Link>> {
        self.all().iter().find(|link| link.is_awaited()).cloned()
    }

    fn dialling(&self, name: &str) -> Option<Arc<Link>> {
        self.all().iter().find(|link| !link.is_awaited() && link.name() == name).cloned()
    }

    /// The lowest number that no link has, because only low ones are noted for a request that is tried elsewhere.
    fn free_number(&self) -> usize {
        let links = self.all();
        (0..).find(|number| links.iter().all(|link| link.number() != *number)).unwrap_or(usize::MAX)
    }

    async fn add(&self, link: Arc<Link>) -> Result<()> {
        if !self.all().iter().any(|other| Arc::ptr_eq(other, &link)) {
            link.supervise();
            self.replace(|links| links.push(link.clone()));
        }
        // Looked at after it was added: whoever closed before has not seen it, and whoever closes after does.
        if self.is_closed() {
            self.listening.clear();
            link.close().await;
            return Err(closed());
        }
        Ok(())
    }

    fn replace(&self, change: impl FnOnce(&mut Vec<Arc<Link>>)) {
        {
            let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
            let mut changed = links.to_vec();
            change(&mut changed);
            *links = changed.into();
        }
        self.board.version.fetch_add(1, Ordering::Release);
        self.board.reader.wake();
        self.board.changed.notify_waiters();
    }

    /// Whether somebody waits for room.
    fn is_crowded(&self) -> bool {
        self.turns.available_permits() == 0
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

const SETTLE_MAX: Duration = Duration::from_millis(100);

impl End for Links {
    fn change<'a>(&'a self, change: &'a Change) -> BoxFuture<'a, Result<Option<String>>> {
        self.apply(change).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.closed.store(true, Ordering::Release);
        // Without it, the stream of replies ends.
        drop(lock(&self.board.failures).take());
        self.turns.close();
        self.changes.close();
        self.board.changed.notify_waiters();
        self.listening.clear();
        join_all(self.all().iter().map(|link| link.close())).map(|_| ()).boxed()
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for link in self.all().iter() {
            link.abandon();
        }
    }
}

/// The sending half of an end whose messages each take one of its links.
pub(crate) struct Outgoing {
    links: Arc<Links>,
    role: Role,
    limits: Limits,
}

impl Outgoing {
    pub(crate) fn new(links: Arc<Links>, role: Role) -> Self {
        let limits = links.settings.limits;
        Self { links, role, limits }
    }
}

impl Outbound for Outgoing {
    fn send(&self, message: Message) -> Sending<'_> {
        if self.links.is_closed() {
            return Sending::ready(Err(closed()));
        }
        if let Err(error) = self.limits.check(&message) {
            return Sending::ready(Err(error));
        }
        let (call, deadline) = (message.id, message.deadline);
        let frames = match Native.encode(&self.role, message, &self.limits) {
            Ok(frames) => frames,
            Err(error) => return Sending::ready(Err(error)),
        };
        let entry = Entry::new(call, deadline);
        match self.links.send_now(&entry, frames) {
            Ok(()) => Sending::ready(Ok(())),
            Err(frames) => Sending::later(self.links.send(entry, deadline, frames)),
        }
    }
}
