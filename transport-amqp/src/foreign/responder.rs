//! The responder of a service in a foreign layout.

use std::sync::Arc;

use lapin::message::Delivery as Raw;
use polywire_core::health::EndpointRole;
use polywire_core::transport::{Outbound, Receiver, Sender, Sending};
use polywire_core::{Address, Limits, Message, Result, Window};

use super::exchange_publisher::ExchangePublisher;
use super::layout::AmqpLayout;
use super::message::AmqpMessage;
use super::topology::LayoutQueue;
use crate::connection::supervised_connection::SupervisedConnection;
use crate::consuming::consumed_queue::{ConsumedQueue, HealthEntry};
use crate::consuming::open_consumer;
use crate::consuming::requeue_mode::RequeueMode;
use crate::shared::AmqpShared;
use crate::topology::queue_spec::QueueSpec;
use crate::wire::native;

/// Opens a responder of `service`. Its consumer is registered when this returns.
///
/// # Errors
///
/// Those of the layout, and of declaring and consuming the queue. Dropping the future stops the
/// consumer.
pub(super) async fn open(
    shared: &Arc<AmqpShared>,
    layout: Arc<dyn AmqpLayout>,
    service: &Address,
    window: Window,
) -> Result<(Sender, Receiver)> {
    let publisher = ExchangePublisher::open(shared, layout.reply_exchange(service)?).await?;
    let queue = queue_spec(shared, layout.request_queue(service)?)?;
    let (name, of_queue) = (service.clone(), layout.clone());
    let consumed = Arc::new(ForeignRequestQueue { name, queue, layout: of_queue });
    let receiver = open_consumer::open(shared, consumed, window).await?;
    Ok((Sender::new(ForeignReplySender { publisher, layout }), receiver))
}

/// Returns the spec of a queue of a layout. A private one is deleted when the transport closes.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`](polywire_core::ErrorKind::TooLarge) if its name exceeds 255 bytes, and
/// those of an invalid topology.
pub(super) fn queue_spec(shared: &AmqpShared, queue: LayoutQueue) -> Result<QueueSpec> {
    let LayoutQueue { name, topology, is_private } = queue;
    topology.validate()?;
    let queue = QueueSpec::declared_by(native::short_string("queue", name)?, topology);
    if is_private {
        shared.add_private_queue(&queue);
    }
    Ok(queue)
}

/// Takes a delivery apart for a layout.
///
/// # Errors
///
/// [`ErrorKind::Codec`](polywire_core::ErrorKind::Codec) if its properties were malformed.
pub(super) fn foreign_message(raw: &mut Raw) -> Result<AmqpMessage> {
    native::check_well_formed(raw.properties.headers().as_ref())?;
    Ok(AmqpMessage::of(raw))
}

/// The sender of replies.
struct ForeignReplySender {
    publisher: ExchangePublisher,
    layout: Arc<dyn AmqpLayout>,
}

impl Outbound for ForeignReplySender {
    /// Publishes the reply. Core acknowledges the request after the confirm.
    fn send(&self, message: Message) -> Sending<'_> {
        let checked = self.publisher.shared.check_message(&message);
        match checked.and_then(|()| self.layout.encode_reply(message)) {
            Ok(reply) => self.publisher.publish(reply, None),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}

/// The queue of a service, which servers of the other system may share.
struct ForeignRequestQueue {
    name: Address,
    queue: QueueSpec,
    layout: Arc<dyn AmqpLayout>,
}

impl ConsumedQueue for ForeignRequestQueue {
    // Clients notice by their deadlines.
    const REPORTS_LOSS: bool = false;
    const HEALTH: HealthEntry = HealthEntry::Unprobed;

    fn endpoint(&self) -> (EndpointRole, &Address) {
        (EndpointRole::Responder, &self.name)
    }

    fn queue(&self) -> &QueueSpec {
        &self.queue
    }

    async fn bind(&self, _: &SupervisedConnection, _: bool) -> Result<()> {
        Ok(())
    }

    fn decode(&self, raw: &mut Raw, limits: &Limits) -> Result<Message> {
        let message = self.layout.decode_request(&self.name, foreign_message(raw)?)?;
        limits.check(&message)?;
        Ok(message)
    }

    fn requeue_mode(&self) -> RequeueMode {
        // A copy would lose the routing key, in which the method may be.
        RequeueMode::Broker
    }

    async fn close(&self, _: &AmqpShared) {}
}
