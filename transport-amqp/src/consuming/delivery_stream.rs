//! The receiving half that an endpoint handle polls.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use polywire_core::health::{CanaryReceiver, EndpointReporter, PendingCanaries};
use polywire_core::transport::{Abandoned, Answer, Delivery, Inbound, Outcome, Settle};
use polywire_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::consuming::acker::ChannelAcker;
use crate::consuming::buffered_delivery::{BufferedDelivery, FetchedReceiver};
use crate::consuming::cancellation::listener::Control;
use crate::consuming::republisher::Republisher;
use crate::consuming::republishing_settle::RepublishingSettle;
use crate::shared::AmqpShared;
use crate::wire::native::{self, Canary};

/// Stream of deliveries from a [`ConsumerTask`]. Dropping the stream stops the task, which cancels
/// the consumer and requeues what is left in the buffer.
///
/// One endpoint handle owns and polls the stream. After the transport is closed, the stream yields
/// nothing more.
///
/// [`ConsumerTask`]: crate::consuming::consumer_task::ConsumerTask
pub(super) struct Deliveries {
    /// The transport, which ends the stream on close.
    pub(super) shared: Arc<AmqpShared>,
    /// The buffer, and the channel over which it returns to the task; `None` once stopped.
    pub(super) fetched: Option<(FetchedReceiver, oneshot::Sender<FetchedReceiver>)>,
    /// Settlement of deliveries that are never republished.
    pub(super) acker: Arc<ChannelAcker>,
    /// Settlement of deliveries that may be republished.
    pub(super) republisher: Arc<Republisher>,
    /// Set if each delivery carries its attempt number.
    pub(super) counts_attempts: bool,
    /// Set once the stream has yielded the error that ends it.
    pub(super) has_failed: bool,
    /// Health of the handle.
    pub(super) health: EndpointReporter,
    /// Canaries that the handle has sent to its own queue.
    pub(super) canaries: PendingCanaries,
    /// Messages of clients about requests that were received here.
    pub(super) control: Option<Control>,
}

impl Deliveries {
    /// Acknowledges a canary, and completes it: here, or at the instance that has sent it.
    fn take_canary(&self, canary: &Canary, tag: u64) {
        self.acker.settle(tag, Outcome::Ack);
        if self.canaries.complete(canary.number, CanaryReceiver::ThisEndpoint) {
            return;
        }
        let name = &self.republisher.consumer_name;
        let instance = format!("process {}, consumer {name}", std::process::id());
        if let Some(answer) = native::encode_canary_answer(canary, &instance) {
            // The sender waits no longer than the answer lasts.
            self.shared.publish_later(answer, |_, _| {});
        }
    }

    /// Attaches the receipt to a delivery.
    fn deliver(&self, mut fetched: BufferedDelivery) -> Delivery {
        let settle: Arc<dyn Settle> = match fetched.take_republish() {
            Some(copy) => Arc::new(RepublishingSettle::new(self.republisher.clone(), copy)),
            None => self.acker.clone(),
        };
        self.health.count_received();
        fetched.into_delivery(settle)
    }
}

impl Stream for Deliveries {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = loop {
            let Self { shared, fetched: Some((buffer, _)), acker, .. } = &mut *self else {
                return Poll::Ready(None);
            };
            // After close, the broker requeues what is left in the buffer.
            if shared.tasks.is_closed() {
                return Poll::Ready(None);
            }
            match ready!(buffer.poll_recv(cx)) {
                // The broker redelivers this message; delivering it here too would run it twice.
                Some(Ok(fetched)) if acker.is_lost(fetched.tag) => {}
                Some(Ok(BufferedDelivery { tag, canary: Some(canary), .. })) => {
                    self.take_canary(&canary, tag);
                }
                next => break next,
            }
        };
        let next = match next {
            // The task is gone without a word: its runtime has ended, or it panicked.
            None if !self.has_failed && !self.shared.tasks.is_closed() => {
                let text = "cannot receive: the task of the consumer has ended with its runtime";
                Some(Err(Error::new(ErrorKind::Closed, text).fatal()))
            }
            next => next,
        };
        self.has_failed |= matches!(&next, Some(Err(error)) if error.is_fatal());
        Poll::Ready(next.map(|next| next.map(|fetched| self.deliver(fetched))))
    }
}

impl Inbound for Deliveries {
    /// Sends the buffer to the task, which cancels the consumer first and requeues the buffer
    /// second. A second call has no effect on the task.
    fn stop(mut self: Pin<&mut Self>) {
        self.health.end();
        if let Some((fetched, stop)) = self.fetched.take() {
            // The task cancels the consumer before it requeues; otherwise the broker would deliver
            // the requeued messages here again.
            drop(stop.send(fetched));
        }
    }

    fn counts_attempts(&self) -> bool {
        self.counts_attempts
    }

    fn health(&self) -> Option<EndpointReporter> {
        Some(self.health.clone())
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        let Some(control) = &mut self.control else { return Poll::Pending };
        match ready!(control.abandoned.poll_recv(cx)) {
            Some(call) => Poll::Ready(call),
            // The transport is closed.
            None => {
                self.control = None;
                Poll::Pending
            }
        }
    }

    fn poll_answer(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        let Some(control) = &mut self.control else { return Poll::Pending };
        // The sender lives in the same struct, so the stream does not end.
        ready!(control.answers.poll_recv(cx)).map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        Pin::new(self).stop();
    }
}
