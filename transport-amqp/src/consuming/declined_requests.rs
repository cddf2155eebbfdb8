//! Requests that a server declines: republished for another server, or answered.
//!
//! The list of servers that have declined is in a header of the request. A server that receives a
//! request with its own name in the list passes the request on without running the handler. When
//! the list is as long as the queue has consumers, the client gets the fault as its reply.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::transport::{OnSettled, Settled};
use polywire_core::{Deadline, ErrorKind, Fault, Message, Result};

use crate::consuming::buffered_delivery::BufferedDelivery;
use crate::consuming::delay_rounding::rounded_delay;
use crate::consuming::republisher::{RepublishTarget, Republisher, is_final};
use crate::wire::{Declines, Republish, native};

impl Republisher {
    /// Republishes a declined request for another server, or answers it if none is left.
    ///
    /// The call returns at once. A task does the work, then calls `settled`; closing the transport
    /// waits for it.
    pub(super) fn decline(
        self: &Arc<Self>,
        tag: u64,
        mut request: Republish,
        fault: Fault,
        settled: OnSettled,
    ) {
        let republisher = self.clone();
        self.spawn(async move {
            let mut declines = native::decode_declines(&request.properties).unwrap_or_default();
            declines.by.push(republisher.consumer_name.clone());
            declines.because.clone_from(&fault.message);
            let outcome = if republisher.all_have_declined(&declines).await {
                republisher.answer(&request, fault).await
            } else {
                request.declines = Some(declines);
                republisher.republish(RepublishTarget::Origin, request.clone()).await
            };
            settled(republisher.settle_declined(tag, request, outcome).await);
        });
    }

    /// Returns whether this consumer has declined the request before.
    pub(super) fn has_declined(&self, request: &BufferedDelivery) -> bool {
        let declines =
            request.properties.as_ref().and_then(|properties| native::decode_declines(properties));
        declines.is_some_and(|declines| declines.by.contains(&self.consumer_name))
    }

    /// Republishes, after a delay, a request that this consumer has declined before: the other
    /// servers are busy or disconnected.
    ///
    /// After 32 such passes, or when all servers have declined, the client gets the last fault.
    pub(super) fn forward_declined(self: &Arc<Self>, mut fetched: BufferedDelivery) {
        let (republisher, tag) = (self.clone(), fetched.tag);
        let Some(mut request) = fetched.take_republish() else { return };
        self.spawn(async move {
            let mut declines = native::decode_declines(&request.properties).unwrap_or_default();
            declines.passes = declines.passes.saturating_add(1);
            let is_over =
                declines.passes > PASSES_MAX || republisher.all_have_declined(&declines).await;
            let outcome = if is_over {
                let fault = Fault::declined(declines.because);
                republisher.answer(&request, fault).await
            } else {
                // Rounded here too, so that the remaining time in the copy is right.
                request.delay = rounded_delay(pass_delay(declines.passes)).unwrap_or_default();
                let target = RepublishTarget::Retry(request.delay);
                request.declines = Some(declines);
                republisher.republish(target, request.clone()).await
            };
            republisher.settle_declined(tag, request, outcome).await;
        });
    }

    /// Acknowledges a declined request whose copy or reply was published, and requeues it
    /// otherwise. One of which the broker takes no copy is dead-lettered.
    async fn settle_declined(&self, tag: u64, request: Republish, outcome: Result<()>) -> Settled {
        let is_expired = request.deadline.is_some_and(Deadline::is_expired);
        match outcome {
            Ok(()) => {}
            // The client is gone.
            Err(error) if error.is_unsent() && error.kind() == ErrorKind::Unroutable => {}
            // A copy that waits for the broker may end by another limit than its deadline.
            Err(error)
                if error.is_unsent()
                    && error.kind() == ErrorKind::DeadlineExceeded
                    && is_expired => {}
            Err(error) if is_final(&error) => {
                let attempts = request.attempts_made();
                self.log.uncopied(&request, attempts, &error);
                return self.dead_letter_unkeepable(request, tag, attempts, &error).await;
            }
            Err(error) => {
                tracing::debug!(?error, queue = %self.queue.name, "cannot pass a declined request on; requeuing it");
                self.pause_before_retry(&request, request.attempts_made(), &error).await;
                self.acker.release(tag);
                return Settled::Requeued;
            }
        }
        self.acker.acknowledge_now(tag);
        Settled::Done
    }

    /// Returns whether as many servers have declined as the queue has consumers, or more than 64.
    ///
    /// Asks the broker for the consumers. Without an answer the result is false, so that the
    /// request goes on.
    async fn all_have_declined(&self, declines: &Declines) -> bool {
        let declined = declines.by.len();
        if declined >= DECLINES_MAX {
            return true;
        }
        let connection = &self.shared.consuming_connection;
        let counting = async { self.queue.consumer_count(&connection.channel().await?).await };
        match self.shared.within_connect_timeout(counting).await {
            Ok(consumers) => declined >= usize::try_from(consumers).unwrap_or(usize::MAX),
            Err(error) => {
                tracing::debug!(?error, "cannot count the servers of the queue");
                false
            }
        }
    }

    /// Replies with a fault to a request that no server runs any more.
    ///
    /// A one-way call gets no reply, and the result is `Ok`. The log has a line about such calls
    /// every 10 seconds at most.
    pub(super) async fn answer(&self, request: &Republish, fault: Fault) -> Result<()> {
        let Some(reply_to) = native::reply_address(&request.properties) else {
            self.log.declined(request, &fault);
            return Ok(());
        };
        let mut reply = Message::failed(fault);
        reply.reply_to = Some(reply_to);
        let reply = native::encode_reply(reply, self.shared.config.persistent)?;
        self.shared.publisher.publish(reply).await
    }
}

/// Returns the delay before a request that came back to a server that has declined it. Without the
/// delay, the request would circle at one server while the others are busy.
fn pass_delay(passes: u32) -> Duration {
    PASS_DELAY_MIN
        .saturating_mul(4_u32.saturating_pow(passes.saturating_sub(1)))
        .min(PASS_DELAY_MAX)
}

/// Delay of the first pass; each further one is four times as long.
const PASS_DELAY_MIN: Duration = Duration::from_millis(16);
/// Four distinct delays, which are four retry queues at the broker.
const PASS_DELAY_MAX: Duration = Duration::from_millis(1024);
/// The most deliveries of one request to servers that have declined it, in about half a minute.
const PASSES_MAX: u32 = 32;
/// The most servers that may decline, as a bound of the list in the header.
const DECLINES_MAX: usize = 64;
