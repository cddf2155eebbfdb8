//! The receiving half of an instance: broadcasts as requests.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;

use super::envelope::CallerEvent;
use super::presence::Presence;
use crate::error::{Error, Result};
use crate::health::EndpointReporter;
use crate::message::{CallId, ReplyTo};
use crate::transport::{Abandoned, Delivery, Inbound, Receiver};

/// Receiver of the requests that are broadcast, over a subscription.
///
/// It reads cancels and queries on the way: a cancel is an abandoned call, and a query makes the
/// instance announce itself.
pub(super) struct RequestReceiver {
    receiver: Receiver,
    presence: Arc<Presence>,
    health: Option<EndpointReporter>,
    /// Requests that were read while there was no room for them, at most [`AHEAD_MAX`].
    ahead: VecDeque<Result<Delivery>>,
    /// A cancel that was read in place of a request. Core polls for it before it reads on.
    abandoned: Option<Abandoned>,
    has_ended: bool,
}

/// The number of requests that are read beyond the window, to reach the cancels behind them.
const AHEAD_MAX: usize = 1_000;

impl RequestReceiver {
    pub(super) fn new(mut receiver: Receiver, presence: Arc<Presence>) -> Self {
        let health = receiver.health();
        Self {
            receiver,
            presence,
            health,
            ahead: VecDeque::new(),
            abandoned: None,
            has_ended: false,
        }
    }

    /// Reads the next event that core has to see.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Read> {
        loop {
            if self.has_ended {
                return Poll::Ready(Read::End);
            }
            let Some(next) = ready!(Pin::new(&mut self.receiver).poll_next(cx)) else {
                self.has_ended = true;
                continue;
            };
            let mut delivery = match next {
                Ok(delivery) => delivery,
                Err(error) => return Poll::Ready(Read::Failed(error)),
            };
            match CallerEvent::take(&mut delivery.message) {
                Ok(CallerEvent::Call { .. } | CallerEvent::OneWay) => {
                    return Poll::Ready(Read::Request(delivery));
                }
                Ok(CallerEvent::Cancel { inbox, call }) => {
                    let call = Abandoned::new(ReplyTo::new(inbox), CallId(call));
                    return Poll::Ready(Read::Cancel(call));
                }
                Ok(CallerEvent::Query) => self.presence.answer(),
                Err(error) => return Poll::Ready(Read::Failed(error)),
            }
        }
    }
}

enum Read {
    Request(Delivery),
    Cancel(Abandoned),
    Failed(Error),
    End,
}

impl Stream for RequestReceiver {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(request) = self.ahead.pop_front() {
            return Poll::Ready(Some(request));
        }
        match ready!(self.poll_read(cx)) {
            Read::Request(request) => Poll::Ready(Some(Ok(request))),
            Read::Failed(error) => Poll::Ready(Some(Err(error))),
            Read::End => Poll::Ready(None),
            Read::Cancel(call) => {
                self.abandoned = Some(call);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Inbound for RequestReceiver {
    fn stop(mut self: Pin<&mut Self>) {
        self.presence.drain();
        self.receiver.stop();
    }

    fn health(&self) -> Option<EndpointReporter> {
        self.health.clone()
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Abandoned> {
        self.abandoned.take().map_or(Poll::Pending, Poll::Ready)
    }

    fn poll_read_ahead(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        while self.ahead.len() < AHEAD_MAX && !self.has_ended {
            match ready!(self.poll_read(cx)) {
                Read::Request(request) => self.ahead.push_back(Ok(request)),
                Read::Failed(error) => self.ahead.push_back(Err(error)),
                Read::End => break,
                Read::Cancel(call) => {
                    self.abandoned = Some(call);
                    return Poll::Ready(());
                }
            }
        }
        Poll::Pending
    }
}
