//! Sending of messages, each to one of several peers.
//!
//! A message is sent at once if a peer has room and no other sender waits. Otherwise its sender
//! waits: first for its turn, since all senders at once would wake each other for the same room,
//! and then for a peer or for room. Waiting for a peer ends with the connect timeout. Waiting for
//! room at a connected peer ends with the deadline of the caller, which drops the future.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use futures_util::future::select_all;
use polywire_core::message::CallId;
use polywire_core::{Deadline, Error, Limits, Result};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep_until};

use super::in_flight_call::InFlightCall;
use super::one_way_linger::OneWayLinger;
use super::peer_endpoints::PeerEndpoints;
use super::peer_message_max::{Fit, size};
use super::peer_set::PeerSet;
use super::resends::{LostCall, Resends};
use super::shared_state::SharedState;
use super::unsent_errors::{beyond_bound, no_peer};
use crate::common_errors::{closed, config};
use crate::config::Settings;
use crate::endpoint::{BoundEndpoints, EndpointChange, EndpointSet, ManagedHandle};
use crate::engine::Traffic;
use crate::wire::{self, Frames};

/// A sender of requests or jobs over several connections.
///
/// Dropping the balancer stops the tasks of its connections. [`ManagedHandle::close`] also
/// lingers.
pub(crate) struct Balancer {
    /// The connections. Shared with the endpoint changes and with the task of inbound peers.
    peers: Arc<PeerSet>,
    /// The endpoints, whose changes add and remove connections.
    endpoints: PeerEndpoints,
    /// The state shared with both of them.
    pub(super) state: Arc<SharedState>,
    /// Limits on message sizes.
    limits: Limits,
    /// Set with the first job or one-way call, for a log line when the balancer is dropped.
    has_sent_one_way: AtomicBool,
    /// The time that a message waits until a peer is connected.
    pub(super) connect_timeout: Duration,
    /// The last questions to the servers, when the balancer is closed.
    pub(super) one_way_linger: OneWayLinger,
    /// One permit: one sender at a time waits for room, since each would wake all others. Closed
    /// with the balancer.
    turns: Semaphore,
    /// One permit, for calls that a peer refused or declined. They wait for some of the peers
    /// only, so they must not block messages that any peer may get. Closed with the balancer.
    resend_turns: Semaphore,
}

impl Balancer {
    /// Opens a balancer for messages without replies. Waits until the peers are connected, for up
    /// to one second or the connect timeout, whichever is shorter.
    ///
    /// If the future is dropped, all sockets that are open by then are closed.
    ///
    /// # Errors
    ///
    /// `Config` if the set of endpoints is empty, and the errors of the sockets.
    pub(crate) async fn open(
        settings: &Settings,
        traffic: Traffic,
        endpoints: &EndpointSet,
        bound: &BoundEndpoints,
    ) -> Result<Arc<Self>> {
        Self::open_with(settings, traffic, endpoints, bound, None).await
    }

    /// Opens a balancer that sends lost calls to `lost`, see [`Balancer::open`].
    pub(super) async fn open_with(
        settings: &Settings,
        traffic: Traffic,
        endpoints: &EndpointSet,
        bound: &BoundEndpoints,
        lost: Option<UnboundedSender<LostCall>>,
    ) -> Result<Arc<Self>> {
        if endpoints.is_empty() {
            return Err(config(
                "cannot open the calling side: no endpoint is given for it, connect to one or \
                 bind one",
            ));
        }
        let (resends, health) = (Resends::new(lost), bound.health().clone());
        let state = SharedState::new(settings, resends, health);
        let peers = PeerSet::new(state.clone());
        let peer_endpoints =
            PeerEndpoints::new(settings, traffic, peers.clone(), bound, state.clone());
        let balancer = Self {
            peers,
            endpoints: peer_endpoints,
            state,
            limits: settings.limits,
            has_sent_one_way: AtomicBool::new(false),
            connect_timeout: settings.connect_timeout,
            one_way_linger: OneWayLinger::new(settings.linger),
            turns: Semaphore::new(1),
            resend_turns: Semaphore::new(1),
        };
        balancer.endpoints.add_all(endpoints).await?;
        balancer.peers.connected(settings.connect_timeout.min(CONNECT_WAIT_MAX)).await;
        Ok(Arc::new(balancer))
    }

    /// Records that a message without a reply is being sent, which would be lost with the runtime.
    pub(super) fn note_one_way(&self) {
        // Read first: a write per message would take the cache line from other cores.
        if !self.has_sent_one_way.load(Ordering::Relaxed) {
            self.has_sent_one_way.store(true, Ordering::Relaxed);
        }
    }

    /// The limits on message sizes, which apply in both directions.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Returns whether the balancer is closed. Every send fails then.
    pub(crate) fn is_closed(&self) -> bool {
        self.state.is_closed()
    }

    /// Sends a message at once, or returns the frames if there is no room, no peer, or another
    /// sender waits.
    ///
    /// This is the path of most messages. With a single peer, it copies neither the request nor the
    /// set of peers.
    pub(crate) fn send_now(&self, call: &InFlightCall, frames: Frames) -> Result<(), Frames> {
        // A new message does not overtake those that wait.
        if self.has_waiting_sender() { Err(frames) } else { self.peers.try_send(call, frames) }
    }

    /// Sends a message, after waiting for a peer for up to the connect timeout, and for room
    /// without a bound. Senders take turns, and a message never overtakes one that waits.
    ///
    /// While a request waits, the rest of its deadline is written into it before each attempt. If
    /// the future is dropped, the message is not sent, unless a send has already happened.
    ///
    /// # Errors
    ///
    /// `Unroutable` if no peer is connected in time, `Denied` if all peers denied access,
    /// `TooLarge` if no connected peer accepts a message of this size, and `Closed` if the balancer
    /// is closed; all of them unsent.
    pub(crate) async fn send(&self, call: InFlightCall, frames: Frames) -> Result<()> {
        let patience = Deadline::after(self.connect_timeout);
        let give_up = call.deadline.map_or(patience, |deadline| patience.min(deadline)).instant();
        self.send_until(give_up, call, frames, None).await
    }

    /// Removes a call that its caller no longer waits for, and stops its resend. If a peer has the
    /// call, sends the message of `cancel` there, without waiting for room.
    pub(crate) fn abandon(&self, id: CallId, cancel: impl Fn() -> Option<Frames>) {
        self.state.resends.abandon(id, || {
            self.peers.all().iter().any(|peer| peer.cancel(id, &cancel));
        });
    }

    /// Returns whether a connected peer may get a call.
    pub(super) fn has_peer_for(&self, call: &InFlightCall) -> bool {
        self.peers.has_peer_for(call)
    }

    /// The calls that are to be sent again.
    pub(super) fn resends(&self) -> &Arc<Resends> {
        &self.state.resends
    }

    /// The connections, for the reply stream.
    pub(super) fn peers(&self) -> &PeerSet {
        &self.peers
    }

    /// The endpoints, for the reply stream, which reads the socket of inbound peers.
    pub(super) fn endpoints(&self) -> &PeerEndpoints {
        &self.endpoints
    }

    /// Returns the number of changes of the set of peers, and registers the waker for the next one.
    pub(super) fn version(&self, waker: &Waker) -> usize {
        self.state.version(waker)
    }

    /// Sends a message, after waiting for a peer until `give_up`, and for room without a bound. A
    /// call that excludes tried peers fails as soon as no other peer is connected. A `registered`
    /// call is not sent once its registration has ended.
    pub(super) async fn send_until(
        &self,
        give_up: Instant,
        call: InFlightCall,
        mut frames: Frames,
        registered: Option<CallId>,
    ) -> Result<()> {
        let _turn = match call.excludes_tried {
            true => self.resend_turns.acquire().await.map_err(|_| closed())?,
            false => self.turn(give_up).await?,
        };
        loop {
            let changed = self.state.changed();
            tokio::pin!(changed);
            // Enabled before the attempt, so that no change in between is missed.
            changed.as_mut().enable();
            if self.is_closed() {
                return Err(closed());
            }
            if let Some(deadline) = call.deadline {
                wire::restamp(&mut frames, deadline);
            }
            let try_send = || self.peers.try_send(&call, frames);
            let sent = match registered {
                Some(id) => self.state.resends.send(id, try_send),
                None => try_send(),
            };
            frames = match sent {
                Ok(()) => return Ok(()),
                Err(unsent) => unsent,
            };
            // Room may be reported and not suffice: the wait for it would not yield then.
            consume_budget().await;
            let peers = self.peers.all();
            let (mut rooms, mut told_by, mut too_large) = (Vec::new(), None, None);
            for peer in peers.iter().filter(|peer| peer.may_get(&call)) {
                match peer.bound.fit(&frames) {
                    Fit::Fits => rooms.push(peer.room().boxed()),
                    Fit::NotKnown(until) => told_by = told_by.max(Some(until)),
                    Fit::TooLarge(max) => too_large = too_large.max(Some(max)),
                }
            }
            if !rooms.is_empty() {
                // The deadline of the caller bounds this wait.
                tokio::select! {
                    _ = select_all(rooms) => {}
                    () = changed => {}
                }
            } else if let Some(until) = told_by {
                tokio::select! {
                    () = sleep_until(until) => {}
                    () = changed => {}
                }
            } else if let Some(max) = too_large {
                return Err(beyond_bound(size(&frames), max, self.endpoints.names()));
            } else {
                if call.excludes_tried {
                    return Err(self.no_peer());
                }
                tokio::select! {
                    () = sleep_until(give_up) => return Err(self.no_peer()),
                    () = changed => {}
                }
            }
        }
    }

    /// Waits for the turn to wait for room. After `give_up`, waits only if a peer is connected.
    async fn turn(&self, give_up: Instant) -> Result<SemaphorePermit<'_>> {
        let turn = self.turns.acquire();
        tokio::pin!(turn);
        tokio::select! {
            turn = &mut turn => return turn.map_err(|_| closed()),
            () = sleep_until(give_up) => {}
        }
        if !self.peers.is_any_live() {
            return Err(self.no_peer());
        }
        turn.await.map_err(|_| closed())
    }

    /// Returns whether a sender waits for room. New messages then wait behind it.
    fn has_waiting_sender(&self) -> bool {
        self.turns.available_permits() == 0
    }

    /// Returns the error for a message that no peer can get.
    pub(super) fn no_peer(&self) -> Error {
        let peers = self.peers.all();
        let is_denied = !peers.is_empty() && peers.iter().all(|peer| peer.dealer().is_denied());
        let causes: Vec<_> = peers
            .iter()
            .filter_map(|peer| peer.dealer().failure().map(|cause| (peer.name().clone(), cause)))
            .collect();
        no_peer(self.endpoints.traffic(), is_denied, self.endpoints.names(), &causes)
    }
}

/// The longest time that opening waits for peers: one second.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(1);

#[async_trait]
impl ManagedHandle for Balancer {
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        self.endpoints.change(change).await
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        self.state.close();
        // Ends the reply stream.
        self.state.resends.close();
        self.turns.close();
        self.resend_turns.close();
        self.state.notify_changed();
        self.one_way_linger.close(&self.peers.all(), self.endpoints.close_later())
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if !self.state.was_closed() && self.has_sent_one_way.load(Ordering::Relaxed) {
            let endpoints = self.endpoints.names();
            let (handle, lost) = match self.endpoints.traffic() {
                Traffic::Requests => ("client", "one-way calls"),
                Traffic::Jobs(_) | Traffic::AnyJobs => ("pusher", "jobs"),
            };
            tracing::warn!(
                endpoints,
                "a {handle} was dropped before its transport was closed: if the runtime ends now, \
                 {lost} that are not sent yet are lost"
            );
        }
        self.endpoints.stop();
    }
}
