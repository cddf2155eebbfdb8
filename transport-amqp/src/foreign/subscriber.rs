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
    let consumer = EventConsumer::new(channel, &filters, &unique);
    let consumer = match &group {
        Some(group) => consumer.with_group(group.name(), group.is_durable()),
        None => consumer,
    };
    let queue = layout.event_queue(&consumer)?;
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

    /// A redelivered event counts as the last attempt of any policy: nothing counts further ones,
    /// and an event that always fails would be redelivered forever.
    fn attempt(&self, raw: &Raw) -> u32 {
        if raw.redelivered { LAST_ATTEMPT } else { 1 }
    }

    fn decode(&self, raw: &mut Raw, limits: &Limits) -> Result<Message> {
        let message = self.layout.decode_event(&self.name, foreign_message(raw)?)?;
        limits.check(&message)?;
        Ok(message)
    }

    fn requeue_mode(&self) -> RequeueMode {
        RequeueMode::Broker
    }

    fn is_shared(&self) -> bool {
        !self.is_private
    }

    async fn close(&self, shared: &AmqpShared) {
        if self.is_private {
            shared.delete_private_queue(&self.queue).await;
        }
    }
}

/// Number of an attempt that no policy exceeds.
const LAST_ATTEMPT: u32 = 1_000_000;

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

#[cfg(test)]
mod tests {
    use super::super::message::AmqpMessage;
    use super::super::topology::{LayoutExchange, LayoutQueue};
    use super::*;
    use crate::topology::custom_topology::Topology;

    /// A layout of nothing: each function fails.
    struct NoLayout;

    fn nothing<T>() -> Result<T> {
        Err(Error::unsupported("rpc"))
    }

    impl AmqpLayout for NoLayout {
        fn request_exchange(&self, _: &Address) -> Result<LayoutExchange> {
            nothing()
        }

        fn request_queue(&self, _: &Address) -> Result<LayoutQueue> {
            nothing()
        }

        fn reply_exchange(&self, _: &Address) -> Result<LayoutExchange> {
            nothing()
        }

        fn reply_queue(&self, _: &Address, _: &str) -> Result<LayoutQueue> {
            nothing()
        }

        fn encode_request(&self, _: &Address, _: Message, _: &str) -> Result<AmqpMessage> {
            nothing()
        }

        fn decode_request(&self, _: &Address, _: AmqpMessage) -> Result<Message> {
            nothing()
        }

        fn encode_reply(&self, _: Message) -> Result<AmqpMessage> {
            nothing()
        }

        fn decode_reply(&self, _: AmqpMessage) -> Result<Message> {
            nothing()
        }
    }

    #[test]
    fn queue_of_a_group_is_shared() {
        for is_private in [true, false] {
            let queue = ForeignEventQueue {
                name: Address::new("math").unwrap(),
                queue: QueueSpec::declared_by("events".into(), Topology::new()),
                is_private,
                layout: Arc::new(NoLayout),
            };
            assert_eq!(queue.is_shared(), !is_private);
        }
    }
}
