//! Receiving half of a handle whose deliveries another task reads.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use tokio::task::coop::poll_proceed;

use super::LinkMonitor;
use crate::error::{Error, ErrorKind, Result};
use crate::health::EndpointReporter;
use crate::transport::{Delivery, Inbound};

/// Receiving half of a handle whose deliveries a task of the backend reads from its connection. It
/// is for backends with settlement, and for the replies of any requester.
///
/// - The stream ends when the [`LinkMonitor`] closes, also if deliveries wait.
/// - [`stop`](Inbound::stop) first calls the function that stops the consumer at the broker, then
///   drops what waits, whose receipts requeue. In the other order, the broker would deliver it to
///   this handle again. Dropping the value is the same.
/// - A delivery that arrives after the stop is dropped, and so requeued, too.
///
/// The queue has no bound of its own. The [window](crate::Window) of the handle bounds the
/// deliveries that have to be settled, if the source respects it and [`DeliveryFeed::lost`] drops
/// those of a lost connection. The calls in flight bound the replies. Events that need no
/// settlement have no bound here: a subscriber of them needs a bounded channel.
///
/// ```
/// use polywire_core::transport::kit::{DeliveryQueue, LinkMonitor};
/// use polywire_core::transport::{Delivery, Receiver};
/// use polywire_core::{Error, Message};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let monitor = LinkMonitor::new();
/// let stop_at_broker = || {}; // queues a frame
/// let (feed, queue) = DeliveryQueue::new(&monitor, stop_at_broker);
/// let mut receiver = Receiver::new(queue);
/// feed.push(Ok(Delivery::settled(Message::new("reply"))));
/// assert_eq!(receiver.next().await.unwrap()?.message.body.len(), 5);
/// # Ok(())
/// # }
/// ```
pub struct DeliveryQueue {
    waiting: Arc<Waiting>,
    monitor: LinkMonitor,
    closing: BoxFuture<'static, ()>,
    /// Taken by the stop.
    on_stop: Option<Box<dyn FnOnce() + Send>>,
    health: Option<EndpointReporter>,
    /// Set once the stream has yielded the reason for its end.
    has_failed: bool,
}

/// Side of a [`DeliveryQueue`] for the task that reads. When its last clone is dropped, the stream
/// yields a fatal error, unless it had one, and ends.
pub struct DeliveryFeed(Arc<Waiting>);

/// Items that wait for the reader of a queue.
#[derive(Default)]
struct Waiting(Mutex<WaitingItems>);

#[derive(Default)]
struct WaitingItems {
    items: VecDeque<Result<Delivery>>,
    reader: Option<Waker>,
    /// Clones of the feed.
    feeds: usize,
    is_stopped: bool,
}

impl Waiting {
    /// Locks the items. No receipt is dropped under the lock, since its settlement is code of the
    /// backend.
    fn lock(&self) -> MutexGuard<'_, WaitingItems> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DeliveryQueue {
    /// Creates both sides. `on_stop` is called once, at the stop or the drop, and must not wait: it
    /// queues the frame that stops the consumer.
    #[must_use]
    pub fn new(
        monitor: &LinkMonitor,
        on_stop: impl FnOnce() + Send + 'static,
    ) -> (DeliveryFeed, Self) {
        let waiting = Arc::<Waiting>::default();
        waiting.lock().feeds = 1;
        let (monitor, closing) = (monitor.clone(), monitor.when_closing());
        let on_stop: Option<Box<dyn FnOnce() + Send>> = Some(Box::new(on_stop));
        let feed = DeliveryFeed(waiting.clone());
        (feed, Self { waiting, monitor, closing, on_stop, health: None, has_failed: false })
    }

    /// Sets the reporter of the handle's health, which then counts the deliveries and learns of the
    /// stop. The default is none.
    #[must_use]
    pub fn with_health(mut self, reporter: EndpointReporter) -> Self {
        self.health = Some(reporter);
        self
    }
}

impl DeliveryFeed {
    /// Adds a delivery, or an error about one or all calls. It wakes the reader of the stream, and
    /// does not wait.
    pub fn push(&self, item: Result<Delivery>) {
        let mut waiting = self.0.lock();
        if waiting.is_stopped {
            drop(waiting);
            // The receipt of a delivery requeues it.
            return drop(item);
        }
        waiting.items.push_back(item);
        let reader = waiting.reader.take();
        drop(waiting);
        reader.into_iter().for_each(Waker::wake);
    }

    /// Drops the deliveries of a lost connection that wait and have to be settled: their source
    /// delivers them again. Replies and errors stay. Call it before the first push of the next
    /// connection.
    pub fn lost(&self) {
        let mut waiting = self.0.lock();
        let (lost, kept): (VecDeque<_>, VecDeque<_>) = std::mem::take(&mut waiting.items)
            .into_iter()
            .partition(|item| matches!(item, Ok(delivery) if delivery.receipt.is_some()));
        waiting.items = kept;
        drop(waiting);
        drop(lost);
    }
}

impl Clone for DeliveryFeed {
    fn clone(&self) -> Self {
        self.0.lock().feeds += 1;
        Self(self.0.clone())
    }
}

impl Drop for DeliveryFeed {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        waiting.feeds -= 1;
        let reader = if waiting.feeds == 0 { waiting.reader.take() } else { None };
        drop(waiting);
        reader.into_iter().for_each(Waker::wake);
    }
}

impl Stream for DeliveryQueue {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // The future is not polled again after it has resolved.
        if self.monitor.is_closing() || self.closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let budget = ready!(poll_proceed(cx));
        let (next, is_stopped) = {
            let mut waiting = self.waiting.lock();
            let next = waiting.items.pop_front();
            if next.is_none() && waiting.feeds > 0 && !waiting.is_stopped {
                waiting.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            (next, waiting.is_stopped)
        };
        budget.made_progress();
        let ends_without_reason = next.is_none() && !is_stopped && !self.has_failed;
        let next = next.or_else(|| {
            let text = "cannot receive: the task that reads the connection has ended";
            ends_without_reason.then(|| Err(Error::new(ErrorKind::Closed, text).fatal()))
        });
        self.has_failed |= matches!(&next, Some(Err(error)) if error.is_fatal());
        if let (Some(Ok(_)), Some(health)) = (&next, &self.health) {
            health.count_received();
        }
        Poll::Ready(next)
    }
}

impl Inbound for DeliveryQueue {
    fn stop(mut self: Pin<&mut Self>) {
        if let Some(health) = &self.health {
            health.end();
        }
        if let Some(on_stop) = self.on_stop.take() {
            on_stop();
        }
        let dropped = {
            let mut waiting = self.waiting.lock();
            waiting.is_stopped = true;
            std::mem::take(&mut waiting.items)
        };
        drop(dropped);
    }

    fn health(&self) -> Option<EndpointReporter> {
        self.health.clone()
    }
}

impl Drop for DeliveryQueue {
    fn drop(&mut self) {
        Pin::new(self).stop();
    }
}

impl fmt::Debug for DeliveryQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeliveryQueue").field("monitor", &self.monitor).finish_non_exhaustive()
    }
}

impl fmt::Debug for DeliveryFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeliveryFeed")
    }
}
