//! Messages that the peers of a balancer send back.
//!
//! The stream is the only reader of all sockets of a balancer. It sorts what it reads by the fixed
//! part of the envelope, which is parsed once and passed on with the message. Most messages are
//! replies, and leave as they came. Refusals, declined replies and losses may lead to another
//! attempt; they become an event only if there is none.

#[cfg(all(test, feature = "engine-omq"))]
#[allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]
mod tests;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use polywire_core::message::CallId;
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::oneshot;

use super::balancer::Balancer;
use super::one_way_linger::AnswerReader;
use super::peer::{PeerConnection, PeerKind, RecordedReply};
use super::reply_source::ReplySource;
use super::resends::LostCall;
use crate::config::Settings;
use crate::endpoint::{BoundEndpoints, EndpointSet};
use crate::engine::Traffic;
use crate::wire::{self, Frames, Kind, Peek};

/// Replies of all peers, and calls that get none.
///
/// The stream is read in the task that polls it: a task in between would cost a context switch per
/// reply.
///
/// A request that was refused or declined goes to another peer that has not seen it, if there is
/// one. A call whose connection was lost is sent again if it is idempotent, and fails otherwise
/// (`resend_decision`).
/// Dropping the stream drops the calls that are being sent again.
pub(crate) struct ReplyStream {
    /// The balancer, kept open with the stream unless its transport closes it.
    pub(super) balancer: Arc<Balancer>,
    /// The sockets that are read, each as a stream of its messages.
    sources: Vec<ReplySource>,
    /// The version of the peer set that the sources are from.
    version: usize,
    /// The source that is read first. The same source is read on while it has messages, which come
    /// in batches.
    current: usize,
    /// Calls that lost their connection, from
    /// [`Resends::report_lost`](super::resends::Resends::report_lost).
    lost: UnboundedReceiver<LostCall>,
    /// Calls that are being sent again. Bounded, since each is in flight. Each resolves to the
    /// event that reports its failure, or to `None` if it has not failed.
    pub(super) attempts: FuturesUnordered<BoxFuture<'static, Option<ReplyEvent>>>,
    /// Receives the reader of the last answers when the stream is dropped after the balancer was
    /// closed.
    successor: Option<oneshot::Sender<AnswerReader>>,
}

/// An event of a [`ReplyStream`].
pub(crate) enum ReplyEvent {
    /// A peer sent a message. `peek` is the fixed part of its envelope, if there is one. The reader
    /// does not parse that part again.
    Message { peek: Option<Peek>, frames: Frames },
    /// A call failed: all peers refused it, or its connection was lost. The error has the call id,
    /// and is marked as unsent if no peer has begun to carry the call out.
    Failed(Error),
}

impl ReplyStream {
    /// Opens a balancer for requests, and the stream of its replies. Waits until the peers are
    /// connected, for up to one second.
    ///
    /// # Errors
    ///
    /// Those of [`Balancer::open`].
    pub(crate) async fn open(
        settings: &Settings,
        endpoints: &EndpointSet,
        bound: &BoundEndpoints,
    ) -> Result<(Arc<Balancer>, Self)> {
        let (sender, lost) = mpsc::unbounded_channel();
        let (successor, last_reader) = oneshot::channel();
        let balancer =
            Balancer::open_with(settings, Traffic::Requests, endpoints, bound, Some(sender))
                .await?;
        balancer.one_way_linger.read_by(last_reader);
        let replies = Self {
            balancer: balancer.clone(),
            sources: Vec::new(),
            // No version of the peer set, so that the first poll adds the sources.
            version: usize::MAX,
            current: 0,
            lost,
            attempts: FuturesUnordered::new(),
            successor: Some(successor),
        };
        Ok((balancer, replies))
    }

    /// Returns the next event, or `None` when the balancer is closed.
    ///
    /// Messages come before lost calls. A stream of messages that never pauses therefore delays the
    /// errors of lost calls, but no reply is taken for lost that has arrived.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<ReplyEvent>> {
        // The balancer and the set of peers are looked at between the batches of an engine only.
        while let Some(source) = self.sources.get_mut(self.current)
            && let Some(frames) = source.take_read(cx)
        {
            if let Some(event) = self.process(self.sources[self.current].peer(), frames) {
                return Poll::Ready(Some(event));
            }
        }
        while !self.balancer.is_closed() {
            match self.poll_message(cx) {
                Poll::Ready((peer, frames)) => {
                    if let Some(event) = self.process(peer.as_ref(), frames) {
                        return Poll::Ready(Some(event));
                    }
                }
                // After the messages, so that a call whose reply has arrived is not taken for lost.
                Poll::Pending => match ready!(self.poll_lost(cx)) {
                    Some(None) => {}
                    event => return Poll::Ready(event.flatten()),
                },
            }
        }
        Poll::Ready(None)
    }

    /// Returns the next message and the peer that sent it, if that one is still connected. Reads on
    /// at one source while it has messages, since those come in batches.
    fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<(Option<Arc<PeerConnection>>, Frames)> {
        self.update_sources(cx);
        for _ in 0..self.sources.len() {
            // The end of a stream means that its socket is closed, and its peer is removed or will
            // be in a moment.
            match &mut self.sources[self.current] {
                ReplySource::Peer(peer, messages) => {
                    if let Poll::Ready(Some(frames)) = messages.poll_next_unpin(cx) {
                        return Poll::Ready((Some(peer.clone()), frames));
                    }
                }
                ReplySource::Inbound(messages) => {
                    if let Poll::Ready(Some((connection, frames))) = messages.poll_next_unpin(cx) {
                        let kind = PeerKind::Inbound(connection);
                        return Poll::Ready((self.balancer.peers().find(kind), frames));
                    }
                }
            }
            self.current = (self.current + 1) % self.sources.len();
        }
        Poll::Pending
    }

    /// Adds and removes sources after a change of the peer set.
    fn update_sources(&mut self, cx: &Context<'_>) {
        let version = self.balancer.version(cx.waker());
        if version == self.version {
            return;
        }
        let peers = self.balancer.peers().all();
        self.sources.retain(|source| match source {
            ReplySource::Peer(peer, _) => peers.iter().any(|other| Arc::ptr_eq(peer, other)),
            ReplySource::Inbound(_) => true,
        });
        for peer in peers.iter().filter(|peer| !matches!(peer.kind(), PeerKind::Inbound(_))) {
            if !self.sources.iter().any(|source| source.is_of(peer)) {
                self.sources.push(ReplySource::Peer(peer.clone(), peer.replies()));
            }
        }
        if let Some(inbound) = self.balancer.endpoints().inbound()
            && !self.sources.iter().any(|source| matches!(source, ReplySource::Inbound(_)))
        {
            self.sources.push(ReplySource::Inbound(inbound.replies()));
        }
        (self.current, self.version) = (0, version);
    }

    /// Records a message at its peer. Returns an event, unless the call is sent again, or the
    /// message concerns a call that has expired.
    fn process(&self, peer: Option<&Arc<PeerConnection>>, frames: Frames) -> Option<ReplyEvent> {
        let peek = wire::peek(&frames);
        if let Some(Peek { kind: Kind::Leave, id, .. }) = peek {
            self.process_leave(peer, id, frames);
            return None;
        }
        if let Some(Peek { kind: Kind::Refusal, id: Some(id), .. }) = peek {
            return match peer.and_then(|peer| peer.record_refusal(id)) {
                Some(call) => {
                    let was_lost = call.losses > 0;
                    self.try_next_peer(call, || ReplyEvent::Failed(refused(id, was_lost)))
                }
                None => self.late_refusal(id),
            };
        }
        let Some(Peek { kind, id: Some(id), .. }) = peek else {
            return Some(ReplyEvent::Message { peek, frames });
        };
        match kind {
            Kind::Loss => {
                // The calls of a peer that is gone were lost with its connection.
                let peer = peer?;
                let call = peer.take_lost(id)?;
                self.resend_lost(LostCall { call, endpoint: peer.name().clone() })
            }
            Kind::Reply => {
                let is_declined = || wire::is_declined(&frames);
                let recorded =
                    peer.map_or(RecordedReply::Late, |peer| peer.record_reply(id, is_declined));
                match recorded {
                    RecordedReply::Ended => Some(ReplyEvent::Message { peek, frames }),
                    RecordedReply::Declined(call) => {
                        self.try_next_peer(call, || ReplyEvent::Message { peek, frames })
                    }
                    RecordedReply::Late => self.late_reply(id, peek, frames),
                }
            }
            // No server sends another kind. The reader reports the message.
            _ => Some(ReplyEvent::Message { peek, frames }),
        }
    }

    /// Returns the event of a reply that is read after its call was lost with the connection, or
    /// given up. The reply ends a resend. A declined one does not: `None` if the call is sent
    /// again, or was.
    fn late_reply(&self, id: CallId, peek: Option<Peek>, frames: Frames) -> Option<ReplyEvent> {
        if wire::is_declined(&frames) && self.is_held(id) {
            return None;
        }
        self.balancer.resends().forget(id);
        Some(ReplyEvent::Message { peek, frames })
    }

    /// Returns the event of a refusal that is read after its call was lost with the connection, or
    /// given up. `None` if the call is sent again, or was.
    ///
    /// A call that is not sent again was at this server only, which has not begun it. Or it is
    /// idempotent, so that its caller may send it again.
    fn late_refusal(&self, id: CallId) -> Option<ReplyEvent> {
        (!self.is_held(id)).then(|| ReplyEvent::Failed(refused(id, false)))
    }

    /// Returns whether a call is to be sent again, or is in flight at a peer.
    fn is_held(&self, id: CallId) -> bool {
        let peers = self.balancer.peers().all();
        self.balancer.resends().holds(id, || peers.iter().any(|peer| peer.has(id)))
    }

    /// Records the answer to a question, or that a server leaves, which is answered.
    fn process_leave(
        &self,
        peer: Option<&Arc<PeerConnection>>,
        id: Option<CallId>,
        frames: Frames,
    ) {
        if let (Some(peer), Some(bounds)) = (peer, wire::stated_bounds(&frames)) {
            peer.record_bounds(bounds);
        }
        if let Some(peer) = peer.filter(|peer| peer.record_leave(id, frames)) {
            self.attempts.push(peer.clone().answer_leave().map(|()| None).boxed());
        }
    }

    /// Reads the answers to questions, and drops all other messages: the balancer is closed, and
    /// its calls have failed. Never resolves.
    async fn read_answers(&mut self) {
        // Servers that leave as well may still wait for their answers.
        for peer in self.balancer.peers().all().iter() {
            self.attempts.push(peer.clone().answer_leave().map(|()| None).boxed());
        }
        loop {
            let (peer, frames) = poll_fn(|cx| {
                while let Poll::Ready(Some(_)) = self.attempts.poll_next_unpin(cx) {}
                self.poll_message(cx)
            })
            .await;
            if let Some(Peek { kind: Kind::Leave, id, .. }) = wire::peek(&frames) {
                self.process_leave(peer.as_ref(), id, frames);
            }
        }
    }

    /// Returns the event of a call that failed because its connection was lost. `Some(None)` means
    /// that a call is sent again, and `None` that the balancer is closed.
    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<Option<Option<ReplyEvent>>> {
        if let Poll::Ready(Some(event)) = self.attempts.poll_next_unpin(cx) {
            return Poll::Ready(Some(event));
        }
        let lost = ready!(self.lost.poll_recv(cx));
        Poll::Ready(lost.map(|lost| self.resend_lost(lost)))
    }
}

impl Drop for ReplyStream {
    fn drop(&mut self) {
        let Some(successor) = self.successor.take().filter(|_| self.balancer.state.was_closed())
        else {
            return;
        };
        let mut rest = Self {
            balancer: self.balancer.clone(),
            sources: std::mem::take(&mut self.sources),
            version: self.version,
            current: 0,
            lost: mpsc::unbounded_channel().1,
            attempts: FuturesUnordered::new(),
            successor: None,
        };
        // A failure means that no answer is waited for.
        let _ = successor.send(async move { rest.read_answers().await }.boxed());
    }
}

/// Returns the error of a call that all peers refused. It is marked as unsent if none of them can
/// have carried the call out.
fn refused(id: CallId, was_lost: bool) -> Error {
    let text = "cannot send the request: no server takes calls to this service";
    let error = Error::new(ErrorKind::Unroutable, text).with_call(id);
    // The request was sent but not carried out, so a second attempt is safe. The exception is a
    // request that a peer had which disconnected before its reply.
    if was_lost { error } else { error.unsent() }
}
