//! The receiving half of a calling end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use futures_core::stream::BoxStream;
use polywire_core::{Address, CallId, Delivery, Error, ErrorKind, Inbound, Limits, Result};
use tokio::sync::mpsc::UnboundedReceiver;

use super::links::Links;
use crate::wire::{Frames, Garbled, Native, Role, Wire};

/// What arrives on the links of an end, read where it is polled: a task in between would cost a switch per reply.
pub(super) struct Replies {
    links: Arc<Links>,
    streams: Vec<BoxStream<'static, Frames>>,
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
        let streams = links.iter().map(|link| link.replies()).collect();
        Self { links, streams, at: 0, failed, limits, service }
    }

    /// The next frames, and the number of the link they came on.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<(usize, Frames)> {
        for _ in 0..self.streams.len() {
            let at = self.at;
            // A stream that has ended is that of a closed socket, and the whole end is closed with it.
            if let Poll::Ready(Some(frames)) = self.streams[at].as_mut().poll_next(cx) {
                return Poll::Ready((at, frames));
            }
            self.at = (at + 1) % self.streams.len();
        }
        Poll::Pending
    }

    /// Makes a delivery of frames. `None` if a request was refused, and went to another link.
    fn read(&self, at: usize, frames: Frames) -> Option<Result<Delivery>> {
        let link = &self.links[at];
        match Native.decode(frames, &self.limits) {
            Ok((Role::Reply, message)) => {
                if let Some(call) = message.id {
                    link.answered(call);
                }
                Some(Ok(Delivery::settled(message)))
            }
            Ok((Role::Refusal, message)) => self.retry(at, message.id?).map(Err),
            Ok((Role::Request(_), _)) => {
                Some(Err(Error::new(ErrorKind::Codec, "a request came where replies come")))
            }
            Err(Garbled { call: Some(call), error, .. }) => {
                link.answered(call);
                Some(Err(error.with_call(call)))
            }
            Err(Garbled { error, .. }) => Some(Err(error)),
        }
    }

    /// Gives a refused request to a link that has not seen it, or fails it.
    fn retry(&self, at: usize, call: CallId) -> Option<Error> {
        let entry = self.links[at].refused(call);
        if let Some(mut entry) = entry
            && let Some(frames) = entry.frames.take()
        {
            let tried = entry.clone();
            let sent = self.links.try_send_to_one(&entry, frames, at + 1, |link| !tried.was_tried(link));
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
                Poll::Ready((at, frames)) => {
                    if let Some(item) = this.read(at, frames) {
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
