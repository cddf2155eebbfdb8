//! A forwarder, and its tasks.

use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use polywire_core::message::CallId;
use polywire_core::transport::Sending;
use polywire_core::{Deadline, Error, Limits, Message, Result, Window};
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout, timeout_at};

use super::desk::{Caller, Desk, count_down};
use super::place::{Place, Spot};
use crate::balancer::{Balancer, InFlightCall, ReplyEvent, ReplyStream};
use crate::engine::{self, Pull, RequestOrigin, Router, Sub, Traffic, XPub};
use crate::error::lock;
use crate::plan::Plan;
use crate::publisher::attend;
use crate::responder::{SlowPeers, is_over_budget};
use crate::transport::{Bound, End};
use crate::wire::{Frames, Hello, Kind, Native, Peek, Role, Wire};

/// What a forwarder forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pattern {
    /// Requests from callers at the front to servers at the back, each to the one with the fewest
    /// calls, and replies the other way. A call keeps its deadline, less the time that it waits
    /// here, and its errors; if no server is there for a second, it fails as unroutable. One
    /// that its caller drops is stopped at its server. Of a server that dies the calls
    /// fail as disconnected, but for those that are idempotent: another one gets them, if it comes
    /// in time.
    RequestReply,
    /// Jobs from pushers at the front to pullers at the back, in turn. All of them must be of one
    /// queue. Without a puller it takes in no more than 1,000 jobs a pusher. For each puller
    /// that dials it, 16 of them wait at the back, since it cannot tell whose the bytes are;
    /// for one that it dials, 1,000.
    Pipeline,
    /// Events from publishers at the front to subscribers at the back. It takes in everything that
    /// is published, on whatever channel, and hands out what is wanted. What is published once
    /// a subscriber is open is not missed.
    PubSub,
}

/// Forwards between two endpoints until it is stopped.
///
/// What waits in it is bounded by the high-water marks of its sockets, 1,000 messages a peer, and
/// 16 jobs for a puller that dials it; beyond, senders wait. Of large replies, 64 MiB lie in the
/// socket for each caller; up to 256 more that have arrived for it, and 1,024 for all, wait as long
/// as a server would, whatever their size, and what is beyond is dropped. Dropped, it ends at once.
pub struct Forwarder {
    front: String,
    back: String,
    counts: Arc<Counts>,
    tasks: Vec<JoinHandle<()>>,
    /// Ends the intake; resolves when what was taken in is through, if there is time. Then the
    /// sockets may be closed.
    finish: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Forwarder {
    /// Opens both endpoints, and forwards from now on. A text is an endpoint to bind; see [`Place`]
    /// for one to connect to.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) for a malformed endpoint, or one
    /// that cannot be bound.
    pub async fn start(
        pattern: Pattern,
        front: impl Into<Place>,
        back: impl Into<Place>,
    ) -> Result<Self> {
        let (front, back) = (front.into().spot()?, back.into().spot()?);
        match pattern {
            Pattern::RequestReply => request_reply(&front, &back).await,
            Pattern::Pipeline => pipeline(&front, &back).await,
            Pattern::PubSub => pubsub(&front, &back).await,
        }
    }

    /// The endpoint of callers, pushers and publishers, with its real port.
    #[must_use]
    pub fn front(&self) -> &str {
        &self.front
    }

    /// The endpoint of servers, pullers and subscribers, with its real port.
    #[must_use]
    pub fn back(&self) -> &str {
        &self.back
    }

    /// What was forwarded so far.
    #[must_use]
    pub fn stats(&self) -> ForwarderStats {
        let [forth, back, dropped] = [&self.counts.forth, &self.counts.back, &self.counts.dropped]
            .map(|count| count.load(Ordering::Relaxed));
        ForwarderStats { forth, back, dropped }
    }

    /// Takes in no more, waits for up to a second until what is under way is through, and closes
    /// both endpoints.
    ///
    /// Dropped before it resolves, it ends at once.
    pub async fn stop(self) {
        let finish = lock(&self.finish).take();
        if let Some(finish) = finish {
            finish.await;
        }
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (front, back) = (&self.front, &self.back);
        f.debug_struct("Forwarder")
            .field("front", front)
            .field("back", back)
            .finish_non_exhaustive()
    }
}

/// What a forwarder has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ForwarderStats {
    /// Messages that went from the front to the back: requests, jobs, events.
    pub forth: u64,
    /// Messages that went from the back to the front: replies.
    pub back: u64,
    /// Messages that went nowhere, with nobody told: what is no request at the front or no reply
    /// at the back, what has more frames than the limits allow, and what could not be handed
    /// over before its caller had given up, was gone, or while it did not read.
    pub dropped: u64,
}

#[derive(Default)]
struct Counts {
    forth: AtomicU64,
    back: AtomicU64,
    dropped: AtomicU64,
}

impl Counts {
    fn lose(&self, why: &'static str) {
        tracing::debug!(why, "dropped a message");
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

/// How long what is under way has to get through, when it is stopped.
const GRACE: Duration = Duration::from_secs(1);

async fn request_reply(front: &Spot, back: &Spot) -> Result<Forwarder> {
    let bound = Bound::default();
    let (links, returns) = ReplyStream::open(&back.settings, &back.plan, &bound).await?;
    let (router, real) = engine::bind_router(&front.settings, &front.plan).await?;
    let counts = Arc::<Counts>::default();
    let (desk, mute, stopping) = (Mutex::default(), SlowPeers::default(), Notify::new());
    let booth = Arc::new(Booth { router, links, desk, mute, counts: counts.clone(), stopping });
    let forth = tokio::spawn(booth.clone().forth(booth.router.requests()));
    let back_task = tokio::spawn(booth.clone().back(returns));
    let finish = async move {
        booth.stopping.notify_one();
        until(|| lock(&booth.desk).is_done()).await;
        booth.router.close().await;
        booth.links.close().await;
    };
    Ok(Forwarder {
        front: name(&front.plan, real),
        back: name(&back.plan, bound.names()),
        counts,
        tasks: vec![forth, back_task],
        finish: Mutex::new(Some(finish.boxed())),
    })
}

/// A request that waits for a server.
struct Waiting {
    /// The number of its call, if it has one.
    number: Option<CallId>,
    entry: InFlightCall,
    patience: Deadline,
    frames: Frames,
}

/// Where calls go through.
struct Booth {
    router: Arc<dyn Router>,
    links: Arc<Balancer>,
    desk: Mutex<Desk>,
    /// Callers that do not read what is large.
    mute: SlowPeers,
    counts: Arc<Counts>,
    /// Tells that no more requests are to be taken in.
    stopping: Notify,
}

impl Booth {
    async fn forth(self: Arc<Self>, mut requests: BoxStream<'static, (RequestOrigin, Frames)>) {
        let mut waiting = FuturesUnordered::new();
        // What stops those of them that have a number.
        let mut stops = FxHashMap::<CallId, AbortHandle>::default();
        loop {
            let request = tokio::select! {
                biased;
                () = self.stopping.notified() => break,
                Some(number) = waiting.next() => {
                    let number: Option<CallId> = number;
                    number.and_then(|number| stops.remove(&number));
                    continue;
                }
                request = requests.next(), if waiting.len() < WAITING_MAX => request,
            };
            let Some((peer, frames)) = request else { break };
            match Native.peek(&frames) {
                Some(peek @ Peek { kind: Kind::Request, .. }) => {
                    if let Some(request) = self.forward(&peer.address, peek, frames) {
                        let (stop, stopped) = AbortHandle::new_pair();
                        let number = request.number;
                        number.and_then(|number| stops.insert(number, stop));
                        let sending = Abortable::new(self.forward_later(request), stopped);
                        waiting.push(sending.map(move |_| number));
                    }
                }
                Some(Peek { kind: Kind::Cancel, id: Some(id), .. }) => {
                    let number = self.cancel(&peer.address, id, frames);
                    if let Some(stop) = number.and_then(|number| stops.remove(&number)) {
                        stop.abort();
                    }
                }
                // What has no envelope is no request of anybody's.
                _ => self.counts.lose("it is no request"),
            }
        }
        while waiting.next().await.is_some() {}
    }

    /// Tells the server of a call that nobody waits for it any more. Returns the number of the
    /// call.
    fn cancel(&self, peer: &Bytes, id: CallId, mut frames: Frames) -> Option<CallId> {
        let number = lock(&self.desk).abandon(peer, id)?;
        Native.renumber(&mut frames, number);
        self.links.abandon(number, || Some(frames.clone()));
        Some(number)
    }

    /// Passes a request on, or refuses it. If it has to wait for a server, it is given back.
    fn forward(&self, peer: &Bytes, peek: Peek, mut frames: Frames) -> Option<Waiting> {
        let Peek { id, deadline, idempotent, .. } = peek;
        if has_too_many_frames(&frames) {
            self.counts.lose("it has too many frames");
            return None;
        }
        let patience = deadline.unwrap_or_else(|| Deadline::after(UNBOUNDED));
        let mut number = None;
        if let Some(id) = id {
            number = lock(&self.desk).enter(peer.clone(), id, patience);
            let Some(number) = number else {
                self.refuse(peer, id);
                return None;
            };
            Native.renumber(&mut frames, number);
        }
        let entry = InFlightCall::new(number, Some(patience), idempotent);
        match self.links.send_now(&entry, frames) {
            Ok(()) => {
                self.counts.forth.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(frames) => Some(Waiting { number, entry, patience, frames }),
        }
    }

    /// Passes a request on when there is a server with room for it. What is left of its deadline
    /// then is written anew.
    async fn forward_later(&self, Waiting { number, entry, patience, frames }: Waiting) {
        let sent = self.links.send(entry, frames);
        let sent = timeout_at(patience.instant(), sent).await;
        if matches!(sent, Ok(Ok(()))) {
            self.counts.forth.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let caller = number.and_then(|number| lock(&self.desk).take(number));
        match (sent, caller) {
            (Ok(Err(error)), Some(caller)) => {
                tracing::debug!(%error, "a request could not be passed on");
                self.refuse(&caller.peer, caller.id);
            }
            _ => self.counts.lose("its caller has given up, or waits for no answer"),
        }
    }

    fn refuse(&self, peer: &Bytes, id: CallId) {
        self.tell(peer, id, &Role::Refusal);
    }

    /// Says nothing of a call but what became of it.
    fn tell(&self, peer: &Bytes, id: CallId, what: &Role) {
        let mut message = Message::default();
        message.id = Some(id);
        if let Ok(frames) = Native.encode(what, message, &Limits::default()) {
            // A peer that has not taken as many messages as the engine holds learns it by its
            // deadline.
            drop(self.router.send(peer.clone(), frames));
        }
    }

    async fn back(self: Arc<Self>, mut returns: ReplyStream) {
        let mut waiting = FuturesUnordered::new();
        // How many of them are for whom.
        let mut slow = FxHashMap::<Bytes, usize>::default();
        loop {
            let returned = tokio::select! {
                biased;
                Some(peer) = waiting.next() => {
                    count_down(&mut slow, &peer);
                    continue;
                }
                returned = poll_fn(|cx| returns.poll_next(cx)) => returned,
            };
            let mut frames = match returned {
                Some(ReplyEvent::Message(frames)) => frames,
                Some(ReplyEvent::Failed(error)) => {
                    self.fail(&error);
                    continue;
                }
                None => return,
            };
            let Some(Caller { peer, id, .. }) = self.caller(&frames) else {
                self.counts.lose("nobody waits for it");
                continue;
            };
            Native.renumber(&mut frames, id);
            let mut sending = self.mute.send(&*self.router, peer.clone(), frames);
            let sent = (&mut sending).now_or_never();
            if sent.is_some() {
                self.count_reply(sent.as_ref());
                continue;
            }
            // One that takes no replies is not to hold up the others.
            if waiting.len() >= SLOW_MAX
                || slow.get(&peer).is_some_and(|replies| *replies >= SLOW_PEER_MAX)
            {
                self.counts.lose("its caller does not read");
                continue;
            }
            *slow.entry(peer.clone()).or_default() += 1;
            waiting.push(async {
                self.count_reply(self.wait_for(&peer, sending).await.as_ref());
                peer
            });
        }
    }

    /// What a reply comes to that has to wait for its caller to read.
    async fn wait_for(&self, peer: &Bytes, sending: Sending<'_>) -> Option<Result<()>> {
        // What is large takes its time, also to one that reads well.
        if is_over_budget(&*self.router, peer) {
            return Some(sending.await);
        }
        timeout(REPLY_PATIENCE, sending).await.ok()
    }

    /// Tells a caller that its call came to nothing.
    fn fail(&self, error: &Error) {
        let caller = error.call().and_then(|number| lock(&self.desk).take(number));
        let Some(Caller { peer, id, .. }) = caller else { return };
        let what = if error.is_unsent() { Role::Refusal } else { Role::Loss };
        self.tell(&peer, id, &what);
    }

    fn count_reply(&self, sent: Option<&Result<()>>) {
        match sent {
            Some(Ok(())) => drop(self.counts.back.fetch_add(1, Ordering::Relaxed)),
            _ => self.counts.lose("its caller is gone, or does not read"),
        }
    }

    /// Who waits for this, if it is a reply.
    fn caller(&self, frames: &Frames) -> Option<Caller> {
        let Peek { kind: Kind::Reply, id: Some(number), .. } = Native.peek(frames)? else {
            return None;
        };
        // The caller of one that is left out learns it by its deadline.
        if has_too_many_frames(frames) {
            return None;
        }
        lock(&self.desk).take(number)
    }
}

/// Whether it has more than it may, of which the engine has handed over a part only.
fn has_too_many_frames(frames: &Frames) -> bool {
    frames.body.as_ref().is_some_and(|body| body.frames().len() > Limits::default().frames_max)
}

/// How long a request without a deadline waits for somebody to take it.
const UNBOUNDED: Duration = Duration::from_secs(30);
/// Requests that wait for a server beside those that lie in the sockets. When there are as many, no
/// more are taken in.
const WAITING_MAX: usize = 1000;
/// How long a reply waits for one who has not taken as many as the engine holds.
const REPLY_PATIENCE: Duration = Duration::from_millis(100);
/// Replies that wait for callers to read, beside those that lie in the socket; and those for one
/// caller. Whatever their size.
const SLOW_MAX: usize = 1024;
const SLOW_PEER_MAX: usize = 256;

async fn pipeline(front: &Spot, back: &Spot) -> Result<Forwarder> {
    let bound = Bound::default();
    let links = Balancer::open(&back.settings, Traffic::AnyJobs, &back.plan, &bound).await?;
    let pull = engine::open_pull(&front.settings, None, Window::new(1000))?;
    let jobs = pull.jobs();
    let real = engine::add_endpoints(&*pull, &front.plan).await?;
    let counts = Arc::<Counts>::default();
    let task = tokio::spawn(carry(jobs, links.clone(), counts.clone()));
    let finish = finish_pipeline(pull, links, task.abort_handle());
    Ok(Forwarder {
        front: name(&front.plan, real),
        back: name(&back.plan, bound.names()),
        counts,
        tasks: vec![task],
        finish: Mutex::new(Some(finish.boxed())),
    })
}

async fn carry(mut jobs: BoxStream<'static, Frames>, links: Arc<Balancer>, counts: Arc<Counts>) {
    while let Some(frames) = jobs.next().await {
        if has_too_many_frames(&frames) {
            counts.lose("it has too many frames");
            continue;
        }
        // Nobody there for a while is no reason to lose a job.
        while links.send(InFlightCall::new(None, None, false), frames.clone()).await.is_err() {
            if links.is_closed() {
                return;
            }
        }
        counts.forth.fetch_add(1, Ordering::Relaxed);
    }
}

async fn finish_pipeline(
    pull: Arc<dyn Pull>,
    links: Arc<Balancer>,
    carrying: tokio::task::AbortHandle,
) {
    pull.stop();
    until(|| carrying.is_finished()).await;
    pull.close().await;
    links.close().await;
}

async fn pubsub(front: &Spot, back: &Spot) -> Result<Forwarder> {
    let publication = engine::open_xpub(&back.settings)?;
    let subscribed = engine::open_sub(&front.settings, Window::new(1000))?;
    // Everything, and then hello: so publishers know that they are heard.
    subscribed.subscribe(Bytes::new()).await?;
    subscribed.subscribe(Hello::fresh().frame().clone()).await?;
    let front_real = engine::add_endpoints(&*subscribed, &front.plan).await?;
    let back_real = engine::add_endpoints(&*publication, &back.plan).await?;
    // Not before nothing can fail any more, for a task would keep its socket open.
    let attendant = tokio::spawn(attend(publication.clone(), publication.sync_markers()));
    let counts = Arc::<Counts>::default();
    let task = tokio::spawn(spread(subscribed.messages(), publication.clone(), counts.clone()));
    let finish = finish_pubsub(subscribed, publication, task.abort_handle());
    Ok(Forwarder {
        front: name(&front.plan, front_real),
        back: name(&back.plan, back_real),
        counts,
        tasks: vec![task, attendant],
        finish: Mutex::new(Some(finish.boxed())),
    })
}

async fn spread(
    mut arrivals: BoxStream<'static, (Bytes, Frames)>,
    publication: Arc<dyn XPub>,
    counts: Arc<Counts>,
) {
    while let Some((first, frames)) = arrivals.next().await {
        // Answers to ourselves, and to forwarders behind the same publishers.
        if Hello::read(&first).is_some() {
            continue;
        }
        if has_too_many_frames(&frames) {
            counts.lose("it has too many frames");
            continue;
        }
        if publication.send(first, frames).await.is_err() {
            return;
        }
        counts.forth.fetch_add(1, Ordering::Relaxed);
    }
}

async fn finish_pubsub(
    subscribed: Arc<dyn Sub>,
    publication: Arc<dyn XPub>,
    spreading: tokio::task::AbortHandle,
) {
    subscribed.stop();
    until(|| spreading.is_finished()).await;
    subscribed.close().await;
    publication.close().await;
}

/// Waits until it is so, but no longer than a second.
async fn until(is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            sleep(POLL).await;
        }
    };
    // What is not through by then is given up.
    let _ = timeout(GRACE, waiting).await;
}

const POLL: Duration = Duration::from_millis(5);

/// The real endpoint, or the one that is dialled.
fn name(plan: &Plan, real: Vec<String>) -> String {
    real.into_iter().next().unwrap_or_else(|| plan.names())
}
