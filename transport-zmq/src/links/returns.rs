//! What comes back on the links of an end: replies, and the calls that get none.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use polywire_core::message::CallId;
use polywire_core::{Error, ErrorKind};
use tokio::sync::mpsc::UnboundedReceiver;

use super::{Entry, Link, LinkKind, Links, Loss};
use crate::error::lock;
use crate::wire::{self, Frames, Kind, Peek};

/// What comes back, read where it is polled: a task in between would cost a switch per reply.
///
/// A request that was refused or declined goes to another link, if there is one that has not seen
/// it. One whose server went before it replied is sent again if it is idempotent, and fails
/// otherwise.
pub(crate) struct Returns {
    links: Arc<Links>,
    sources: Vec<Source>,
    /// Which set of links they are of.
    version: usize,
    /// The source that is read now. One that has more is read on, for its batch is at hand.
    at: usize,
    lost: UnboundedReceiver<Loss>,
    /// The calls that are being sent again: as many as there are in flight, at the most. Each says
    /// what came of it, if that is known.
    again: FuturesUnordered<BoxFuture<'static, Option<Returned>>>,
}

/// Something that is read.
enum Source {
    Link(Arc<Link>, BoxStream<'static, Frames>),
    Lobby(BoxStream<'static, (u64, Frames)>),
}

/// What came of a call, or something that is about none.
pub(crate) enum Returned {
    /// What a peer wrote.
    Frames(Frames),
    /// Nothing will come of the call that the error names.
    Failed(Error),
}

impl Returns {
    pub(super) fn new(links: Arc<Links>, lost: UnboundedReceiver<Loss>) -> Self {
        let again = FuturesUnordered::new();
        // No version of the links, so that the first poll looks for them.
        Self { links, sources: Vec::new(), version: usize::MAX, at: 0, lost, again }
    }

    /// What comes next, until the end is closed.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Returned>> {
        while !self.links.is_closed() {
            match self.poll_frames(cx) {
                Poll::Ready((link, frames)) => {
                    if let Some(returned) = self.sort(link.as_deref(), frames) {
                        return Poll::Ready(Some(returned));
                    }
                }
                // After the replies, so that none that is here already is taken for lost.
                Poll::Pending => match ready!(self.poll_lost(cx)) {
                    Some(None) => {}
                    returned => return Poll::Ready(returned.flatten()),
                },
            }
        }
        Poll::Ready(None)
    }

    /// The next frames, and the link they came on, unless it is gone.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<(Option<Arc<Link>>, Frames)> {
        self.follow(cx);
        for _ in 0..self.sources.len() {
            // A stream that has ended is that of a closed socket, whose link is gone or going.
            match &mut self.sources[self.at] {
                Source::Link(link, stream) => {
                    if let Poll::Ready(Some(frames)) = stream.poll_next_unpin(cx) {
                        return Poll::Ready((Some(link.clone()), frames));
                    }
                }
                Source::Lobby(stream) => {
                    if let Poll::Ready(Some((guest, frames))) = stream.poll_next_unpin(cx) {
                        return Poll::Ready((self.links.guest(guest), frames));
                    }
                }
            }
            self.at = (self.at + 1) % self.sources.len();
        }
        Poll::Pending
    }

    /// Reads the links that there are now.
    fn follow(&mut self, cx: &Context<'_>) {
        let version = self.links.version(cx.waker());
        if version == self.version {
            return;
        }
        let links = self.links.all();
        self.sources.retain(|source| match source {
            Source::Link(link, _) => links.iter().any(|other| Arc::ptr_eq(link, other)),
            Source::Lobby(_) => true,
        });
        for link in links.iter().filter(|link| !matches!(link.kind(), LinkKind::Guest(_))) {
            if !self.sources.iter().any(|source| source.is(link)) {
                self.sources.push(Source::Link(link.clone(), link.replies()));
            }
        }
        if let Some(lobby) = self.links.lobby.get()
            && !self.sources.iter().any(|source| matches!(source, Source::Lobby(_)))
        {
            self.sources.push(Source::Lobby(lobby.replies()));
        }
        (self.at, self.version) = (0, version);
    }

    /// Takes note of what came. `None` if that was all there is to do.
    fn sort(&mut self, link: Option<&Link>, frames: Frames) -> Option<Returned> {
        let (Some(Peek { kind, id: Some(call), .. }), Some(link)) = (wire::peek(&frames), link)
        else {
            return Some(Returned::Frames(frames));
        };
        match kind {
            Kind::Refusal => {
                let entry = link.refused(call);
                let was_lost = entry.as_ref().is_some_and(|entry| entry.was_lost);
                self.pass_on(entry, || Returned::Failed(refused(call, was_lost)))
            }
            Kind::Loss => {
                let entry = link.lost(call)?;
                self.lose(Loss { entry, endpoint: link.name().into() })
            }
            _ => match link.answered(call, || wire::is_declined(&frames)) {
                None => Some(Returned::Frames(frames)),
                declined => self.pass_on(declined, || Returned::Frames(frames)),
            },
        }
    }

    /// Gives a request that came back to a link that has not seen it, as soon as there is room. If
    /// there is no such link, that is what comes of it.
    fn pass_on(
        &self,
        entry: Option<Entry>,
        outcome: impl FnOnce() -> Returned,
    ) -> Option<Returned> {
        let Some(mut entry) = entry.map(Entry::returned) else { return Some(outcome()) };
        let (Some(call), Some(mut frames)) = (entry.call, entry.frames.take()) else {
            return Some(outcome());
        };
        if let Some(deadline) = entry.deadline {
            wire::restamp(&mut frames, deadline);
        }
        let Err(frames) = self.links.try_send_to_one(&entry, frames) else { return None };
        if !self.links.has_other(&entry) {
            return Some(outcome());
        }
        lock(&self.links.board.again).insert(call, None);
        let (sending, outcome) = (self.links.send_again(call, entry, frames), outcome());
        self.again.push(sending.map(|failed| failed.then_some(outcome)).boxed());
        None
    }

    /// A call that failed because its server went; `Some(None)` if something was done, and `None`
    /// when the end is closed.
    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<Option<Option<Returned>>> {
        if let Poll::Ready(Some(returned)) = self.again.poll_next_unpin(cx) {
            return Poll::Ready(Some(returned));
        }
        let lost = ready!(self.lost.poll_recv(cx));
        Poll::Ready(lost.map(|loss| self.lose(loss)))
    }

    /// Sends a call again, if that may be done, or fails it.
    fn lose(&self, Loss { mut entry, endpoint }: Loss) -> Option<Returned> {
        let call = entry.call?;
        let error =
            Error::new(ErrorKind::Disconnected, "the connection was lost before the reply came");
        let error = Returned::Failed(error.with("endpoint", endpoint).with_call(call));
        match entry.frames.take().filter(|_| entry.idempotent) {
            Some(frames) => {
                tracing::debug!(%call, "sending an idempotent call again");
                // Whoever refused it may have learnt to serve it.
                let mut again = Entry::new(Some(call), entry.deadline, true);
                again.was_lost = true;
                let sending = self.links.send_again(call, again, frames);
                self.again.push(sending.map(|failed| failed.then_some(error)).boxed());
                None
            }
            None => Some(error),
        }
    }
}

fn refused(call: CallId, was_lost: bool) -> Error {
    let error =
        Error::new(ErrorKind::Unroutable, "no server takes calls to this service").with_call(call);
    // It did leave, but nobody has taken it, so sending it again cannot do the work twice; unless
    // one who is gone had it.
    if was_lost { error } else { error.unsent() }
}

impl Source {
    fn is(&self, link: &Arc<Link>) -> bool {
        matches!(self, Self::Link(own, _) if Arc::ptr_eq(own, link))
    }
}
