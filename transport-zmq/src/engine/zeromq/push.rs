//! PUSH that binds: jobs to the pullers that connect, in turn.
//!
//! The crate spreads jobs over its peers without a way to learn of a loss. So this file picks the
//! puller of each job, and keeps a job until the relay has written it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use polywire_core::Result;
use polywire_core::transport::LogThrottle;
use zeromq::ZmqMessage;

use super::frame_conversion::message_of;
use super::link::{Link, LinkOwner};
use super::link_set::LinkSet;
use super::link_set_options::{LinkSetOptions, QUEUED_MAX};
use super::linked_endpoints::LinkedEndpoints;
use super::pull::is_of_queue;
use super::socket_kind::SocketKind;
use crate::common_errors::closed;
use crate::config::Settings;
use crate::endpoint::EndpointChange;
use crate::engine::{Dealer, SocketControl, Traffic};
use crate::lock::lock;
use crate::wire::Frames;

/// A PUSH socket that pullers connect to.
///
/// Jobs that a lost puller did not get go to another one, or wait for the next. A job that was
/// written may be lost with its puller.
pub(in crate::engine) struct ZeromqPush {
    /// The links, and the endpoints that pullers connect to.
    endpoints: LinkedEndpoints,
    jobs: Arc<Jobs>,
}

/// The pullers, and the jobs that those that left did not get.
///
/// The lock is held while a job is queued, so that no two jobs go to one puller out of turn. Locks
/// of outboxes are taken within.
struct Jobs {
    /// The kind of messages, and the queue that a puller has to name.
    traffic: Traffic,
    state: Mutex<State>,
    /// Throttle for log lines of pullers that pull from another queue.
    wrong_queue: LogThrottle,
    /// Throttle for log lines of pullers that left.
    losses: LogThrottle,
    /// Set when the socket closes, which ends all links.
    is_closing: AtomicBool,
}

/// The turn of the pullers. A puller is here while its link is open.
#[derive(Default)]
struct State {
    /// The pullers, the next one first.
    pullers: VecDeque<Arc<Link>>,
    /// Jobs without a puller. Bounded by what the last pullers could hold.
    unsent: Vec<ZmqMessage>,
}

/// Messages of any size that may be queued for a puller: 16.
const QUEUED_MIN: usize = 16;

impl ZeromqPush {
    /// Opens a socket without endpoints.
    ///
    /// Each puller has a queue of the byte bound divided by the largest body: at least 16 jobs, at
    /// most 1,000. With the default settings, the queue has 16.
    pub(in crate::engine) fn bind(settings: &Settings, traffic: &Traffic) -> Self {
        let jobs = Arc::new(Jobs {
            traffic: traffic.clone(),
            state: Mutex::default(),
            wrong_queue: LogThrottle::new(),
            losses: LogThrottle::new(),
            is_closing: AtomicBool::new(false),
        });
        // The byte bound becomes a number of the largest messages.
        let largest = settings.peer_bytes_max / settings.limits.body_max.max(1);
        let capacity = largest.clamp(QUEUED_MIN, QUEUED_MAX);
        let options = LinkSetOptions { capacity, ..LinkSetOptions::of(SocketKind::Push) };
        let (set, _) = LinkSet::new(settings, options, jobs.clone());
        Self { endpoints: LinkedEndpoints::new(settings, set), jobs }
    }
}

impl State {
    /// Hands unsent jobs to the pullers, in turn and beyond their room: no puller has to wait for
    /// a job that is there.
    fn spread(&mut self) {
        if self.pullers.is_empty() {
            return;
        }
        for job in self.unsent.drain(..) {
            self.pullers.rotate_left(1);
            if let Some(puller) = self.pullers.back() {
                puller.outbox.push_all([job]);
            }
        }
    }
}

impl LinkOwner for Jobs {
    /// Adds a puller of the queue behind the others, and hands out the jobs that wait. Ends the
    /// link of another queue.
    fn opened(&self, link: &Arc<Link>) -> Result<(), String> {
        if let Traffic::Jobs(queue) = &self.traffic
            && let Some(identity) = link.identity.get()
            && !is_of_queue(identity, queue)
        {
            // The socket would send every n-th job to this puller, which cannot process it.
            if let Some(count) = self.wrong_queue.note() {
                tracing::warn!(traffic = ?self.traffic, count, "disconnected pullers of another queue");
            }
            return Err("the puller pulls from another queue".to_owned());
        }
        let mut state = lock(&self.state);
        state.pullers.push_back(link.clone());
        state.spread();
        Ok(())
    }

    /// Removes a puller, and hands its unsent jobs to the others. A log line at level warn says
    /// that others may be lost, throttled. The balancer has it for the last puller.
    fn ended(&self, link: &Arc<Link>) {
        let mut state = lock(&self.state);
        state.pullers.retain(|puller| puller.number != link.number);
        state.unsent.extend(link.outbox.take_unsent());
        state.spread();
        let has_others = !state.pullers.is_empty();
        drop(state);
        if has_others
            && !self.is_closing.load(Ordering::Acquire)
            && let Some(count) = self.losses.note()
        {
            tracing::warn!(traffic = ?self.traffic, count, "{LOST_PULLER}");
        }
    }
}

/// Line of the log for a puller that has left.
const LOST_PULLER: &str = "a puller has left: jobs that it had not read are lost";

#[async_trait]
impl SocketControl for ZeromqPush {
    async fn change(&self, change: &EndpointChange) -> Result<Option<String>> {
        self.endpoints.change(change).await
    }

    fn peer_counts(&self) -> BoxStream<'static, usize> {
        self.endpoints.peer_counts()
    }

    /// Sends the queued jobs for up to the linger time. Jobs without a puller are counted in a log
    /// line, and lost.
    fn close(&self) -> BoxFuture<'static, ()> {
        self.jobs.is_closing.store(true, Ordering::Release);
        let (close, jobs) = (self.endpoints.close(), self.jobs.clone());
        let close = async move {
            close.await;
            let lost = lock(&jobs.state).unsent.len();
            if lost > 0 {
                tracing::warn!(traffic = ?jobs.traffic, lost, "jobs were not sent in the linger time");
            }
        };
        close.boxed()
    }
}

#[async_trait]
impl Dealer for ZeromqPush {
    /// Queues a job for the next puller with room. Returns the frames if no puller has room, or
    /// there is none.
    fn try_send(&self, frames: Frames) -> Result<(), Frames> {
        let mut state = lock(&self.jobs.state);
        let mut frames = Some(frames);
        for _ in 0..state.pullers.len() {
            state.pullers.rotate_left(1);
            let Some(puller) = state.pullers.back() else { break };
            let job = || frames.take().map_or_else(|| ZmqMessage::from(""), message_of);
            if puller.outbox.try_push(job) {
                return Ok(());
            }
        }
        frames.map_or(Ok(()), Err)
    }

    /// Waits until some puller has room. Begins anew with each change of the pullers.
    fn room(&self) -> BoxFuture<'_, ()> {
        let room = async {
            let mut changes = self.endpoints.set.changes();
            loop {
                let links = self.endpoints.set.links();
                let rooms = links.iter().map(|link| link.outbox.room().boxed());
                let any = async {
                    match links.is_empty() {
                        true => std::future::pending().await,
                        false => drop(futures_util::future::select_all(rooms).await),
                    }
                };
                tokio::select! {
                    () = any => return,
                    // Never an error: the socket holds the sender.
                    _ = changes.changed() => {}
                }
            }
        };
        room.boxed()
    }

    /// Returns at once: pullers connect at any time.
    async fn tried(&self) {}

    /// Waits until a puller of the queue is connected. Fails with `Closed` once the socket is
    /// closed.
    async fn up(&self) -> Result<()> {
        self.wait_for(|pullers| pullers > 0).await;
        if self.endpoints.set.is_closed() { Err(closed()) } else { Ok(()) }
    }

    /// Waits until no puller is connected, or the socket is closed. Unsent jobs stay for the next
    /// puller.
    async fn down(&self) {
        self.wait_for(|pullers| pullers == 0).await;
    }

    /// Returns an empty stream: pullers send nothing.
    fn replies(&self) -> BoxStream<'static, Frames> {
        stream::empty().boxed()
    }
}

impl ZeromqPush {
    /// Waits until this number of pullers is connected, or the socket is closed.
    async fn wait_for(&self, is_met: impl Fn(usize) -> bool + Send) {
        let mut changes = self.endpoints.set.changes();
        while !self.endpoints.set.is_closed() && !is_met(self.endpoints.set.count()) {
            // Never an error: the socket holds the sender.
            let _ = changes.changed().await;
        }
    }
}
