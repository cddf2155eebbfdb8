//! The leave of a server socket: no caller is left in doubt about a request that no handler begins.
//!
//! A socket that is simply closed loses the requests on their way to it: in its own queue, in the
//! kernel, and in the engine of the caller. Their callers would see a lost connection, with an
//! unknown outcome. So the socket notifies each peer of its leave, in two rounds:
//!
//! - The peer answers the first notice after its last request. The answer proves that all its
//!   requests have arrived. Each of them is refused.
//!
//! - The second notice follows the refusals. The answer proves that the peer has them.
//!
//! A peer of another program, or of an earlier version, need not answer. So the leave has a bound.

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use polywire_core::message::CallId;
use polywire_core::{Limits, Message};
use rustc_hash::FxHashSet;
use tokio::task::coop::{consume_budget, unconstrained};
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::lost_one_way_calls;
use crate::engine::{RequestOrigin, Router};
use crate::wire::{self, Frames, Kind, MessageRole, Peek};

/// Messages that a socket receives, each with its origin.
type Requests = BoxStream<'static, (RequestOrigin, Frames)>;

/// Takes leave of all peers: refuses all requests that arrive, until each peer has answered both
/// notices or is gone, for up to the linger time; not at all if that is zero.
///
/// `unsent` are refusals that could not be sent before. One-way calls that arrive are dropped, and
/// logged at the end. Cancels are dropped, too. The stream stays usable. If the future is dropped,
/// the leave ends as after the linger time.
///
/// Where the engine can, the socket first stops accepting peers.
pub(crate) async fn take_leave(
    router: &dyn Router,
    requests: &mut Requests,
    unsent: impl IntoIterator<Item = (Bytes, Frames)>,
    linger: Duration,
) {
    if linger.is_zero() {
        return;
    }
    let mut leave = Leave {
        router,
        sends: FuturesUnordered::new(),
        unanswered: Default::default(),
        one_way: 0,
    };
    for (peer, frames) in unsent {
        leave.send(peer, frames);
    }
    let rounds = async {
        router.stop_listening().await;
        for round in [FIRST, LAST] {
            if !leave.round(round, requests).await {
                return false;
            }
        }
        true
    };
    let ended = timeout(linger, rounds).await;
    // The stream of a socket that is closed has ended.
    if !matches!(ended, Ok(false)) {
        leave.count_rest(requests).await;
    }
    if ended.is_err() {
        let peers = leave.unanswered.len();
        tracing::debug!(peers, "closed before all peers have answered the leave");
    }
    lost_one_way_calls::log(leave.one_way);
}

/// The numbers of the two notices: 2^64 - 2 and 2^64 - 1, see "Behavior" in `docs/wire-native.md`.
/// No client has a call of such a number, which a program in another language could take the notice
/// for.
const FIRST: CallId = CallId(u64::MAX - 1);
const LAST: CallId = CallId(u64::MAX);

/// The interval at which connected peers are counted again: 20 ms.
const RECOUNT: Duration = Duration::from_millis(20);

/// Messages that may wait for room at their peers: 10,000. Beyond them, no request is read.
const WAITING_MAX: usize = 10_000;

/// Messages of peers that are gone that are looked through for one-way calls: 10,000.
const REST_MAX: usize = 10_000;

/// Returns a notice, or the answer to it.
fn notice(number: CallId) -> Option<Frames> {
    envelope(&MessageRole::Leave, Some(number))
}

/// Returns a message that consists of a call id.
fn envelope(role: &MessageRole, id: Option<CallId>) -> Option<Frames> {
    let mut message = Message::default();
    message.id = id;
    wire::encode(role, message, &Limits::default()).ok()
}

/// A leave that is being taken.
struct Leave<'a> {
    /// The socket, whose peers are counted and get the messages.
    router: &'a dyn Router,
    /// The messages that wait for room. Each resolves to its peer if that one is gone. Requests are
    /// not read beyond [`WAITING_MAX`] of them.
    sends: FuturesUnordered<BoxFuture<'a, Option<Bytes>>>,
    /// The peers that have not answered the notice of this round.
    unanswered: FxHashSet<Bytes>,
    /// One-way calls that have arrived.
    one_way: u64,
}

impl Leave<'_> {
    /// Sends a notice to all peers, and refuses requests until all have answered and everything is
    /// sent. Returns `false` if the socket is closed.
    ///
    /// The peers are counted again every 20 ms. A peer that has disconnected is not waited for, and
    /// a peer that has connected meanwhile gets the notice, too.
    async fn round(&mut self, number: CallId, requests: &mut Requests) -> bool {
        let mut notified = FxHashSet::default();
        loop {
            let peers: FxHashSet<Bytes> = self.router.peers().await.into_iter().collect();
            self.unanswered.retain(|peer| peers.contains(peer));
            // A peer may have finished its handshake since the last count.
            for peer in peers {
                if notified.insert(peer.clone()) {
                    self.unanswered.insert(peer.clone());
                    notice(number).into_iter().for_each(|frames| self.send(peer.clone(), frames));
                }
            }
            let recount = Instant::now() + RECOUNT;
            loop {
                if self.unanswered.is_empty() && self.sends.is_empty() {
                    return true;
                }
                tokio::select! {
                    biased;
                    Some(gone) = self.sends.next() => {
                        gone.map(|peer| self.unanswered.remove(&peer));
                    }
                    request = requests.next(), if self.sends.len() < WAITING_MAX => {
                        let Some((RequestOrigin { address, .. }, frames)) = request else {
                            return false;
                        };
                        self.receive(number, address, &frames);
                    }
                    () = sleep_until(recount) => break,
                }
            }
        }
    }

    /// Refuses a request, or records the answer of its peer. Drops all other messages, such as the
    /// answer to the notice of another round.
    fn receive(&mut self, number: CallId, peer: Bytes, frames: &Frames) {
        match wire::peek(frames) {
            Some(Peek { kind: Kind::Request, id: id @ Some(_), .. }) => {
                if let Some(refusal) = envelope(&MessageRole::Refusal, id) {
                    self.send(peer, refusal);
                }
            }
            Some(Peek { kind: Kind::Request, id: None, .. }) => self.one_way += 1,
            Some(Peek { kind: Kind::Leave, id: Some(answered), .. }) if answered == number => {
                self.unanswered.remove(&peer);
            }
            _ => {}
        }
    }

    /// Counts the one-way calls that have arrived and that no round has read, since their peers are
    /// gone. Drops up to [`REST_MAX`] messages.
    async fn count_rest(&mut self, requests: &mut Requests) {
        for _ in 0..REST_MAX {
            consume_budget().await;
            // A stream without budget would seem to have no message.
            let next = unconstrained(requests.next()).now_or_never();
            let Some(Some((_, frames))) = next else { return };
            if matches!(wire::peek(&frames), Some(Peek { kind: Kind::Request, id: None, .. })) {
                self.one_way += 1;
            }
        }
    }

    /// Sends a message, after waiting for room. The answer of a peer that is gone is not waited
    /// for.
    fn send(&mut self, peer: Bytes, frames: Frames) {
        let mut sending = self.router.send(peer.clone(), frames);
        match (&mut sending).now_or_never() {
            Some(Ok(())) => {}
            Some(Err(_)) => drop(self.unanswered.remove(&peer)),
            None => self.sends.push(sending.map(|sent| sent.err().map(|_| peer)).boxed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_n;

    use async_trait::async_trait;
    use futures_util::stream::{iter, pending};
    use polywire_core::transport::Sending;
    use polywire_core::{Address, Result};

    use super::*;
    use crate::endpoint::EndpointChange;
    use crate::engine::SocketControl;

    /// A socket whose peers are gone.
    struct Deserted;

    #[async_trait]
    impl SocketControl for Deserted {
        async fn change(&self, _: &EndpointChange) -> Result<Option<String>> {
            Ok(None)
        }

        fn close(&self) -> BoxFuture<'static, ()> {
            std::future::ready(()).boxed()
        }
    }

    impl Router for Deserted {
        fn send(&self, _: Bytes, _: Frames) -> Sending<'_> {
            panic!("no peer is connected")
        }

        fn requests(&self) -> Requests {
            pending().boxed()
        }
    }

    /// Returns a stream of one-way calls and one request, which does not end.
    fn requests(one_way: usize) -> Requests {
        let role = MessageRole::Request(Address::new("a").unwrap());
        let [call, request] = [None, Some(CallId(1))].map(|id| envelope(&role, id).unwrap());
        let frames = repeat_n(call, one_way).chain([request]);
        let origin = RequestOrigin { address: Bytes::from_static(b"peer"), identity: None };
        let requests: Vec<_> = frames.map(|frames| (origin.clone(), frames)).collect();
        iter(requests).chain(pending()).boxed()
    }

    #[tokio::test]
    async fn one_way_calls_of_peers_that_are_gone_are_counted() {
        let mut leave = Leave {
            router: &Deserted,
            sends: FuturesUnordered::new(),
            unanswered: FxHashSet::default(),
            one_way: 1,
        };
        leave.count_rest(&mut requests(300)).await;
        assert_eq!(leave.one_way, 301);
        let mut unread = requests(300);
        take_leave(&Deserted, &mut unread, [], Duration::from_secs(60)).await;
        assert!(unread.next().now_or_never().is_none(), "a message was not looked at");
    }
}
