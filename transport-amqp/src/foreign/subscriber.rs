//! The subscriber of a channel in a foreign layout.

use std::sync::Arc;

use lapin::message::Delivery as Raw;
use polywire_core::health::EndpointRole;
use polywire_core::transport::{FilterControl, Filters, Receiver, Subscription, async_trait};
use polywire_core::{Address, Error, ErrorKind, Filter, Limits, Message, Result};

use super::layout::AmqpLayout;
use super::requester::unique_text;
use super::responder::{foreign_message, queue_spec};
use super::topology::EventConsumer;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::consuming::consumed_queue::{ConsumedQueue, HealthEntry};
use crate::consuming::open_consumer;
use crate::consuming::requeue_mode::RequeueMode;
use crate::shared::AmqpShared;
use crate::topology::queue_spec::QueueSpec;

/// Opens a subscriber of `channel`. Each event that is published after this returns is received.
///
/// The filters are fixed, since the layout names the queue by them.
///
/// # Errors
///
/// Those of the layout, and of declaring and consuming the queue. Dropping the future stops the
/// consumer.
pub(super) async fn open(
    shared: &Arc<AmqpShared>,
    layout: Arc<dyn AmqpLayout>,
    channel: &Address,
    subscription: Subscription,
) -> Result<(Receiver, Filters)> {
    let Subscription { filters, group, window, .. } = subscription;
    let unique = unique_text();
    let queue = layout.event_queue(&EventConsumer {
        channel,
        filters: &filters,
        group: group.as_ref().map(polywire_core::Group::name),
        is_durable: group.as_ref().is_some_and(polywire_core::Group::is_durable),
        unique: &unique,
    })?;
    let is_private = queue.is_private;
    let queue = queue_spec(shared, queue)?;
    let consumed = Arc::new(ForeignEventQueue { name: channel.clone(), queue, is_private, layout });
    let receiver = open_consumer::open(shared, consumed, window).await?;
    Ok((receiver, Filters::new(FixedFilters)))
}

/// The queue of a subscriber, which handlers of the other system may share.
struct ForeignEventQueue {
    name: Address,
    queue: QueueSpec,
    is_private: bool,
    layout: Arc<dyn AmqpLayout>,
}

impl ConsumedQueue for ForeignEventQueue {
    const REPORTS_LOSS: bool = true;
    const HEALTH: HealthEntry = HealthEntry::Unprobed;

    fn endpoint(&self) -> (EndpointRole, &Address) {
        (EndpointRole::Subscriber, &self.name)
    }

    fn queue(&self) -> &QueueSpec {
        &self.queue
    }

    async fn bind(&self, _: &SupervisedConnection, _: bool) -> Result<()> {
        Ok(())
    }

    fn decode(&self, raw: &mut Raw, limits: &Limits) -> Result<Message> {
        let message = self.layout.decode_event(&self.name, foreign_message(raw)?)?;
        limits.check(&message)?;
        Ok(message)
    }

    fn requeue_mode(&self) -> RequeueMode {
        RequeueMode::Broker
    }

    async fn close(&self, shared: &AmqpShared) {
        if self.is_private {
            shared.delete_private_queue(&self.queue).await;
        }
    }
}

/// The filters of an open subscriber, which do not change.
struct FixedFilters;

#[async_trait]
impl FilterControl for FixedFilters {
    async fn add(&self, filter: Filter) -> Result<()> {
        Err(fixed(&filter))
    }

    async fn remove(&self, filter: Filter) -> Result<()> {
        Err(fixed(&filter))
    }
}

fn fixed(filter: &Filter) -> Error {
    let text = "cannot change the filters of the subscriber: the layout names its queue by them";
    Error::new(ErrorKind::Unsupported, text).with("filter", filter).unsent()
}
