//! The request-reply pattern: requests from clients to servers, and replies back.
//!
//! Two tasks share one [`RequestReplyProxy`]:
//!
//! - one receives requests from the frontend socket and sends each to the server that the balancer
//!   chooses;
//! - the other receives replies from the servers and sends each to its client.
//!
//! A client and a server number their calls independently, so each call gets another id at the
//! backend, see [`CallIdMap`]. The proxy reads the fixed part of the envelope only. It rewrites the
//! call id, and the deadline of a request that had to wait. The fields and the body pass unread.
//!
//! A message that cannot be sent at once waits in the task, without delaying the messages behind
//! it. The constants at the end of this file bound the waiting messages.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use polywire_core::message::CallId;
use polywire_core::transport::{Sending, WaitingTimes};
use polywire_core::{Deadline, Error, Limits, Message, Result};
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::time::{timeout, timeout_at};

use super::call_ids::{CallIdMap, CallOrigin, count_down};
use super::endpoint::ResolvedEndpoint;
use super::stats::Counters;
use super::tasks::{ProxyTasks, endpoint_name, has_too_many_frames, wait_until};
use crate::balancer::{Balancer, InFlightCall, ReplyEvent, ReplyStream};
use crate::endpoint::{BoundEndpoints, ManagedHandle};
use crate::engine::{self, RequestOrigin, Router};
use crate::lock::lock;
use crate::responder::{SlowCallers, is_over_budget, take_leave};
use crate::wire::{self, Frames, Kind, MessageRole, Peek, StatedBounds};

/// Opens both sockets and starts to pass requests and replies on.
///
/// The proxy counts as finished when every call has its reply or has expired.
///
/// # Errors
///
/// `Config` if an endpoint cannot be bound. Then both sockets are closed.
pub(super) async fn start(
    frontend: &ResolvedEndpoint,
    backend: &ResolvedEndpoint,
) -> Result<ProxyTasks> {
    let bound = BoundEndpoints::default();
    let (balancer, replies) =
        ReplyStream::open(&backend.settings, &backend.endpoints, &bound).await?;
    let (router, real) = engine::bind_router(&frontend.settings, &frontend.endpoints).await?;
    let counters = Arc::<Counters>::default();
    let proxy = Arc::new(RequestReplyProxy {
        router,
        balancer,
        call_ids: Mutex::default(),
        slow_callers: SlowCallers::default(),
        counters: counters.clone(),
        waiting_times: WaitingTimes::new(),
        stopping: Notify::new(),
        has_left: AtomicBool::new(false),
        // Requests are passed on one by one, since each may go to another server.
        own_bounds: StatedBounds { batch_max: None, ..frontend.settings.own_bounds() },
        linger: frontend.settings.linger,
    });
    let requests = tokio::spawn(proxy.clone().pass_requests_on(proxy.router.requests()));
    let replies = tokio::spawn(proxy.clone().pass_replies_on(replies));
    let finish = async move {
        proxy.stopping.notify_one();
        let has_left = || proxy.has_left.load(Ordering::Acquire);
        wait_until(|| has_left() && lock(&proxy.call_ids).is_done()).await;
        proxy.router.close().await;
        proxy.balancer.close().await;
    };
    Ok(ProxyTasks {
        frontend: endpoint_name(&frontend.endpoints, real),
        backend: endpoint_name(&backend.endpoints, bound.names()),
        counters,
        tasks: vec![requests, replies],
        finish: Mutex::new(Some(finish.boxed())),
    })
}

/// A request that waits for a server.
struct WaitingRequest {
    /// The call id at the backend, unless the request is a one-way call.
    number: Option<CallId>,
    entry: InFlightCall,
    /// The deadline of the request, or [`UNBOUNDED`] from now.
    patience: Deadline,
    /// The message, with the call id of the backend.
    frames: Frames,
}

/// The state of a request-reply proxy, shared by its two tasks.
struct RequestReplyProxy {
    /// The frontend socket.
    router: Arc<dyn Router>,
    /// The backend sockets.
    balancer: Arc<Balancer>,
    /// The calls in flight, with the client of each.
    call_ids: Mutex<CallIdMap>,
    /// Clients that do not read their large replies.
    slow_callers: SlowCallers,
    /// The counters behind [`ProxyStats`](super::ProxyStats).
    counters: Arc<Counters>,
    /// Estimates of the time that requests have waited for the proxy.
    waiting_times: WaitingTimes,
    /// Notified when no more requests are to be received.
    stopping: Notify,
    /// Set when the clients know that the proxy leaves.
    has_left: AtomicBool,
    /// The largest message that the frontend socket accepts.
    own_bounds: StatedBounds,
    /// The time for taking leave.
    linger: Duration,
}

impl RequestReplyProxy {
    /// Passes requests and cancellations on until the proxy stops, or the frontend socket closes.
    ///
    /// Requests that wait for a server run concurrently in `waiting`. A cancellation aborts its
    /// waiting request. When the proxy stops, the waiting requests are still sent.
    async fn pass_requests_on(
        self: Arc<Self>,
        mut requests: BoxStream<'static, (RequestOrigin, Frames)>,
    ) {
        let mut waiting = FuturesUnordered::new();
        // The abort handles of the waiting requests that have a number.
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
            match wire::peek(&frames) {
                Some(peek @ Peek { kind: Kind::Request, .. }) => {
                    if let Some(request) = self.pass_on_now(&peer.address, peek, frames) {
                        let (stop, stopped) = AbortHandle::new_pair();
                        let number = request.number;
                        number.and_then(|number| stops.insert(number, stop));
                        let sending = Abortable::new(self.pass_on_later(request), stopped);
                        waiting.push(sending.map(move |_| number));
                    }
                }
                Some(Peek { kind: Kind::Cancel, id: Some(id), .. }) => {
                    let number = self.cancel(&peer.address, id, frames);
                    if let Some(stop) = number.and_then(|number| stops.remove(&number)) {
                        stop.abort();
                    }
                }
                // The question of a client, or the answer to the leave of an earlier proxy.
                Some(Peek { kind: Kind::Leave, .. }) => {
                    let serve_on = wire::serve_on(self.own_bounds);
                    drop(self.router.send(peer.address, serve_on).now_or_never());
                }
                _ => self.counters.count_dropped("it is no request"),
            }
        }
        let passing_on = async { while waiting.next().await.is_some() {} };
        let leaving = take_leave(&*self.router, &mut requests, [], self.linger);
        tokio::join!(passing_on, leaving);
        self.has_left.store(true, Ordering::Release);
    }

    /// Cancels a call at its server. Returns the number of the call at the backend.
    fn cancel(&self, peer: &Bytes, id: CallId, mut frames: Frames) -> Option<CallId> {
        let number = lock(&self.call_ids).abandon(peer, id)?;
        wire::renumber(&mut frames, number);
        self.balancer.abandon(number, || Some(frames.clone()));
        Some(number)
    }

    /// Passes a request on, or refuses it. Returns the request if it has to wait for a server.
    fn pass_on_now(&self, peer: &Bytes, peek: Peek, mut frames: Frames) -> Option<WaitingRequest> {
        let Peek { id, deadline, idempotent, at_most_once, .. } = peek;
        if has_too_many_frames(&frames) {
            self.counters.count_dropped("it has too many frames");
            return None;
        }
        // Without the time that the request has waited for the proxy.
        let deadline =
            deadline.map(|left| self.waiting_times.shortened(left, wire::sent_at(&frames)));
        let patience = deadline.unwrap_or_else(|| Deadline::after(UNBOUNDED));
        let mut number = None;
        if let Some(id) = id {
            number = lock(&self.call_ids).enter(peer.clone(), id, patience);
            let Some(number) = number else {
                self.refuse(peer, id);
                return None;
            };
            wire::renumber(&mut frames, number);
        }
        let entry =
            InFlightCall::new(number, Some(patience), idempotent).at_most_once(at_most_once);
        match self.balancer.send_now(&entry, frames) {
            Ok(()) => {
                self.counters.to_backend.fetch_add(1, Ordering::Relaxed);
                None
            }
            Err(frames) => Some(WaitingRequest { number, entry, patience, frames }),
        }
    }

    /// Passes a request on as soon as a server has room for it. The balancer writes the remaining
    /// time until the deadline into the request.
    async fn pass_on_later(&self, request: WaitingRequest) {
        let WaitingRequest { number, entry, patience, frames } = request;
        let sent = self.balancer.send(entry, frames);
        let sent = timeout_at(patience.instant(), sent).await;
        if matches!(sent, Ok(Ok(()))) {
            self.counters.to_backend.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let origin = number.and_then(|number| lock(&self.call_ids).take(number));
        match (sent, origin) {
            (Ok(Err(error)), Some(origin)) => {
                tracing::debug!(%error, "cannot pass a request on");
                self.refuse(&origin.peer, origin.id);
            }
            _ => self.counters.count_dropped("its client timed out, or expects no reply"),
        }
    }

    /// Notifies a client that no server handles its call. The call counts as unsent.
    fn refuse(&self, peer: &Bytes, id: CallId) {
        self.notify(peer, id, &MessageRole::Refusal);
    }

    /// Sends a client a message about a call that consists of the call id alone.
    fn notify(&self, peer: &Bytes, id: CallId, role: &MessageRole) {
        let mut message = Message::default();
        message.id = Some(id);
        if let Ok(frames) = wire::encode(role, message, &Limits::default()) {
            // If the queue of the client is full, the client learns of it by its deadline.
            drop(self.router.send(peer.clone(), frames));
        }
    }

    /// Passes replies and lost calls on until the backend sockets close.
    ///
    /// A reply to a client without room waits in `waiting`, within the bounds of [`SLOW_MAX`] and
    /// [`SLOW_PEER_MAX`]. A reply beyond them is dropped, and its client times out.
    async fn pass_replies_on(self: Arc<Self>, mut replies: ReplyStream) {
        let mut waiting = FuturesUnordered::new();
        // The number of waiting replies of each client.
        let mut waiting_by_peer = FxHashMap::<Bytes, usize>::default();
        loop {
            let reply = tokio::select! {
                biased;
                Some(peer) = waiting.next() => {
                    count_down(&mut waiting_by_peer, &peer);
                    continue;
                }
                reply = poll_fn(|cx| replies.poll_next(cx)) => reply,
            };
            let (peek, mut frames) = match reply {
                Some(ReplyEvent::Message { peek, frames }) => (peek, frames),
                Some(ReplyEvent::Failed(error)) => {
                    self.fail(&error);
                    continue;
                }
                None => return,
            };
            let Some(CallOrigin { peer, id, .. }) = self.origin(peek, &frames) else {
                self.counters.count_dropped("no client waits for it");
                continue;
            };
            wire::renumber(&mut frames, id);
            let mut sending = self.slow_callers.send(&*self.router, peer.clone(), frames);
            let sent = (&mut sending).now_or_never();
            if sent.is_some() {
                self.count_reply(sent.as_ref());
                continue;
            }
            // A client that does not read must not hold up the others.
            if waiting.len() >= SLOW_MAX
                || waiting_by_peer.get(&peer).is_some_and(|replies| *replies >= SLOW_PEER_MAX)
            {
                self.counters.count_dropped("its client does not read");
                continue;
            }
            *waiting_by_peer.entry(peer.clone()).or_default() += 1;
            waiting.push(async {
                self.count_reply(self.wait_for(&peer, sending).await.as_ref());
                peer
            });
        }
    }

    /// Waits until a client has room for a reply. Returns `None` if the client takes too long.
    async fn wait_for(&self, peer: &Bytes, sending: Sending<'_>) -> Option<Result<()>> {
        // Sending large replies takes time even to a client that reads.
        if is_over_budget(&*self.router, peer) {
            return Some(sending.await);
        }
        timeout(REPLY_PATIENCE, sending).await.ok()
    }

    /// Notifies a client that its call has failed.
    fn fail(&self, error: &Error) {
        let origin = error.call().and_then(|number| lock(&self.call_ids).take(number));
        let Some(CallOrigin { peer, id, .. }) = origin else { return };
        let role = if error.is_unsent() { MessageRole::Refusal } else { MessageRole::Loss };
        self.notify(&peer, id, &role);
    }

    /// Counts a reply as passed on or dropped. `None` stands for a client that took too long.
    fn count_reply(&self, sent: Option<&Result<()>>) {
        match sent {
            Some(Ok(())) => drop(self.counters.to_frontend.fetch_add(1, Ordering::Relaxed)),
            _ => self.counters.count_dropped("its client is gone, or does not read"),
        }
    }

    /// Returns the origin of the call that a reply belongs to, and forgets the call.
    fn origin(&self, peek: Option<Peek>, frames: &Frames) -> Option<CallOrigin> {
        let Peek { kind: Kind::Reply, id: Some(number), .. } = peek? else {
            return None;
        };
        // The client of an oversized reply learns of it by its deadline.
        if has_too_many_frames(frames) { None } else { lock(&self.call_ids).take(number) }
    }
}

/// The time that a request without a deadline waits for a server.
const UNBOUNDED: Duration = Duration::from_secs(30);
/// The maximum of requests that wait for a server, beyond those in the sockets. At this number, the
/// proxy stops receiving.
const WAITING_MAX: usize = 1000;
/// The time that a reply waits for a client whose queue of the engine is full.
const REPLY_PATIENCE: Duration = Duration::from_millis(100);
/// The maximum of replies that wait for clients to read, of any size, beyond those in the socket.
const SLOW_MAX: usize = 1024;
/// The maximum of such replies for one client.
const SLOW_PEER_MAX: usize = 256;
