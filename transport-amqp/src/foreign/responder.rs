//! The responder of a service in a foreign layout.

use std::sync::Arc;

use lapin::message::Delivery as Raw;
use lapin::types::FieldTable;
use polywire_core::health::EndpointRole;
use polywire_core::message::{Body, Headers};
use polywire_core::transport::{Outbound, Receiver, Sender, Sending};
use polywire_core::{Address, Code, Error, Fault, Limits, Message, Result, Window};

use super::exchange_publisher::{ExchangePublisher, Repetition};
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
    let publisher =
        ExchangePublisher::open(shared, layout.reply_exchange(service)?, Repetition::Always)
            .await?;
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
        decode_request(raw, limits, |request| self.layout.decode_request(&self.name, request))
    }

    fn requeue_mode(&self) -> RequeueMode {
        // A copy would lose the routing key, in which the method may be.
        RequeueMode::Broker
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn close(&self, _: &AmqpShared) {}
}

/// Decodes a request. One that is malformed or exceeds the limits, and whose caller waits, becomes
/// a message with a fault, with which the server replies.
///
/// # Errors
///
/// Those of `decode`, and of a request without a reply address.
fn decode_request(
    raw: &mut Raw,
    limits: &Limits,
    decode: impl FnOnce(AmqpMessage) -> Result<Message>,
) -> Result<Message> {
    let well_formed = native::check_well_formed(raw.properties.headers().as_ref());
    if let Err(error) = well_formed {
        let mut request = AmqpMessage::of(raw);
        // Some of the headers are missing, so none of them counts.
        request.properties = request.properties.with_headers(FieldTable::default());
        // The layout knows which property has the reply address.
        return match decode(request) {
            Ok(request) => rejected(request, error),
            Err(_) => Err(error),
        };
    }
    let message = decode(AmqpMessage::of(raw))?;
    match limits.check(&message) {
        Ok(()) => Ok(message),
        Err(error) => rejected(message, error),
    }
}

/// Returns the request with a fault, without what the limits bound. Without a reply address,
/// returns the error.
fn rejected(mut request: Message, error: Error) -> Result<Message> {
    if request.reply_to.is_none() {
        return Err(error);
    }
    request.body = Body::default();
    request.headers = Headers::new();
    let fault = Fault::new(Code::InvalidArguments, format!("cannot decode the request: {error}"));
    request.fault = Some(Box::new(fault.with_kind("MalformedRequest")));
    Ok(request)
}

#[cfg(test)]
mod tests {
    use lapin::BasicProperties;
    use lapin::types::AMQPValue;
    use polywire_core::ErrorKind;
    use polywire_core::message::ReplyTo;

    use super::*;

    /// Decodes a request of four bytes with a header, as a layout does that keeps both.
    fn decoded(reply_to: Option<&str>, header: &str, limits: &Limits) -> Result<Message> {
        let mut headers = FieldTable::default();
        headers.insert(header.into(), AMQPValue::LongString("cause".into()));
        let mut raw = Raw::mock(1, "".into(), "math.add".into(), false, b"1234".to_vec());
        raw.properties = BasicProperties::default().with_headers(headers);
        if let Some(reply_to) = reply_to {
            raw.properties = raw.properties.clone().with_reply_to(reply_to.into());
        }
        decode_request(&mut raw, limits, |request| {
            let properties = &request.properties;
            let reply_to = properties.reply_to().as_ref();
            let reply_to = reply_to.map(|queue| ReplyTo::new(queue.as_str().as_bytes().to_vec()));
            let names = properties.headers().iter().flat_map(|headers| headers.inner().keys());
            let headers = names.map(|name| (name.as_str().to_owned(), "value"));
            let headers = Headers::from_iter(headers);
            Ok(Message::new(request.body).with_reply_to(reply_to).with_headers(headers))
        })
    }

    #[test]
    fn request_that_cannot_be_decoded_is_answered_if_its_caller_waits() {
        let small = Limits { body_max: 3, ..Limits::default() };
        for (header, limits, kind) in [
            ("header", small, ErrorKind::TooLarge),
            ("polywire.reserved", Limits::default(), ErrorKind::Config),
            (native::MALFORMED, Limits::default(), ErrorKind::Codec),
        ] {
            let request = decoded(Some("replies"), header, &limits).unwrap();
            let fault = request.fault.unwrap();
            assert_eq!((fault.code, &*fault.kind), (Code::InvalidArguments, "MalformedRequest"));
            assert_eq!(request.reply_to, Some(ReplyTo::new(b"replies".to_vec())), "{header}");
            assert!(request.body.is_empty() && request.headers.is_empty(), "{header}");
            let error = decoded(None, header, &limits).unwrap_err();
            assert_eq!(error.kind(), kind, "{header}");
        }
    }

    #[test]
    fn request_within_the_limits_is_decoded_whole() {
        let request = decoded(Some("replies"), "header", &Limits::default()).unwrap();
        assert!(request.fault.is_none());
        assert_eq!((request.body.len(), request.headers.len()), (4, 1));
    }
}
