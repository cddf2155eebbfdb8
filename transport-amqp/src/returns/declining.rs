//! What becomes of requests that a server declines.

use std::sync::Arc;
use std::time::Duration;

use polywire_core::transport::{Outcome, Settle};
use polywire_core::{ErrorKind, Fault, Message, Result};

use super::{Place, Returns, bucket};
use crate::consumer::Taken;
use crate::wire::{Again, Declines, Native, Wire};

impl Returns {
    /// Gives to another server what this one declines.
    pub(super) fn decline(self: &Arc<Self>, tag: u64, mut delivery: Again, fault: Fault) {
        let returns = self.clone();
        self.spawn(async move {
            let mut declines = Native.declines(&delivery.properties).unwrap_or_default();
            declines.by.push(returns.name.clone());
            declines.because.clone_from(&fault.message);
            let outcome = if returns.is_left_alone(&declines).await {
                returns.tell(&delivery, fault).await
            } else {
                delivery.declines = Some(declines);
                returns.copy(Place::Again, delivery).await
            };
            returns.settle_by(tag, outcome);
        });
    }

    /// Whether this end has declined it before.
    pub(crate) fn is_declined(&self, taken: &Taken) -> bool {
        let declines = taken.properties.as_ref().and_then(|properties| Native.declines(properties));
        declines.is_some_and(|declines| declines.by.contains(&self.name))
    }

    /// Gives to somebody else, after a pause, what this end has declined before: the others are
    /// busy, or away.
    pub(crate) fn pass_on(self: &Arc<Self>, mut taken: Taken) {
        let (returns, tag) = (self.clone(), taken.tag);
        let Some(mut delivery) = taken.take_again() else { return };
        self.spawn(async move {
            let mut declines = Native.declines(&delivery.properties).unwrap_or_default();
            declines.passes = declines.passes.saturating_add(1);
            let is_over = declines.passes > PASSES_MAX || returns.is_left_alone(&declines).await;
            let outcome = if is_over {
                let fault = Fault::declined(declines.because);
                returns.tell(&delivery, fault).await
            } else {
                // As long as that is measured, so that the time that is left is told right.
                delivery.pause = bucket(pause(declines.passes)).unwrap_or_default();
                let place = Place::After(delivery.pause);
                delivery.declines = Some(declines);
                returns.copy(place, delivery).await
            };
            returns.settle_by(tag, outcome);
        });
    }

    fn settle_by(&self, tag: u64, outcome: Result<()>) {
        match outcome {
            Ok(()) => self.seat.settle(tag, Outcome::Ack),
            // Its caller is gone, or its time is over.
            Err(error)
                if error.is_unsent()
                    && matches!(
                        error.kind(),
                        ErrorKind::Unroutable | ErrorKind::DeadlineExceeded
                    ) =>
            {
                self.seat.settle(tag, Outcome::Ack);
            }
            Err(error) => {
                tracing::debug!(?error, queue = %self.queue.name, "what was declined comes again as it was");
                self.seat.settle(tag, Outcome::Requeue);
            }
        }
    }

    /// Whether there is nobody who has not declined it, as far as the broker knows; or it was
    /// declined by too many.
    async fn is_left_alone(&self, declines: &Declines) -> bool {
        let so_many = declines.by.len();
        if so_many >= DECLINES_MAX {
            return true;
        }
        let session = &self.transport.consuming;
        let asking = async { self.queue.consumers(&session.channel().await?).await };
        match self.transport.in_connect_time(asking).await {
            Ok(consumers) => so_many >= usize::try_from(consumers).unwrap_or(usize::MAX),
            Err(error) => {
                tracing::debug!(?error, "cannot ask how many servers there are");
                false
            }
        }
    }

    /// Answers the caller of a request that nobody takes.
    async fn tell(&self, delivery: &Again, fault: Fault) -> Result<()> {
        let Some(reply_to) = Native.reply_to(&delivery.properties) else {
            tracing::warn!(%fault, "all servers have declined a call that wants no reply");
            return Ok(());
        };
        let mut reply = Message::failed(fault);
        reply.reply_to = Some(reply_to);
        let reply = Native.encode_reply(reply, self.transport.config.persistent)?;
        self.transport.lines.publish(reply, None).await
    }
}

/// How long something waits before it can be taken again that came to one who has declined it, so
/// that it does not go round and round at one server while the others are busy.
fn pause(passes: u32) -> Duration {
    PAUSE_LEAST.saturating_mul(4_u32.saturating_pow(passes.saturating_sub(1))).min(PAUSE_MOST)
}

const PAUSE_LEAST: Duration = Duration::from_millis(16);
/// Four lengths of pause are four queues at the broker.
const PAUSE_MOST: Duration = Duration::from_millis(1024);
/// How often something comes to servers that have declined it, which takes half a minute.
const PASSES_MAX: u32 = 32;
/// How many servers may decline, so that the list of them does not grow for ever.
const DECLINES_MAX: usize = 64;
