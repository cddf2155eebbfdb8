//! Receiving half of a handle whose deliveries another task reads.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::future::BoxFuture;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::LinkMonitor;
use crate::error::Result;
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
/// The queue has no bound of its own: the [window](crate::Window) of the handle bounds its
/// unsettled deliveries, and the calls in flight bound the replies. So the source must respect the
/// window.
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
    deliveries: UnboundedReceiver<Result<Delivery>>,
    monitor: LinkMonitor,
    closing: BoxFuture<'static, ()>,
    /// Taken by the stop.
    on_stop: Option<Box<dyn FnOnce() + Send>>,
    health: Option<EndpointReporter>,
}

/// Side of a [`DeliveryQueue`] for the task that reads. The stream ends when its last clone is
/// dropped.
#[derive(Clone)]
pub struct DeliveryFeed(UnboundedSender<Result<Delivery>>);

impl DeliveryQueue {
    /// Creates both sides. `on_stop` is called once, at the stop or the drop, and must not wait: it
    /// queues the frame that stops the consumer.
    #[must_use]
    pub fn new(
        monitor: &LinkMonitor,
        on_stop: impl FnOnce() + Send + 'static,
    ) -> (DeliveryFeed, Self) {
        let (feed, deliveries) = unbounded_channel();
        let (monitor, closing) = (monitor.clone(), monitor.when_closing());
        let on_stop: Option<Box<dyn FnOnce() + Send>> = Some(Box::new(on_stop));
        (DeliveryFeed(feed), Self { deliveries, monitor, closing, on_stop, health: None })
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
        // Without a reader the delivery is dropped here, and its receipt requeues it.
        let _ = self.0.send(item);
    }
}

impl Stream for DeliveryQueue {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // The future is not polled again after it has resolved.
        if self.monitor.is_closing() || self.closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        let next = self.deliveries.poll_recv(cx);
        if let (Poll::Ready(Some(Ok(_))), Some(health)) = (&next, &self.health) {
            health.count_received();
        }
        next
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
        self.deliveries.close();
        while self.deliveries.try_recv().is_ok() {}
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::health::{ConnectionState, EndpointHealth, EndpointRole, HealthReporter};
    use crate::message::{Address, Message};
    use crate::transport::{Outcome, Receipt, Receiver, Settle};

    /// The frames that a backend would write, in their order.
    #[derive(Default)]
    struct Frames(Mutex<Vec<String>>);

    impl Frames {
        fn push(&self, frame: String) {
            self.0.lock().unwrap().push(frame);
        }

        fn take(&self) -> Vec<String> {
            std::mem::take(&mut self.0.lock().unwrap())
        }
    }

    impl Settle for Frames {
        fn settle(&self, tag: u64, outcome: Outcome) {
            self.push(format!("{outcome:?} {tag}"));
        }
    }

    fn open(monitor: &LinkMonitor) -> (Arc<Frames>, DeliveryFeed, DeliveryQueue) {
        let frames = Arc::<Frames>::default();
        let written = frames.clone();
        let (feed, queue) = DeliveryQueue::new(monitor, move || written.push("Stop".to_owned()));
        (frames, feed, queue)
    }

    fn delivery(frames: &Arc<Frames>, tag: u64) -> Result<Delivery> {
        Ok(Delivery::new(Message::default(), Receipt::new(frames.clone(), tag)))
    }

    #[tokio::test]
    async fn consumer_is_stopped_before_its_deliveries_are_requeued() {
        for drops in [false, true] {
            let (frames, feed, queue) = open(&LinkMonitor::new());
            let mut receiver = Receiver::new(queue);
            (1..4).for_each(|tag| feed.push(delivery(&frames, tag)));
            receiver.next().await.unwrap().unwrap().receipt.ack();
            if drops {
                drop(receiver);
            } else {
                receiver.stop();
                assert!(receiver.next().await.is_none());
                receiver.stop();
            }
            assert_eq!(frames.take(), ["Ack 1", "Stop", "Requeue 2", "Requeue 3"]);
            feed.push(delivery(&frames, 4));
            assert_eq!(frames.take(), ["Requeue 4"]);
        }
    }

    #[tokio::test]
    async fn close_ends_the_stream_although_deliveries_wait() {
        let monitor = LinkMonitor::new();
        let (frames, feed, queue) = open(&monitor);
        let mut receiver = Receiver::new(queue);
        feed.push(delivery(&frames, 1));
        monitor.close();
        assert!(receiver.next().await.is_none());
        drop(receiver);
        assert_eq!(frames.take(), ["Stop", "Requeue 1"]);
    }

    #[tokio::test]
    async fn close_wakes_a_reader_that_waits() {
        let monitor = LinkMonitor::new();
        let (_frames, _feed, queue) = open(&monitor);
        let mut receiver = Receiver::new(queue);
        let waiting = tokio::spawn(async move { receiver.next().await.is_none() });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        monitor.close();
        // The tasks of the connection are awaited, and not the readers of its deliveries.
        monitor.unwatched().await;
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn health_counts_deliveries_and_learns_of_the_stop() {
        let health = HealthReporter::new(ConnectionState::Connected);
        let name: Address = "calculator".parse().unwrap();
        let reporter = health.endpoint(EndpointRole::Responder, &name, None);
        reporter.set_consuming(true);
        let (frames, feed, queue) = open(&LinkMonitor::new());
        let mut receiver = Receiver::new(queue.with_health(reporter));
        feed.push(delivery(&frames, 1));
        drop(receiver.next().await);
        assert!(receiver.health().is_some());
        let bound = health.reader().current().endpoints;
        assert_eq!(bound.iter().map(EndpointHealth::received).sum::<u64>(), 1);
        receiver.stop();
        assert_eq!(health.reader().current().bound(), 0);
    }
}
