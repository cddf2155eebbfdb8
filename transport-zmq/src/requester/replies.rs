//! The receiving half of a calling end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::stream::BoxStream;
use polywire_core::{Address, CallId, Delivery, Error, ErrorKind, Inbound, Limits, Result};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::links::{Link, Links};
use crate::wire::{Frames, Garbled, Native, Role, Wire};

/// What arrives on the links of an end, read where it is polled: a task in between would cost a switch per reply.
pub(super) struct Replies {
    links: Arc<Links>,
    /// The links that are read, and what arrives on them.
    streams: Vec<(Arc<Link>, BoxStream<'static, Frames>)>,
    /// Which set of links that is.
    version: usize,
    /// The link that is read now. One that has more is read on, for its batch is at hand.
    at: usize,
    failed: UnboundedReceiver<Error>,
    limits: Limits,
    service: Address,
}

impl Replies {
    pub(super) fn new(
        links: Arc<Links>,
        failed: UnboundedReceiver<Error>,
        limits: Limits,
        service: Address,
    ) -> Self {
        // No version of the links, so that the first poll looks for them.
        Self { links, streams: Vec::new(), version: usize::MAX, at: 0, failed, limits, service }
    }

    /// The next frames, and the link they came on.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<(Arc<Link>, Frames)> {
        self.follow(cx);
        for _ in 0..self.streams.len() {
            let (link, stream) = &mut self.streams[self.at];
            // A stream that has ended is that of a closed socket, whose link is gone or going.
            if let Poll::Ready(Some(frames)) = stream.as_mut().poll_next(cx) {
                return Poll::Ready((link.clone(), frames));
            }
            self.at = (self.at + 1) % self.streams.len();
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
        self.streams.retain(|(link, _)| links.iter().any(|other| Arc::ptr_eq(link, other)));
        for link in links.iter() {
            if !self.streams.iter().any(|(other, _)| Arc::ptr_eq(link, other)) {
                self.streams.push((link.clone(), link.replies()));
            }
        }
        (self.at, self.version) = (0, version);
    }

    /// Makes a delivery of frames. `None` if a request was refused, and went to another link.
    fn read(&self, link: &Link, frames: Frames) -> Option<Result<Delivery>> {
        match Native.decode(frames, &self.limits) {
            Ok((Role::Reply, message)) => {
                if let Some(call) = message.id {
                    link.answered(call);
                }
                Some(Ok(Delivery::settled(message)))
            }
            Ok((Role::Refusal, message)) => self.retry(link, message.id?).map(Err),
            Ok((role, _)) => {
                let error = Error::new(ErrorKind::Codec, "something else came where replies come");
                Some(Err(error.with("role", format!("{role:?}"))))
            }
            Err(Garbled { call: Some(call), error, .. }) => {
                link.answered(call);
                Some(Err(error.with_call(call)))
            }
            Err(Garbled { error, .. }) => Some(Err(error)),
        }
    }

    /// Gives a refused request to a link that has not seen it, or fails it.
    fn retry(&self, link: &Link, call: CallId) -> Option<Error> {
        let entry = link.refused(call);
        if let Some(mut entry) = entry
            && let Some(frames) = entry.frames.take()
        {
            let tried = entry.clone();
            let sent =
                self.links.try_send_to_one(&entry, frames, self.at + 1, |number| !tried.was_tried(number));
            if sent.is_ok() {
                return None;
            }
        }
        let error = Error::new(ErrorKind::Unroutable, "no server takes calls to this service");
        // It did leave, but nobody has taken it, so sending it again cannot do the work twice.
        Some(error.with("service", &self.service).with_call(call).unsent())
    }
}

impl Stream for Replies {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while !this.links.is_closed() {
            match this.poll_frames(cx) {
                Poll::Ready((link, frames)) => {
                    if let Some(item) = this.read(&link, frames) {
                        return Poll::Ready(Some(item));
                    }
                }
                // After the replies, so that none that is here already is taken for lost.
                Poll::Pending => {
                    let failed = ready!(this.failed.poll_recv(cx));
                    return Poll::Ready(failed.map(Err));
                }
            }
        }
        Poll::Ready(None)
    }
}

impl Inbound for Replies {
    fn stop(self: Pin<&mut Self>) {}
}
