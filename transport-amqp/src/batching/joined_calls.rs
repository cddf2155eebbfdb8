//! The calls of a requester that leave in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use lapin::types::ShortString;
use polywire_core::message::CallId;
use polywire_core::transport::Sending;
use polywire_core::{Deadline, Error, ErrorKind, Message, Result};
use tokio::time::Instant;

use crate::batching::in_flight_calls::InFlightCalls;
use crate::batching::message_joiner::{BatchRoute, MessageJoiner};
use crate::consuming::requester_streams::BatchEvents;
use crate::shared::AmqpShared;
use crate::topology::queue_spec::QueueSpec;
use crate::wire::native::{self, BatchWriter, ENTRIES_MAX, ENTRY_MAX};
use crate::wire::{Correlation, OutgoingMessage};

/// The calls of one requester: those that wait to leave together, and those in flight.
///
/// The requester owns the value, and the reply consumer reports events to it.
pub(crate) struct JoinedCalls(Arc<MessageJoiner<CallRoute>>);

/// The way of calls to the servers of a service.
struct CallRoute {
    shared: Arc<AmqpShared>,
    /// Queue of the service.
    queue: ShortString,
    batches_queue: ShortString,
    /// Number of the requester.
    number: u64,
    announcement: Announcement,
    in_flight: InFlightCalls,
}

/// The latest announcement of a server that it reads batches.
struct Announcement {
    /// Moment from which the milliseconds count.
    start: Instant,
    /// Milliseconds until which the announcement holds.
    until_ms: AtomicU64,
    /// The most calls of a batch.
    calls: AtomicUsize,
}

impl JoinedCalls {
    /// Creates the calls of the requester with this number. `None` if its calls leave alone: the
    /// queue has options that a batch cannot have.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] if the name of the queue of batches is too long for AMQP.
    pub(crate) fn new(
        shared: &Arc<AmqpShared>,
        queue: &QueueSpec,
        number: u64,
    ) -> Result<Option<Arc<Self>>> {
        let Some(batches) = queue.batches_queue()? else { return Ok(None) };
        let route = CallRoute {
            shared: shared.clone(),
            queue: queue.name.clone(),
            batches_queue: batches.name,
            number,
            announcement: Announcement {
                start: Instant::now(),
                until_ms: AtomicU64::new(0),
                calls: AtomicUsize::new(0),
            },
            in_flight: InFlightCalls::default(),
        };
        Ok(Some(Arc::new(Self(MessageJoiner::new(shared.clone(), route)))))
    }

    /// Sends a call with the next batch, or returns the message, which has to leave alone.
    pub(crate) fn send(&self, message: Box<Message>) -> Result<Sending<'_>, Box<Message>> {
        let (Some(id), Some(deadline)) = (message.id, message.deadline) else {
            return Err(message);
        };
        let CallRoute { announcement, in_flight, .. } = self.0.route();
        if in_flight.add(id, deadline) < ALONE_MAX || !announcement.holds() {
            return Err(message);
        }
        match joining_len(&message, deadline) {
            Some(len) => Ok(self.0.send(message, len)),
            None => Err(message),
        }
    }

    /// Learns that the caller of a call waits no longer.
    pub(crate) fn abandoned(&self, call: CallId) {
        self.0.route().in_flight.remove(call);
    }
}

/// Returns the size of the entry of a call that may join a batch.
fn joining_len(message: &Message, deadline: Deadline) -> Option<usize> {
    let is_plain = !message.at_most_once
        && !message.transient
        && !message.keep_expired
        && message.priority.is_none()
        && message.body.len() <= ENTRY_MAX;
    if !is_plain || deadline.remaining() > WAIT_MAX {
        return None;
    }
    native::entry_len(message).filter(|len| *len <= ENTRY_MAX)
}

impl BatchEvents for JoinedCalls {
    fn announced(&self, calls: usize) {
        self.0.route().announcement.renew(calls);
    }

    fn ended(&self, call: CallId) {
        self.0.route().in_flight.remove(call);
    }

    fn all_ended(&self) {
        self.0.route().in_flight.clear();
    }

    /// Sends a call of a batch that has come back again, in a task of its own, if its caller still
    /// waits.
    fn returned(&self, call: CallId, mut message: Message) {
        let Some(deadline) = self.0.route().in_flight.take_returned(call) else { return };
        (message.id, message.deadline) = (Some(call), Some(deadline));
        let joiner = self.0.clone();
        drop(tokio::spawn(async move {
            let route = joiner.route();
            if let Err(error) = route.send_redelivered(message).await {
                let text = "cannot send the call again after its server was lost";
                let error = Error::new(error.kind(), text).with_source(error).with_call(call);
                route.shared.replies.fail(route.number, error);
            }
        }));
    }
}

impl CallRoute {
    /// Sends a call that was delivered before: to the queue of suspects, or to the queue of the
    /// service if its servers isolate no suspects.
    async fn send_redelivered(&self, message: Message) -> Result<()> {
        let suspects = native::suspects_queue(&self.queue)?;
        match self.publish_redelivered(&suspects, message.clone(), true).await {
            Err(error) if error.kind() == ErrorKind::Unroutable => {
                self.publish_redelivered(&self.queue, message, false).await
            }
            sent => sent,
        }
    }

    async fn publish_redelivered(
        &self,
        queue: &ShortString,
        message: Message,
        is_suspect: bool,
    ) -> Result<()> {
        let request = self.encode_for(queue, message)?;
        self.shared.publisher.publish(native::mark_redelivered(request, is_suspect)).await
    }

    fn encode_for(&self, queue: &ShortString, message: Message) -> Result<OutgoingMessage> {
        let AmqpShared { config, replies, .. } = &*self.shared;
        let reply_address = replies.reply_address();
        native::encode_request(queue, &reply_address, self.number, message, config.persistent)
    }
}

impl BatchRoute for CallRoute {
    fn entries_max(&self) -> usize {
        self.announcement.calls.load(Ordering::Relaxed).min(ENTRIES_MAX)
    }

    fn correlation_id(&self, message: &Message) -> Option<String> {
        let call = message.id?;
        Some(Correlation { requester: self.number, call }.text())
    }

    fn join(&self, batch: BatchWriter) -> OutgoingMessage {
        let AmqpShared { config, replies, .. } = &*self.shared;
        batch.into_calls(&self.batches_queue, &replies.reply_address(), config.persistent)
    }

    fn encode(&self, message: Message) -> Result<OutgoingMessage> {
        self.encode_for(&self.queue, message)
    }

    /// The servers that read batches are gone.
    fn is_unroutable(&self) -> bool {
        self.announcement.until_ms.store(0, Ordering::Relaxed);
        true
    }

    /// The call has ended: it is not sent again, if its batch comes back all the same.
    fn failed(&self, message: &Message) {
        message.id.into_iter().for_each(|call| self.in_flight.remove(call));
    }
}

impl Announcement {
    /// Returns whether batches may be sent now.
    fn holds(&self) -> bool {
        self.now_ms() < self.until_ms.load(Ordering::Relaxed)
    }

    fn renew(&self, calls: usize) {
        self.calls.store(calls, Ordering::Relaxed);
        self.until_ms.store(self.now_ms() + HOLDS_MS, Ordering::Relaxed);
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Calls in flight beside which another one leaves alone.
const ALONE_MAX: usize = 4;
/// The time for which an announcement holds, in milliseconds.
const HOLDS_MS: u64 = 3_000;
/// The longest time to a deadline of a call in a batch. The queue of batches lives longer.
const WAIT_MAX: Duration = Duration::from_mins(4);
