//! The links of an end that sends to one of several peers: which one a message takes, and how it
//! waits for one.

mod ledger;
mod link;
mod lobby;
mod outage;
mod outgoing;
mod returns;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable, join_all, ready, select, select_all};
use futures_util::task::AtomicWaker;
use polywire_core::message::CallId;
use polywire_core::transport::LogThrottle;
use polywire_core::{Deadline, Error, ErrorKind, Limits, Result};
use rustc_hash::FxHashMap;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

pub(crate) use self::ledger::Entry;
pub(crate) use self::link::{Link, LinkKind};
use self::lobby::Lobby;
pub(crate) use self::outgoing::Outgoing;
pub(crate) use self::returns::{Returned, Returns};
use crate::config::Settings;
use crate::endpoint::{
    BindGuard, BoundEndpoints, EndpointChange, EndpointSet, ManagedEndpoint, Side,
};
use crate::engine::{self, Cargo};
use crate::error::{closed, config, lock};
use crate::wire::{self, Frames};

/// The connections of an end.
pub(crate) struct Links {
    settings: Settings,
    cargo: Cargo,
    /// Replaced as a whole when an endpoint comes or goes, and held only while nothing waits.
    links: RwLock<Arc<[Arc<Link>]>>,
    next: AtomicUsize,
    /// Where those come who dial the end and can be told apart: servers, and not pullers.
    lobby: OnceLock<Lobby>,
    me: Weak<Self>,
    closed: AtomicBool,
    /// One permit: the right to wait for room. Closed with the end.
    turns: Semaphore,
    /// One permit: the right to wait for room with a call that came back, which is for some links
    /// only. Closed with the end.
    returned_turns: Semaphore,
    /// One permit: the right to change the endpoints.
    changes: Semaphore,
    board: Arc<Board>,
    listening: BindGuard,
}

/// Where links tell what happens to them.
pub(crate) struct Board {
    /// A link came or went, or the end was closed.
    changed: Notify,
    /// The bytes that may be under way to one peer.
    peer_bytes_max: usize,
    /// How often the set of links was changed.
    version: AtomicUsize,
    /// Wakes who reads the links, when the set of them was changed.
    reader: AtomicWaker,
    /// Calls whose link went; none once the end is closed. Unbounded, because each item takes one
    /// call in flight off its link, and core bounds those.
    losses: Mutex<Option<UnboundedSender<Loss>>>,
    /// The calls that are to be sent again, and what stops those that are being sent. Locked
    /// before a ledger, so that no call that moves from there to here is missed by who
    /// abandons it.
    again: Mutex<FxHashMap<CallId, Option<AbortHandle>>>,
    /// Peers that have dialled, and those of them that have gone.
    came: LogThrottle,
    went: LogThrottle,
}

impl Board {
    /// Takes calls off a link that has lost them.
    fn lose(&self, take: impl FnOnce() -> Vec<Entry>) -> Vec<Entry> {
        let mut again = lock(&self.again);
        let lost = take();
        again.extend(
            lost.iter()
                .filter(|entry| entry.may_repeat())
                .filter_map(|entry| Some((entry.call?, None))),
        );
        lost
    }
}

/// A call whose link went before its reply came.
pub(crate) struct Loss {
    entry: Entry,
    endpoint: Arc<str>,
}

impl Links {
    /// Opens the links of an end whose calls are answered, and waits a moment for its peers.
    pub(crate) async fn open_both_ways(
        settings: &Settings,
        plan: &EndpointSet,
        bound: &BoundEndpoints,
    ) -> Result<(Arc<Self>, Returns)> {
        let (losses, lost) = mpsc::unbounded_channel();
        let links = Self::open_with(settings, Cargo::Requests, plan, bound, Some(losses)).await?;
        let returns = Returns::new(links.clone(), lost);
        Ok((links, returns))
    }

    /// Opens the links of an end that nothing comes back to, and waits a moment for its peers.
    pub(crate) async fn open(
        settings: &Settings,
        cargo: Cargo,
        plan: &EndpointSet,
        bound: &BoundEndpoints,
    ) -> Result<Arc<Self>> {
        Self::open_with(settings, cargo, plan, bound, None).await
    }

    async fn open_with(
        settings: &Settings,
        cargo: Cargo,
        plan: &EndpointSet,
        bound: &BoundEndpoints,
        losses: Option<UnboundedSender<Loss>>,
    ) -> Result<Arc<Self>> {
        if plan.is_empty() {
            return Err(config("no endpoint is for calling ends"));
        }
        let board = Arc::new(Board {
            changed: Notify::new(),
            peer_bytes_max: settings.peer_bytes_max,
            version: AtomicUsize::new(0),
            reader: AtomicWaker::new(),
            losses: Mutex::new(losses),
            again: Mutex::default(),
            came: LogThrottle::new(),
            went: LogThrottle::new(),
        });
        let links = Arc::new_cyclic(|me| Self {
            me: me.clone(),
            settings: settings.clone(),
            cargo,
            links: RwLock::new(Arc::new([])),
            next: AtomicUsize::new(0),
            lobby: OnceLock::new(),
            closed: AtomicBool::new(false),
            turns: Semaphore::new(1),
            returned_turns: Semaphore::new(1),
            changes: Semaphore::new(1),
            board,
            listening: BindGuard::new(bound),
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

    /// The link of the guest who came by this connection.
    fn guest(&self, connection: u64) -> Option<Arc<Link>> {
        self.all().iter().find(|link| link.kind() == LinkKind::Guest(connection)).cloned()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// Hands a message over if that can be done at once and nobody waits to do so, or gives it
    /// back.
    pub(crate) fn send_now(&self, entry: &Entry, frames: Frames) -> Result<(), Frames> {
        // Who comes now does not overtake those who wait.
        if self.is_crowded() { Err(frames) } else { self.try_send(entry, frames) }
    }

    /// Hands a message to a link that has room, or gives it back.
    fn try_send(&self, entry: &Entry, frames: Frames) -> Result<(), Frames> {
        {
            let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
            if let [link] = &**links
                && link.may_have(entry)
            {
                return link.try_send(entry.clone().at(link.number(), &frames, false), frames);
            }
        }
        self.try_send_to_one(entry, frames)
    }

    /// Hands a message to one of the links that have not seen it: to the one with the fewest calls,
    /// of those with as many in turn; last to those that are known to refuse it.
    fn try_send_to_one(&self, entry: &Entry, mut frames: Frames) -> Result<(), Frames> {
        let links = self.all();
        let start = self.next.fetch_add(1, Ordering::Relaxed);
        let (before, from) = links.split_at(start.checked_rem(links.len()).unwrap_or(0));
        let in_turn = from.iter().chain(before);
        let mut choice: Vec<_> = in_turn.filter(|link| link.may_have(entry)).collect();
        // Of those that rank alike, it keeps the order.
        choice.sort_by_cached_key(|link| (link.is_refusing(), link.load()));
        for link in choice {
            // Kept, because another link can take what this one refuses.
            let entry = entry.clone().at(link.number(), &frames, true);
            match link.try_send(entry, frames) {
                Ok(()) => return Ok(()),
                Err(back) => frames = back,
            }
        }
        Err(frames)
    }

    /// Hands a message over, waiting for a peer for the connect time, and for room. Those who wait
    /// take turns.
    pub(crate) async fn send(&self, entry: Entry, frames: Frames) -> Result<()> {
        let patience = Instant::now() + self.settings.connect_timeout;
        let give_up = entry.deadline.map_or(patience, |deadline| patience.min(deadline.instant()));
        self.send_until(give_up, entry, frames).await
    }

    /// Whether somebody is there who has not seen a message.
    fn has_other(&self, entry: &Entry) -> bool {
        self.all().iter().any(|link| link.may_have(entry))
    }

    /// Hands a message over, waiting for a peer until then, and for room.
    async fn send_until(&self, give_up: Instant, entry: Entry, mut frames: Frames) -> Result<()> {
        let _turn = match entry.is_returned {
            // One that is for some links only is not to keep those waiting that are for all.
            true => self.returned_turns.acquire().await.map_err(|_| closed())?,
            false => self.turn(give_up).await?,
        };
        loop {
            let changed = self.board.changed.notified();
            tokio::pin!(changed);
            // Listening before looking: what changes in between is not missed.
            changed.as_mut().enable();
            if self.is_closed() {
                return Err(closed());
            }
            if let Some(deadline) = entry.deadline {
                wire::restamp(&mut frames, deadline);
            }
            frames = match self.try_send(&entry, frames) {
                Ok(()) => return Ok(()),
                Err(back) => back,
            };
            let links = self.all();
            let rooms: Vec<_> = links
                .iter()
                .filter(|link| link.may_have(&entry))
                .map(|link| link.room().boxed())
                .collect();
            if rooms.is_empty() {
                if entry.is_returned {
                    return Err(self.nobody());
                }
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

    /// Sends a call once more that is noted to be sent again, as soon as there is somebody, for as
    /// long as its caller waits. Resolves to whether that was of no use; it was of some if
    /// nobody waits any more.
    fn send_again(
        self: &Arc<Self>,
        call: CallId,
        entry: Entry,
        frames: Frames,
    ) -> BoxFuture<'static, bool> {
        let (stop, stopped) = AbortHandle::new_pair();
        match lock(&self.board.again).get_mut(&call) {
            Some(place) => *place = Some(stop),
            None => return ready(false).boxed(),
        }
        let links = self.clone();
        let send = async move {
            let patience = Instant::now() + links.settings.connect_timeout;
            let give_up = entry.deadline.map_or(patience, Deadline::instant);
            let sent = timeout_at(give_up, links.send_until(give_up, entry, frames)).await;
            lock(&links.board.again).remove(&call);
            !matches!(sent, Ok(Ok(())))
        };
        Abortable::new(send, stopped).map(|failed| failed.unwrap_or(false)).boxed()
    }

    /// Forgets a call that nobody waits for any more, and tells who works on it.
    pub(crate) fn abandon(&self, call: CallId, cancel: impl Fn() -> Option<Frames>) {
        let mut again = lock(&self.board.again);
        if let Some(stop) = again.remove(&call) {
            return stop.iter().for_each(AbortHandle::abort);
        }
        self.all().iter().any(|link| link.withdraw(call, &cancel));
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
        let lobby = self.lobby.get().map(Lobby::name);
        let names: Vec<_> = links.iter().map(|link| link.name()).chain(lobby).collect();
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

    /// Waits a moment until it is known which peers are there, so that the first messages are dealt
    /// out to all of them.
    async fn settle_in(&self) {
        let settled = self.all().iter().map(|link| self.settled(link.clone())).collect::<Vec<_>>();
        // The others come later, or never.
        let _ = timeout(self.settings.connect_timeout.min(SETTLE_MAX), join_all(settled)).await;
    }

    /// Waits until a peer is there, or is known not to be.
    async fn settled(&self, link: Arc<Link>) {
        if link.kind() != LinkKind::Dialling {
            return;
        }
        let there = async {
            loop {
                let changed = self.board.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if link.is_live() {
                    return;
                }
                changed.await;
            }
        };
        let tried = link.tried();
        tokio::pin!(there);
        select(there, tried).await;
    }

    async fn apply(&self, change: &EndpointChange) -> Result<Option<String>> {
        let _turn = self.changes.acquire().await.map_err(|_| closed())?;
        match (change.side, change.adds) {
            (Side::Bind, true) => self.bind(change).await,
            (Side::Bind, false) => self.unbind(change).await,
            (Side::Connect, true) => self.connect(change).await,
            (Side::Connect, false) => Ok(self.disconnect(change).await),
        }
    }

    async fn bind(&self, change: &EndpointChange) -> Result<Option<String>> {
        if let Cargo::Requests = self.cargo {
            return self.bind_lobby(change).await;
        }
        let link = match self.awaited() {
            Some(link) => link,
            None => {
                let dealer = engine::listen(&self.settings, &self.cargo)?;
                self.new_link(change.endpoint.to_string(), LinkKind::Awaited, dealer)
            }
        };
        let real = engine::apply(link.ports(), change).await?;
        self.listening.note(change, real.as_ref());
        self.add(link).await?;
        Ok(real)
    }

    async fn unbind(&self, change: &EndpointChange) -> Result<Option<String>> {
        let awaited = self.awaited();
        let ports =
            self.lobby.get().map(Lobby::ports).or(awaited.as_ref().map(|link| link.ports()));
        let Some(ports) = ports else { return Ok(None) };
        let real = engine::apply(ports, change).await?;
        self.listening.note(change, real.as_ref());
        Ok(real)
    }

    async fn connect(
        &self,
        EndpointChange { endpoint, .. }: &EndpointChange,
    ) -> Result<Option<String>> {
        let endpoint = endpoint.clone().dialled()?;
        let name = endpoint.to_string();
        if self.dialling(&name).is_some() {
            return Ok(None);
        }
        let dealer = engine::dial(&self.settings, &self.cargo, &endpoint)?;
        self.add(self.new_link(name.clone(), LinkKind::Dialling, dealer)).await?;
        Ok(Some(name))
    }

    /// Takes a link away. The calls on it fail, and what was handed over to it goes out if there is
    /// time.
    async fn disconnect(&self, EndpointChange { endpoint, .. }: &EndpointChange) -> Option<String> {
        let link = self.dialling(&endpoint.to_string())?;
        self.replace(|links| links.retain(|other| !Arc::ptr_eq(other, &link)));
        link.retire().await;
        Some(link.name().to_owned())
    }

    fn awaited(&self) -> Option<Arc<Link>> {
        self.all().iter().find(|link| link.kind() == LinkKind::Awaited).cloned()
    }

    fn dialling(&self, name: &str) -> Option<Arc<Link>> {
        self.all()
            .iter()
            .find(|link| link.kind() == LinkKind::Dialling && link.name() == name)
            .cloned()
    }

    fn new_link(&self, name: String, kind: LinkKind, dealer: Arc<dyn engine::Dealer>) -> Arc<Link> {
        Link::new(name, free_number(&self.all()), kind, dealer, self.board.clone())
    }

    async fn add(&self, link: Arc<Link>) -> Result<()> {
        if !self.all().iter().any(|other| Arc::ptr_eq(other, &link)) {
            link.supervise();
            self.replace(|links| links.push(link.clone()));
        }
        // Looked at after it was added: whoever closed before has not seen it, and whoever closes
        // after does.
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

/// The lowest number that no link has, because only low ones are noted for a request that is tried
/// elsewhere.
fn free_number(links: &[Arc<Link>]) -> usize {
    (0..).find(|number| links.iter().all(|link| link.number() != *number)).unwrap_or(usize::MAX)
}

const SETTLE_MAX: Duration = Duration::from_secs(1);

impl ManagedEndpoint for Links {
    fn change<'a>(&'a self, change: &'a EndpointChange) -> BoxFuture<'a, Result<Option<String>>> {
        self.apply(change).boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.closed.store(true, Ordering::Release);
        // Without it, the stream of replies ends.
        drop(lock(&self.board.losses).take());
        self.turns.close();
        self.returned_turns.close();
        self.changes.close();
        self.board.changed.notify_waiters();
        self.listening.clear();
        let lobby = self.lobby.get().map(Lobby::close);
        join_all(self.all().iter().map(|link| link.close()).chain(lobby)).map(|_| ()).boxed()
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        for link in self.all().iter() {
            link.abandon();
        }
        if let Some(lobby) = self.lobby.get() {
            lobby.abandon();
        }
    }
}
