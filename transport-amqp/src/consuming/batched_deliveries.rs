//! The stream of a server's requests: those of single messages, and those of batches.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};

use futures_core::Stream;
use polywire_core::Result;
use polywire_core::health::EndpointReporter;
use polywire_core::transport::{
    Abandoned, Answer, Delivery, Inbound, LogThrottle, Receipt, Receiver,
};
use tokio::sync::{mpsc, oneshot};

use crate::consuming::acker::ChannelAcker;
use crate::consuming::batch_bounds::BatchBounds;
use crate::consuming::batch_lane::{
    AnnouncedCalls, BatchLane, OnBatchClient, ReceivedBatches, UnbegunCalls,
};
use crate::consuming::batch_settle::BatchSettle;
use crate::consuming::delivery_stream::Deliveries;
use crate::topology::queue_spec::QueueSpec;

/// Stream of requests. Dropping the stream stops the consumers of both queues, which return what
/// was not yielded.
pub(super) struct BatchedDeliveries {
    /// Requests of single messages.
    single: Deliveries,
    /// Batches, and the channel over which they return to the lane; `None` once stopped.
    received: Option<(ReceivedBatches, oneshot::Sender<UnbegunCalls>)>,
    /// The batch that is yielded, and the index of its next call.
    current: Option<(Arc<BatchSettle>, usize)>,
    /// Calls of batches since the single messages were looked at.
    turns: u32,
}

/// Settings of a server that reads batches.
pub(crate) struct BatchSetup {
    /// The queue of batches.
    pub(crate) queue: QueueSpec,
    /// Bounds on the calls of a batch, and on the batches that are held.
    pub(crate) bounds: BatchBounds,
    /// The lane sets 0 whenever its consumer ends.
    pub(crate) announced: AnnouncedCalls,
    /// Runs for each batch that is accepted, before its calls are yielded.
    pub(crate) on_client: OnBatchClient,
}

impl BatchedDeliveries {
    /// Starts the lane of batches beside the stream of single messages. Without a free channel of
    /// the connection, there are no batches.
    pub(super) fn open(single: Deliveries, setup: BatchSetup) -> Receiver {
        let shared = single.shared.clone();
        let Ok(reserved) = shared.consuming_connection.reserve_channels(1) else {
            tracing::warn!(queue = %setup.queue.name, "cannot consume batches: the connection has no free channel");
            return Receiver::new(single);
        };
        let BatchSetup { queue, bounds, announced, on_client } = setup;
        // Those of the channel before may be in the buffer.
        let (sender, received) = mpsc::channel(2 * usize::from(bounds.batches));
        let (stop, stopped) = oneshot::channel();
        let acker = ChannelAcker::start();
        shared.add_acker(&acker);
        let lane = BatchLane {
            shared: shared.clone(),
            queue,
            republisher: single.republisher.clone(),
            acker,
            bounds,
            announced,
            on_client,
            unsettled: Arc::new(AtomicUsize::new(0)),
            sender,
            undecoded: LogThrottle::new(),
        };
        let running = async move {
            let _reserved = reserved;
            lane.run(stopped).await;
        };
        shared.tasks.add(tokio::spawn(running).abort_handle());
        let received = Some((received, stop));
        Receiver::new(Self { single, received, current: None, turns: 0 })
    }

    /// Polls for the next call of a batch.
    fn poll_batched(&mut self, cx: &mut Context<'_>) -> Poll<Delivery> {
        loop {
            // After close, the broker redelivers what was not yielded.
            if self.single.shared.tasks.is_closed() {
                return Poll::Pending;
            }
            if let Some(delivery) = self.next_of_current() {
                return Poll::Ready(delivery);
            }
            let Some((received, _)) = &mut self.received else { return Poll::Pending };
            match received.poll_recv(cx) {
                Poll::Ready(Some(batch)) => self.current = Some((batch, 0)),
                Poll::Ready(None) => self.received = None,
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Returns the next call of the batch that is yielded, if there is one. A batch of a lost
    /// channel is dropped: the broker redelivers it.
    fn next_of_current(&mut self) -> Option<Delivery> {
        let (batch, next) = self.current.as_mut()?;
        let limits = &self.single.shared.config.limits;
        while *next < batch.len() && !batch.is_lost() {
            let index = *next;
            *next += 1;
            if let Some(request) = batch.request(index, limits) {
                let tag = u64::try_from(index).unwrap_or(u64::MAX);
                let delivery = Delivery::new(request, Receipt::new(batch.clone(), tag));
                self.single.health.count_received();
                return Some(delivery);
            }
        }
        self.current = None;
        None
    }

    /// Polls the single messages. A message, an error and the end start a new row of turns.
    fn poll_single(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Delivery>>> {
        let next = Pin::new(&mut self.single).poll_next(cx);
        if next.is_ready() {
            self.turns = 0;
        }
        next
    }
}

impl Stream for BatchedDeliveries {
    type Item = Result<Delivery>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // A queue of batches that is never empty must not hold up the single messages.
        if self.turns >= TURNS_MAX {
            self.turns = 0;
            if let next @ Poll::Ready(_) = self.poll_single(cx) {
                return next;
            }
        }
        if let Poll::Ready(delivery) = self.poll_batched(cx) {
            self.turns += 1;
            return Poll::Ready(Some(Ok(delivery)));
        }
        self.poll_single(cx)
    }
}

impl Inbound for BatchedDeliveries {
    fn stop(mut self: Pin<&mut Self>) {
        Pin::new(&mut self.single).stop();
        let current = self.current.take();
        if let Some((received, stop)) = self.received.take() {
            // The lane cancels its consumer before it returns the calls.
            drop(stop.send(UnbegunCalls { current, received }));
        }
    }

    fn counts_attempts(&self) -> bool {
        self.single.counts_attempts()
    }

    fn health(&self) -> Option<EndpointReporter> {
        self.single.health()
    }

    fn poll_abandoned(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Abandoned> {
        Pin::new(&mut self.single).poll_abandoned(cx)
    }

    fn poll_answer(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        Pin::new(&mut self.single).poll_answer(cx)
    }
}

impl Drop for BatchedDeliveries {
    fn drop(&mut self) {
        Pin::new(self).stop();
    }
}

/// Calls of batches after which the single messages are looked at first.
const TURNS_MAX: u32 = 16;
