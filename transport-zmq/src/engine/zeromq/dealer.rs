//! DEALER and PUSH that connect: requests or jobs to one peer.
//!
//! The socket outlives its links. After a loss, requests that were not sent are dropped, and jobs
//! go to the next link.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, stream};
use polywire_core::Result;
use polywire_core::transport::LogThrottle;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use zeromq::ZmqMessage;

use super::arrival_stream::received;
use super::connect::{RECONNECT_MAX, RECONNECT_MIN, connect};
use super::frame_conversion::{frames_of, message_of};
use super::link::{Arrival, Link, LinkOwner};
use super::link_set::LinkSet;
use super::link_set_options::LinkSetOptions;
use super::pull::is_of_queue;
use super::socket_kind::SocketKind;
use crate::common_errors::closed;
use crate::config::Settings;
use crate::endpoint::{Endpoint, EndpointChange, RefusingPeers};
use crate::engine::{Dealer, SocketControl, Traffic};
use crate::lock::lock;
use crate::wire::Frames;

/// A DEALER or PUSH socket for one endpoint, with one link at a time.
///
/// Dropping the socket closes it, and ends the outbox of its link. The link then sends what it has;
/// the linger time does not apply. A close that has begun goes on.
pub(in crate::engine) struct ZeromqDealer {
    /// Shared with the future of a close, which outlives the socket.
    inner: Arc<Inner>,
    /// The messages that arrive, until [`replies`](Dealer::replies) takes them.
    arrivals: Mutex<Option<mpsc::Receiver<Arrival>>>,
    /// Frames that the body of a reply may have. The decoder rejects a body with more.
    frames_max: usize,
    /// The time that a close has for queued messages, including that for a connection.
    linger: Duration,
}

/// The part of a socket that connects. No lock is held across an await.
struct Inner {
    /// The endpoint to connect to, which never changes.
    endpoint: Endpoint,
    /// The time for the connection below ZMTP. The handshake has a bound of its own.
    connect_timeout: Duration,
    /// The links, of which one at most is open.
    set: Arc<LinkSet>,
    jobs: Arc<UnsentJobs>,
    /// The link that is open, or was.
    link: Mutex<Option<Arc<Link>>>,
    /// The failure of the latest attempt to connect.
    failure: Mutex<Option<String>>,
    /// Refusals at the endpoint.
    refusals: RefusingPeers,
    /// Set after an attempt to connect has failed.
    tried: watch::Sender<bool>,
}

/// The jobs that the last puller did not get, for the next one. Without jobs, lost requests are
/// dropped: their callers get an error.
struct UnsentJobs {
    /// The kind of messages, and the queue that a puller has to name.
    traffic: Traffic,
    /// The jobs in their order. Bounded by what one link holds: 1,000 in its outbox, and 256 in the
    /// crate.
    unsent: Mutex<Vec<ZmqMessage>>,
    /// Throttle for log lines of pullers that pull from another queue.
    wrong_queue: LogThrottle,
}

impl ZeromqDealer {
    /// Opens a socket for one endpoint. `up` connects it.
    ///
    /// The link queues up to 1,000 messages, beside 256 that the crate may hold.
    pub(in crate::engine) fn connect(
        settings: &Settings,
        traffic: &Traffic,
        endpoint: &Endpoint,
    ) -> Self {
        let kind = match traffic {
            Traffic::Requests => SocketKind::Dealer,
            Traffic::Jobs(_) | Traffic::AnyJobs => SocketKind::Push,
        };
        let jobs = Arc::new(UnsentJobs {
            traffic: traffic.clone(),
            unsent: Mutex::default(),
            wrong_queue: LogThrottle::new(),
        });
        let identity = settings.identity.clone();
        let options = LinkSetOptions { identity, ..LinkSetOptions::of(kind) };
        let (set, arrivals) = LinkSet::new(settings, options, jobs.clone());
        let refusals = RefusingPeers::default();
        refusals.add(&endpoint.to_string());
        let inner = Arc::new(Inner {
            endpoint: endpoint.clone(),
            connect_timeout: settings.connect_timeout,
            set,
            jobs,
            link: Mutex::default(),
            failure: Mutex::default(),
            refusals,
            tried: watch::Sender::new(false),
        });
        Self {
            inner,
            arrivals: Mutex::new(arrivals),
            frames_max: settings.limits.frames_max,
            linger: settings.linger,
        }
    }
}

impl LinkOwner for UnsentJobs {
    /// Checks that a puller pulls from the queue, and hands over the unsent jobs. Runs before the
    /// link counts as open, so the unsent jobs come before any new one.
    fn opened(&self, link: &Arc<Link>) -> Result<(), String> {
        if let Traffic::Jobs(queue) = &self.traffic
            && let Some(identity) = link.identity.get()
            && !is_of_queue(identity, queue)
        {
            if let Some(count) = self.wrong_queue.note() {
                tracing::warn!(traffic = ?self.traffic, count, "disconnected pullers of another queue");
            }
            return Err("the puller pulls from another queue".to_owned());
        }
        link.outbox.push_all(lock(&self.unsent).drain(..));
        Ok(())
    }

    /// Keeps the jobs that were not written to the peer. A job that was written may be lost with
    /// the connection.
    fn ended(&self, link: &Arc<Link>) {
        if !matches!(self.traffic, Traffic::Requests) {
            lock(&self.unsent).extend(link.outbox.take_unsent());
        }
    }
}

impl Inner {
    /// Returns the last link that was open, which may have ended.
    fn link(&self) -> Option<Arc<Link>> {
        lock(&self.link).clone()
    }

    /// Connects until the peer accepts, or the socket is closed.
    ///
    /// Failed attempts are repeated with pauses that grow from 100 ms to 5 seconds. Dropping the
    /// future ends an attempt that is under way.
    async fn connect(&self) {
        let mut pause = RECONNECT_MIN;
        while !self.set.is_closed() {
            let Self { set, endpoint, refusals, connect_timeout, .. } = self;
            match connect(set, endpoint, refusals, *connect_timeout).await {
                Ok(link) => {
                    *lock(&self.failure) = None;
                    *lock(&self.link) = Some(link);
                    return;
                }
                Err(failure) => {
                    tracing::debug!(endpoint = %self.endpoint, failure, "cannot connect");
                    *lock(&self.failure) = Some(failure);
                }
            }
            self.tried.send_replace(true);
            sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_MAX);
        }
    }
}

#[async_trait]
impl SocketControl for ZeromqDealer {
    /// Changes nothing: the balancer opens a socket for each endpoint.
    async fn change(&self, _: &EndpointChange) -> Result<Option<String>> {
        Ok(None)
    }

    fn refusals(&self) -> RefusingPeers {
        self.inner.refusals.clone()
    }

    /// Sends the queued messages for up to the linger time, then cuts the link.
    ///
    /// Jobs without a link wait for a connection within that time. Jobs that are left are counted
    /// in a log line, and lost.
    fn close(&self) -> BoxFuture<'static, ()> {
        let (inner, linger) = (self.inner.clone(), self.linger);
        let close = async move {
            let send_rest = async {
                let has_jobs = !lock(&inner.jobs.unsent).is_empty();
                if has_jobs && inner.set.count() == 0 {
                    // The next puller may come in time.
                    inner.connect().await;
                }
                inner.set.close();
                inner.set.clone().finish(linger).await;
            };
            let _ = timeout(linger, send_rest).await;
            inner.set.close();
            inner.set.clone().finish(Duration::ZERO).await;
            let lost = lock(&inner.jobs.unsent).len();
            if lost > 0 {
                let endpoint = inner.endpoint.to_string();
                tracing::warn!(endpoint, lost, "jobs were not sent in the linger time");
            }
        };
        close.boxed()
    }
}

impl Drop for Inner {
    /// Runs after the last of the socket and its close, which may still wait for a connection.
    fn drop(&mut self) {
        self.set.close();
        if let Some(link) = self.link() {
            link.outbox.end();
        }
    }
}

#[async_trait]
impl Dealer for ZeromqDealer {
    /// Queues a message, or returns the frames if there is no link, no room, or the link has ended.
    fn try_send(&self, frames: Frames) -> Result<(), Frames> {
        let Some(link) = self.inner.link() else { return Err(frames) };
        let mut frames = Some(frames);
        link.outbox.try_push(|| frames.take().map_or_else(|| ZmqMessage::from(""), message_of));
        frames.map_or(Ok(()), Err)
    }

    /// Waits for room in the outbox, which another sender may take first. Never resolves once the
    /// link has ended, or before there is one.
    fn room(&self) -> BoxFuture<'_, ()> {
        let link = self.inner.link();
        let room = async move {
            if let Some(link) = link {
                link.outbox.room().await;
                if !link.outbox.has_ended() {
                    return;
                }
            }
            // The connection is lost, which `down` reports.
            std::future::pending::<()>().await;
        };
        room.boxed()
    }

    async fn tried(&self) {
        let mut tried = self.inner.tried.subscribe();
        // Never an error: `self` holds the sender.
        let _ = tried.wait_for(|tried| *tried).await;
    }

    /// Connects, with repeated attempts. A close ends the wait after the current attempt and its
    /// pause.
    async fn up(&self) -> Result<()> {
        self.inner.connect().await;
        if self.inner.set.is_closed() { Err(closed()) } else { Ok(()) }
    }

    fn failure(&self) -> Option<String> {
        lock(&self.inner.failure).clone()
    }

    /// Waits until the link has ended. Unsent jobs are kept for the next one by then.
    async fn down(&self) {
        if let Some(link) = self.inner.link() {
            link.wait_end().await;
        }
    }

    /// Returns the reason of the link's end, once there is one. Repeated calls return the same
    /// text.
    fn reason(&self) -> Option<String> {
        lock(&self.inner.link()?.reason).clone()
    }

    /// Returns the messages of all links, one link after the other. A second call returns an empty
    /// stream.
    fn replies(&self) -> BoxStream<'static, Frames> {
        let frames_max = self.frames_max;
        match lock(&self.arrivals).take() {
            Some(arrivals) => {
                received(arrivals).map(move |(_, message)| frames_of(message, frames_max)).boxed()
            }
            None => stream::empty().boxed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Engine, ZmqBuilder};

    #[tokio::test]
    async fn dropped_socket_leaves_no_task_behind() {
        let builder = ZmqBuilder::new().engine(Engine::Zeromq).connect("tcp://127.0.0.1:1");
        let (settings, endpoints) = builder.settings().unwrap();
        let endpoint = &endpoints.calling.connect[0];
        let dealer = ZeromqDealer::connect(&settings, &Traffic::Requests, endpoint);
        let runtime = tokio::runtime::Handle::current().metrics();
        assert_eq!(runtime.num_alive_tasks(), 1, "the queue of replies is kept open");
        drop(dealer);
        let ended = async {
            while runtime.num_alive_tasks() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(60), ended).await.expect("the task ends");
    }
}
