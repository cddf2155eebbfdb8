//! The wait of a client that closes, until its servers have read its one-way calls.
//!
//! A connection that is closed as soon as all is written loses messages. The server writes to it
//! until it learns of the end: an answer, a reply to a call that was given up, a heartbeat. Such a
//! write fails, and the engine then drops the connection with all that it has not read. So a client
//! that has sent one-way calls asks each server once more, and closes after the answers. A server
//! that does not answer is waited for up to the linger time.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use futures_util::future::{join_all, select};
use polywire_core::Deadline;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::timeout_at;

use super::peer::PeerConnection;
use super::peer_endpoints::OpenSockets;
use crate::lock::lock;

/// The last questions of a balancer, whose answers prove that all one-way calls were read.
///
/// Only servers that got one-way calls are asked. No server is asked if the linger time is 0, or if
/// the balancer is closed outside of a tokio runtime.
pub(super) struct OneWayLinger {
    /// The time for the answers and the linger of the sockets together.
    linger: Duration,
    /// Yields the reader of the answers. `None` without replies, and after the first close.
    reader: Mutex<Option<oneshot::Receiver<AnswerReader>>>,
}

/// Reads the answers from all sockets. Never resolves. The stream of replies hands the reader over
/// when it is dropped, since each socket has one reader only.
pub(super) type AnswerReader = BoxFuture<'static, ()>;

impl OneWayLinger {
    /// Creates the state of a balancer whose messages get no replies, until
    /// [`read_by`](Self::read_by).
    pub(super) fn new(linger: Duration) -> Self {
        Self { linger, reader: Mutex::default() }
    }

    /// Remembers where the reader of the answers arrives.
    pub(super) fn read_by(&self, reader: oneshot::Receiver<AnswerReader>) {
        *lock(&self.reader) = Some(reader);
    }

    /// Closes the sockets of a closed balancer, after the last answers of the peers that may have
    /// unread one-way calls. The future resolves when the sockets have lingered, or the linger time
    /// ends. If it is dropped, the sockets are closed all the same, unless there is no runtime.
    pub(super) fn close(
        &self,
        peers: &[Arc<PeerConnection>],
        sockets: OpenSockets,
    ) -> BoxFuture<'static, ()> {
        let asked: Vec<_> = peers.iter().filter(|peer| peer.may_have_unread()).cloned().collect();
        let (reader, linger) = (lock(&self.reader).take(), self.linger);
        let reader = reader.filter(|_| !asked.is_empty() && !linger.is_zero());
        let Ok(runtime) = Handle::try_current() else { return sockets.close() };
        // In a task, which goes on if the future is dropped.
        let Some(reader) = reader else {
            return runtime.spawn(sockets.close()).map(drop).boxed();
        };
        let until = Deadline::after(linger).instant();
        let (done, is_done) = oneshot::channel::<()>();
        runtime.spawn(async move {
            // An error means that the linger time ends first.
            let _ = timeout_at(until, ask_all(asked, reader)).await;
            let mut closing = sockets.close();
            // Polls at least once, so that the engine begins to close the sockets.
            let closed = timeout_at(until, &mut closing).await;
            drop(done);
            if closed.is_err() {
                closing.await;
            }
        });
        // The error of a sender that is dropped.
        is_done.map(drop).boxed()
    }
}

/// Asks peers, and resolves when all have answered or are gone. Without a reader, no answer can
/// arrive, and the future resolves at once.
async fn ask_all(peers: Vec<Arc<PeerConnection>>, reader: oneshot::Receiver<AnswerReader>) {
    let Ok(reading) = reader.await else { return };
    let answered = pin!(join_all(peers.iter().map(|peer| peer.ask_last())));
    select(answered, reading).await;
}

#[cfg(all(test, feature = "engine-omq"))]
mod tests {
    use tokio::task::yield_now;
    use tokio::time::timeout;

    use super::*;
    use crate::balancer::peer_endpoints::PeerEndpoints;
    use crate::balancer::peer_set::PeerSet;
    use crate::balancer::resends::Resends;
    use crate::balancer::shared_state::SharedState;
    use crate::config::ZmqBuilder;
    use crate::endpoint::{BoundEndpoints, Endpoint, EndpointChange, Side};
    use crate::engine::Traffic;

    #[tokio::test]
    async fn sockets_of_a_pusher_are_closed_although_the_future_is_dropped() {
        let endpoint = "tcp://127.0.0.1:*";
        let (settings, _) = ZmqBuilder::new().bind(endpoint).settings().unwrap();
        let bound = BoundEndpoints::default();
        let state = SharedState::new(&settings, Resends::new(None), bound.health().clone());
        let peers = PeerSet::new(state.clone());
        let endpoints = PeerEndpoints::new(&settings, Traffic::AnyJobs, peers, &bound, state);
        let endpoint = Endpoint::parse(endpoint).unwrap();
        let change = EndpointChange { side: Side::Bind, adds: true, endpoint };
        let real = endpoints.change(&change).await.unwrap().unwrap();
        let address = real.trim_start_matches("tcp://");
        drop(OneWayLinger::new(settings.linger).close(&[], endpoints.close_later()));
        let is_free = async {
            while std::net::TcpListener::bind(address).is_err() {
                yield_now().await;
            }
        };
        timeout(Duration::from_secs(60), is_free).await.expect("the socket is closed");
    }
}
