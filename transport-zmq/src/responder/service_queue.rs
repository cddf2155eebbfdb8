//! Queue of one service, and its consumers. No I/O and no tasks: state and wakers.
//!
//! The consumer that polls first takes the oldest request. Each consumer is woken for each change,
//! since one that is woken alone might be stopped or dropped before it takes the request.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use polywire_core::transport::{Abandoned, Delivery};
use polywire_core::{Deadline, Message, Result};
use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::queue_consumer::{Consumer, IdleFlag};
use crate::lock::lock;

/// The requests of one service that wait for a responder.
///
/// The bound is the sum of the windows of all consumers. Up to 1,000 more requests are queued while
/// the bodies hold less than 16 MiB, so that cancellations are read while all windows are full. A
/// full queue stops the reader, and requests wait in the sockets of both sides.
///
/// Declined requests are queued beyond the bound, since they were within it before.
#[derive(Default)]
pub(super) struct ServiceQueue {
    state: Mutex<QueueState>,
    /// Wakes the task that waits for room.
    changed: Notify,
}

/// Requests beyond the windows that are read ahead: 1,000.
const READ_AHEAD_MAX: usize = 1000;
/// Bytes of queued bodies at which reading ahead stops: 16 MiB.
const READ_AHEAD_BYTES_MAX: usize = 16 << 20;
#[derive(Default)]
struct QueueState {
    queued: VecDeque<QueuedRequest>,
    /// Bytes of the queued bodies.
    bytes: usize,
    /// The consumers by number. The queue is removed with the last one.
    consumers: FxHashMap<u64, Consumer>,
    /// Set once. The consumers end, and nothing can be added.
    closed: bool,
}

/// A queued request, and the consumers that have declined it. They get the request again only if no
/// other consumer is left.
struct QueuedRequest {
    request: Result<Delivery>,
    /// Empty for a request that comes from the socket.
    declined_by: Vec<u64>,
}

/// A request that a consumer has taken.
pub(super) struct TakenRequest {
    /// The delivery, or the error that the stream of the responder yields.
    pub(super) request: Result<Delivery>,
    /// The consumers that have had the request, with the one that takes it. `None` if there are no
    /// others that could take it, so that it need not be kept.
    pub(super) tried: Option<Vec<u64>>,
}

impl ServiceQueue {
    /// Creates a queue that is closed from the start: it takes no request.
    pub(super) fn closed() -> Self {
        let state = QueueState { closed: true, ..QueueState::default() };
        Self { state: Mutex::new(state), changed: Notify::new() }
    }

    /// Adds a consumer, which adds its window to the bound. Returns the flag that shows whether the
    /// queue has nothing for it.
    pub(super) fn add_consumer(&self, consumer: u64, window: usize) -> Arc<IdleFlag> {
        let added = Consumer::new(window);
        let is_idle = added.is_idle();
        lock(&self.state).consumers.insert(consumer, added);
        is_idle
    }

    /// Adds a request, after waiting for room. Returns the request if there is no consumer, or the
    /// last one is removed while it waits.
    ///
    /// Only the task of the dispatcher waits here, so one waiting request is woken at a time. If
    /// the future is dropped, the request is dropped with it.
    pub(super) async fn push(&self, request: Result<Delivery>) -> Result<(), Result<Delivery>> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Enabled before the check, so that no change in between is missed.
            changed.as_mut().enable();
            {
                let mut state = lock(&self.state);
                if state.is_unserved() {
                    return Err(request);
                }
                if state.has_room() {
                    state.push(QueuedRequest::new(request));
                    return Ok(());
                }
            }
            changed.await;
        }
    }

    /// Adds a request even beyond the bound. Returns the request if there is no consumer.
    ///
    /// Used for one request each time that the sole consumer gets company, and for requests that
    /// are read while the queue [has room](Self::has_room). So the bound is exceeded by one request
    /// at most.
    pub(super) fn push_beyond(&self, request: Result<Delivery>) -> Result<(), Result<Delivery>> {
        let mut state = lock(&self.state);
        if state.is_unserved() {
            return Err(request);
        }
        state.push(QueuedRequest::new(request));
        Ok(())
    }

    /// Adds a declined request for the consumers that have not had it. Returns the message if there
    /// is none; the caller then gets the fault. `tried` are the consumers that have declined.
    pub(super) fn push_declined(
        &self,
        message: Box<Message>,
        tried: &[u64],
    ) -> Result<(), Box<Message>> {
        let mut state = lock(&self.state);
        let has_others =
            state.consumers.iter().any(|(id, consumer)| !consumer.stopped && !tried.contains(id));
        if state.closed || !has_others {
            return Err(message);
        }
        // Without a check for room: the request was within the bound before.
        let request = Ok(Delivery::settled(message));
        state.push(QueuedRequest { request, declined_by: tried.to_vec() });
        Ok(())
    }

    /// Returns whether more requests may be read.
    pub(super) fn has_room(&self) -> bool {
        lock(&self.state).has_room()
    }

    /// Removes a queued call that its caller no longer waits for. A call whose deadline has passed
    /// stays, for its consumer to count. If the call is not queued, reports it to all consumers:
    /// one of them has taken it, and the queue does not record which.
    pub(super) fn abandon(&self, call: &Abandoned) {
        let mut state = lock(&self.state);
        if let Some(at) = state.queued.iter().position(|queued| is_of(&queued.request, call)) {
            if call.is_expired {
                if let Some(QueuedRequest { request: Ok(delivery), .. }) = state.queued.get_mut(at)
                {
                    delivery.message.deadline = Some(Deadline::after_ms(0));
                }
                return;
            }
            if let Some(QueuedRequest { request, .. }) = state.queued.remove(at) {
                state.bytes -= size(&request);
            }
            return self.changed.notify_one();
        }
        for consumer in state.consumers.values_mut() {
            consumer.abandoned.push(call.clone());
        }
        state.wake_consumers();
    }

    /// Returns whether a consumer has unreported abandoned calls.
    pub(super) fn has_abandoned(&self, consumer: u64) -> bool {
        let state = lock(&self.state);
        state.consumers.get(&consumer).is_some_and(|consumer| !consumer.abandoned.is_empty())
    }

    /// Takes an abandoned call. If there is none, registers the waker for the next one.
    ///
    /// The consumer need not have taken the call: core ignores calls that it does not process.
    pub(super) fn take_abandoned(&self, consumer: u64, cx: &Context<'_>) -> Option<Abandoned> {
        let mut state = lock(&self.state);
        let consumer = state.consumers.get_mut(&consumer)?;
        let abandoned = consumer.abandoned.pop();
        if abandoned.is_none() {
            consumer.register(cx);
        }
        abandoned
    }

    /// Takes the next request for a consumer, or registers its waker. Returns `None` when the queue
    /// is closed.
    pub(super) fn poll_take(&self, consumer: u64, cx: &Context<'_>) -> Poll<Option<TakenRequest>> {
        let mut state = lock(&self.state);
        if state.closed {
            return Poll::Ready(None);
        }
        let Some(QueuedRequest { request, mut declined_by }) = state.take_for(consumer) else {
            let is_empty = state.queued.is_empty();
            if let Some(consumer) = state.consumers.get_mut(&consumer) {
                consumer.register(cx);
                consumer.set_idle(is_empty);
            }
            return Poll::Pending;
        };
        self.changed.notify_one();
        let tried = (state.consumers.len() > 1).then(|| {
            declined_by.push(consumer);
            declined_by
        });
        Poll::Ready(Some(TakenRequest { request, tried }))
    }

    /// Wakes all consumers, to check again.
    pub(super) fn wake_consumers(&self) {
        lock(&self.state).wake_consumers();
    }

    /// Stops a consumer: it takes only requests that no other consumer would take.
    pub(super) fn stop(&self, consumer: u64) {
        let mut state = lock(&self.state);
        if let Some(consumer) = state.consumers.get_mut(&consumer) {
            consumer.stopped = true;
        }
        state.wake_consumers();
    }

    /// Removes a consumer, and its window from the bound. If it was the last one, returns the
    /// queued requests, to be refused. `None` means that others are left, or the consumer was
    /// removed before.
    pub(super) fn remove_consumer(&self, consumer: u64) -> Option<Vec<Result<Delivery>>> {
        let mut state = lock(&self.state);
        state.consumers.remove(&consumer)?;
        state.wake_consumers();
        self.changed.notify_one();
        state.consumers.is_empty().then(|| state.take_all())
    }

    /// Closes the queue, which ends its consumers. Returns the queued requests.
    pub(super) fn close(&self) -> Vec<Result<Delivery>> {
        let mut state = lock(&self.state);
        state.closed = true;
        state.wake_consumers();
        self.changed.notify_one();
        state.take_all()
    }
}

/// Returns the size that a request counts with.
fn size(request: &Result<Delivery>) -> usize {
    request.as_ref().map_or(0, |delivery| delivery.message.body.len())
}

/// Returns whether a request is the one of a call. Errors and one-way calls are of none.
fn is_of(request: &Result<Delivery>, call: &Abandoned) -> bool {
    let Ok(Delivery { message, .. }) = request else { return false };
    message.id == Some(call.id) && message.reply_to.as_ref() == Some(&call.reply_to)
}

impl QueuedRequest {
    /// Wraps a request that no consumer has declined.
    fn new(request: Result<Delivery>) -> Self {
        Self { request, declined_by: Vec::new() }
    }
}

impl QueueState {
    /// Returns whether no consumer will take a request.
    fn is_unserved(&self) -> bool {
        self.consumers.is_empty() || self.closed
    }

    /// Returns whether one more request is within the bound.
    fn has_room(&self) -> bool {
        let windows: usize = self.consumers.values().map(|consumer| consumer.window).sum();
        let queued = self.queued.len();
        queued < windows || (queued < windows + READ_AHEAD_MAX && self.bytes < READ_AHEAD_BYTES_MAX)
    }

    /// Adds a request at the end and wakes the consumers.
    fn push(&mut self, queued: QueuedRequest) {
        self.bytes += size(&queued.request);
        self.queued.push_back(queued);
        self.wake_consumers();
    }

    /// Removes the first request that a consumer may take.
    fn take_for(&mut self, consumer: u64) -> Option<QueuedRequest> {
        let own = self.consumers.get(&consumer)?;
        // A stopped consumer takes a request, in order to refuse it, only if all are stopped.
        if own.stopped && !self.consumers.values().all(|other| other.stopped) {
            return None;
        }
        // A request that all remaining consumers have declined goes to one of them again, which
        // replies that it declines.
        let may_take = |QueuedRequest { declined_by, .. }: &QueuedRequest| {
            !declined_by.contains(&consumer)
                || self
                    .consumers
                    .iter()
                    .all(|(id, other)| other.stopped || declined_by.contains(id))
        };
        let at = self.queued.iter().position(may_take)?;
        let queued = self.queued.remove(at)?;
        self.bytes -= size(&queued.request);
        Some(queued)
    }

    /// Removes all requests, to be refused.
    fn take_all(&mut self) -> Vec<Result<Delivery>> {
        self.bytes = 0;
        self.queued.drain(..).map(|queued| queued.request).collect()
    }

    /// Wakes all consumers, since one that is woken alone might not take the request.
    fn wake_consumers(&mut self) {
        self.consumers.values_mut().for_each(Consumer::wake);
    }
}
