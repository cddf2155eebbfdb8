//! Deliveries that were fetched from the broker and not yet received by the handle.

use std::sync::Arc;

use lapin::BasicProperties;
use polywire_core::transport::{Delivery, Receipt, Settle, Suspect};
use polywire_core::{Deadline, Message, Result};
use tokio::sync::mpsc;

use crate::wire::Republish;
use crate::wire::native::Canary;

/// The receiving side of the buffer between the consumer task and its handle.
///
/// The buffer holds up to a window of deliveries and one suspect. Errors for the handle take the
/// same way.
pub(super) type FetchedReceiver = mpsc::Receiver<Result<BufferedDelivery>>;

/// A decoded delivery in the buffer of its consumer.
///
/// The consumer task creates the value. The handle turns the value into a delivery with a receipt,
/// or the task requeues the message.
pub(super) struct BufferedDelivery {
    /// The decoded message.
    pub(super) message: Message,
    /// The tag of the receipt; see [`ChannelAcker::receipt_tag`].
    ///
    /// [`ChannelAcker::receipt_tag`]: crate::consuming::acker::ChannelAcker::receipt_tag
    pub(super) tag: u64,
    /// Number of the attempt, counted from 1.
    pub(super) attempt: u32,
    /// Set if the broker has counted its deliveries of the message.
    pub(super) is_counted: bool,
    /// Suspicion that the message has ended its last consumer.
    pub(super) suspect: Option<Suspect>,
    /// The properties as they arrived, if the delivery may have to be republished.
    pub(super) properties: Option<Box<BasicProperties>>,
    /// Set for a canary, which is no message.
    pub(super) canary: Option<Box<Canary>>,
}

impl BufferedDelivery {
    /// Creates the delivery of a canary.
    pub(super) fn canary(canary: Canary, tag: u64) -> Self {
        let (message, canary) = (Message::default(), Some(Box::new(canary)));
        let (attempt, is_counted) = (1, false);
        Self { message, tag, attempt, is_counted, suspect: None, properties: None, canary }
    }

    /// Takes out everything that republishing needs; `None` if the delivery is never republished.
    ///
    /// A second call returns `None`, too.
    pub(super) fn take_republish(&mut self) -> Option<Republish> {
        let properties = *self.properties.take()?;
        let Self { message, attempt, suspect, .. } = self;
        let crashes = suspect.map(|suspect| suspect.crashes);
        let (topic, body) = (message.topic.clone(), message.body.clone().into_bytes());
        let (history, deadline) = (message.history.clone(), message.deadline);
        let copy = Republish::new(properties, topic, body, *attempt);
        Some(Republish { history, deadline, crashes, ..copy })
    }

    /// Copies everything that republishing needs; `None` if the delivery is never republished.
    pub(super) fn republish(&mut self) -> Option<Republish> {
        let republish = self.take_republish()?;
        self.properties = Some(Box::new(republish.properties.clone()));
        Some(republish)
    }

    /// Returns whether the deadline of a call has passed. That of a one-way call does not matter
    /// for a suspect, which may have begun in time.
    pub(super) fn has_expired_call(&self) -> bool {
        let Message { deadline, reply_to, .. } = &self.message;
        reply_to.is_some() && deadline.is_some_and(Deadline::is_expired)
    }

    /// Returns whether a suspect has exceeded the delivery limit of its queue, if there is one. The
    /// policies of workers and servers are up to core.
    ///
    /// The limit counts the attempts and the crashes together. Below two crashes, the result is
    /// false.
    pub(super) fn has_crashed_too_often(&self, deliveries_max: Option<u32>) -> bool {
        let crashes = self.suspect.map_or(0, |suspect| suspect.crashes);
        deliveries_max
            .is_some_and(|max| crashes >= max.saturating_sub(self.attempt).max(CRASHES_MIN))
    }

    /// Converts to a delivery that `settle` settles.
    pub(super) fn into_delivery(self, settle: Arc<dyn Settle>) -> Delivery {
        let Self { message, tag, attempt, suspect, .. } = self;
        let delivery = Delivery::new(message, Receipt::new(settle, tag)).attempt(attempt);
        match suspect {
            Some(suspect) => delivery.suspect(suspect),
            None => delivery,
        }
    }
}

/// The smallest number of crashes that proves anything, as in core: an ordinary message may have
/// caused one of them.
const CRASHES_MIN: u32 = 2;
