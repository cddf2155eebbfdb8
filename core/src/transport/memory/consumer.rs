//! Consumer of a queue: the receiving half of every endpoint handle that settles.

use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker};

use futures_core::Stream;
use tokio::time::{Sleep, sleep_until};

use super::canary_sender::ConsumerProbe;
use super::open_handles::ManagedHandle;
use super::queue::{ConsumerSignals, Fetch, Fetched, Queue};
use crate::error::Result;
use crate::health::{EndpointReporter, EndpointRole, HealthReporter};
use crate::message::{Address, Message};
use crate::transport::{
    Abandoned, Answer, Delivery, Inbound, Outcome, Receipt, Receiver, Settle, Window,
};

/// Handler of messages that no consumer is left to fetch.
pub(super) trait OrphanHandler: Send + Sync + 'static {
    /// Handles the orphans, possibly none, after a consumer of `queue` settled, stopped or left.
    fn handle(&self, queue: &Arc<Queue>, orphans: Vec<Message>);
}

/// Health entry of a consumer: the reporter of its transport, its role and its name.
pub(super) type HealthEntry<'a> = (&'a HealthReporter, EndpointRole, &'a Address);

/// Adds the consumer `id` to `queue` and opens its receiving half.
pub(super) fn open(
    queue: Arc<Queue>,
    (id, window): (u64, Window),
    orphan_handler: Arc<dyn OrphanHandler>,
    health: HealthEntry<'_>,
) -> (Weak<dyn ManagedHandle>, Receiver) {
    queue.add_consumer(id, window.messages());
    attach(queue, id, orphan_handler, health)
}

/// Opens the receiving half of the consumer `id`, which was added to `queue` before.
pub(super) fn attach(
    queue: Arc<Queue>,
    id: u64,
    orphan_handler: Arc<dyn OrphanHandler>,
    (reporter, role, name): HealthEntry<'_>,
) -> (Weak<dyn ManagedHandle>, Receiver) {
    let probe = Arc::new(ConsumerProbe::new(queue.clone(), id));
    let health = reporter.endpoint(role, name, Some(probe));
    health.set_consuming(true);
    let consumer = Arc::new(Consumer { queue, id, orphan_handler, health });
    let handle: Arc<dyn ManagedHandle> = consumer.clone();
    let signals = consumer.queue.signals(id);
    let receiver =
        Receiver::new(ConsumerStream { consumer, signals, waker: None, retry_timer: None });
    (Arc::downgrade(&handle), receiver)
}

/// Consumer of a queue. Receipts keep it alive.
struct Consumer {
    queue: Arc<Queue>,
    id: u64,
    orphan_handler: Arc<dyn OrphanHandler>,
    health: EndpointReporter,
}

impl Consumer {
    fn stop(&self) {
        self.health.end();
        self.orphan_handler.handle(&self.queue, self.queue.stop_consumer(self.id));
    }
}

impl ManagedHandle for Consumer {
    fn close(&self) {
        self.health.set_consuming(false);
        self.orphan_handler.handle(&self.queue, self.queue.remove_consumer(self.id));
    }
}

impl Settle for Consumer {
    fn settle(&self, tag: u64, outcome: Outcome) {
        self.orphan_handler.handle(&self.queue, self.queue.settle(self.id, tag, outcome));
    }
}

/// Stream of a consumer. The drop stops the consumer.
struct ConsumerStream {
    consumer: Arc<Consumer>,
    signals: Arc<ConsumerSignals>,
    /// The latest waker that was registered for notices.
    waker: Option<Waker>,
    /// Timer of the next delayed retry.
    retry_timer: Option<Pin<Box<Sleep>>>,
}

impl ConsumerStream {
    /// Returns whether there are no notices, and the waker of this task is registered for them.
    /// Most polls need no lock for notices.
    fn is_quiet(&mut self, cx: &Context<'_>) -> bool {
        let is_registered = self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !is_registered {
            self.waker = Some(cx.waker().clone());
        }
        is_registered && !self.signals.has_notices()
    }
}

impl Stream for ConsumerStream {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // The fetch registers this waker, in place of that for notices.
        self.waker.take_if(|waker| !waker.will_wake(cx.waker()));
        let Self { consumer, retry_timer, .. } = &mut *self;
        loop {
            let next_retry = match consumer.queue.fetch(consumer.id, cx) {
                Fetch::Fetched(Fetched { tag, message, attempt }) => {
                    consumer.health.count_received();
                    let receipt = Receipt::new(consumer.clone(), tag);
                    return Poll::Ready(Some(Ok(Delivery::new(message, receipt).attempt(attempt))));
                }
                Fetch::Canary(back) => {
                    // The probe may have stopped waiting.
                    let _ = back.send(());
                    continue;
                }
                Fetch::End => return Poll::Ready(None),
                Fetch::Pending(next_retry) => next_retry,
            };
            let Some(next_retry) = next_retry else {
                *retry_timer = None;
                return Poll::Pending;
            };
            let timer = retry_timer.insert(Box::pin(sleep_until(next_retry)));
            std::task::ready!(timer.as_mut().poll(cx));
        }
    }
}

impl Inbound for ConsumerStream {
    fn stop(self: Pin<&mut Self>) {
        self.consumer.stop();
    }

    fn health(&self) -> Option<EndpointReporter> {
        Some(self.consumer.health.clone())
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        if self.is_quiet(cx) {
            return Poll::Pending;
        }
        self.consumer.queue.poll_abandoned(self.consumer.id, cx)
    }

    fn poll_answer(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        if self.is_quiet(cx) {
            return Poll::Pending;
        }
        self.consumer.queue.poll_answer(self.consumer.id, cx)
    }
}

impl Drop for ConsumerStream {
    fn drop(&mut self) {
        self.consumer.queue.close_stream(self.consumer.id);
        self.consumer.stop();
    }
}
