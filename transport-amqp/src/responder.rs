//! The responder of a service.
//!
//! Requests are consumed from the queue of the service, which all its servers share. Replies go to
//! the reply address of each request. A listener receives the cancellations of the service's
//! clients.

use std::sync::Arc;

use lapin::message::Delivery as Raw;
use polywire_core::transport::{Outbound, Receiver, Sender, Sending};
use polywire_core::{Address, Code, Fault, Limits, Message, Result, Window};

use crate::connection::supervised::SupervisedConnection;
use crate::consuming::cancellation::listener::listen;
use crate::consuming::consumer;
use crate::consuming::consumer_source::ConsumerSource;
use crate::consuming::requeue_mode::RequeueMode;
use crate::shared::Shared;
use crate::topology::queue::QueueSpec;
use crate::wire::{DecodeFailure, native};

/// Opens a responder of `service`. Its consumer is registered when this returns.
///
/// # Errors
///
/// Those of declaring and consuming the queue of the service. Dropping the future stops the
/// consumer.
pub(crate) async fn open(
    shared: &Arc<Shared>,
    service: &Address,
    window: Window,
) -> Result<(Sender, Receiver)> {
    let queue = shared.config.queues.queue(native::request_queue(service)?);
    queue.check_names()?;
    // Before the first request, so that each request can be cancelled.
    let abandoned = listen(&shared.consuming_connection, &shared.tasks, service).await?;
    let source = Arc::new(RequestSource { queue });
    let receiver =
        consumer::open_with_cancellations(shared, source, window, Some(abandoned)).await?;
    Ok((Sender::new(ReplySender { shared: shared.clone() }), receiver))
}

/// Sends replies to the reply addresses of their requests.
struct ReplySender {
    shared: Arc<Shared>,
}

impl Outbound for ReplySender {
    fn send(&self, message: Message) -> Sending<'_> {
        let Shared { config, publisher, .. } = &*self.shared;
        let reply = self.shared.check_message(&message);
        match reply.and_then(|()| native::encode_reply(message, config.persistent)) {
            Ok(reply) => publisher.publish(reply),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}

/// The queue of a service.
struct RequestSource {
    queue: QueueSpec,
}

impl ConsumerSource for RequestSource {
    // Clients notice by their deadlines.
    const REPORTS_LOSS: bool = false;

    fn queue(&self) -> &QueueSpec {
        &self.queue
    }

    async fn bind(&self, _: &SupervisedConnection, _: bool) -> Result<()> {
        Ok(())
    }

    fn decode(&self, raw: &mut Raw, limits: &Limits) -> Result<Message> {
        native::decode_request(raw, limits).or_else(|failure| request_to_reject(*failure))
    }

    fn requeue_mode(&self) -> RequeueMode {
        // The broker requeues to the front of the queue, since a client waits.
        RequeueMode::BrokerOrDeclined
    }

    async fn close(&self, _: &Shared) {}
}

/// Returns the request that cannot be decoded with a fault, with which the server replies. Without
/// a reply address, returns the error.
fn request_to_reject(failure: DecodeFailure) -> Result<Message> {
    let DecodeFailure { mut message, error, .. } = failure;
    if message.reply_to.is_none() {
        return Err(error);
    }
    let fault = Fault::new(Code::InvalidArguments, format!("cannot decode the request: {error}"));
    message.fault = Some(Box::new(fault));
    Ok(message)
}
