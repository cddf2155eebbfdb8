//! The half of the format on RabbitMQ.

use bytes::Bytes;
use polywire_amqp::lapin::BasicProperties;
use polywire_amqp::lapin::types::{AMQPValue, FieldTable, ShortString};
use polywire_amqp::{AmqpLayout, AmqpMessage, LayoutExchange, LayoutQueue};
use polywire_core::message::CallId;
use polywire_core::{Address, Capabilities, Code, Error, ErrorKind, Fault, Message, Result};

use super::reply_address::ReplyAddress;
use super::settings::Amqprpc;
use super::topology;
use crate::format::malformed;
use crate::request_id::{RequestId, next_number};

/// Header of a reply that is an error. Its presence decides, and its value is the text.
const ERROR: &str = "error";

/// Longest name on the wire, in bytes.
const NAME_MAX: usize = 255;

/// A request has the method in `reply_to`, the reply queue in `correlation_id`, and the number of
/// the call in `message_id`. A reply repeats all three.
impl AmqpLayout for Amqprpc {
    /// No message is persistent.
    fn capabilities(&self, given: Capabilities) -> Capabilities {
        given.with_durable(false)
    }

    fn request_exchange(&self, _: &Address) -> Result<LayoutExchange> {
        Ok(topology::default_exchange())
    }

    fn request_queue(&self, service: &Address) -> Result<LayoutQueue> {
        Ok(topology::request_queue(service, self.is_durable))
    }

    fn reply_exchange(&self, _: &Address) -> Result<LayoutExchange> {
        Ok(topology::default_exchange())
    }

    fn reply_queue(&self, _: &Address, unique: &str) -> Result<LayoutQueue> {
        Ok(topology::reply_queue(unique))
    }

    /// A server of Go ends if a request has no `correlation_id`. So a one-way call has the name of
    /// no queue, and the broker drops its reply.
    fn encode_request(
        &self,
        service: &Address,
        message: Message,
        unique: &str,
    ) -> Result<AmqpMessage> {
        let name = self.wire_name(message.method.as_ref().map_or("", Address::as_str));
        if name.is_empty() || name.len() > NAME_MAX {
            let text = "cannot call the method: its name is empty or longer than 255 bytes";
            return Err(Error::new(ErrorKind::Config, text).with("method", name).unsent());
        }
        // The broker takes this `reply_to` for its own, and closes the channel over it.
        if name == "amq.rabbitmq.reply-to" {
            let text = "cannot call the method: its name is reserved by RabbitMQ";
            return Err(Error::new(ErrorKind::Config, text).with("method", name).unsent());
        }
        self.check_written(&message)?;
        let queue = topology::reply_queue_name(unique);
        let (queue, id) = match message.id {
            Some(id) => (queue, id.to_string()),
            // The number keeps a server that deduplicates from taking the next one-way call for
            // the same one.
            None => (format!("{queue}-none"), next_number().to_string()),
        };
        let properties = BasicProperties::default()
            .with_reply_to(ShortString::from(name))
            .with_correlation_id(ShortString::from(queue))
            .with_message_id(ShortString::from(id));
        let request = AmqpMessage::new(service.as_str())?.mandatory();
        Ok(request.with_properties(properties).with_body(message.body.into_bytes()))
    }

    fn decode_request(&self, service: &Address, request: AmqpMessage) -> Result<Message> {
        let AmqpMessage { properties, body, .. } = request;
        let text = |property: &Option<ShortString>| {
            property.as_ref().map(|text| text.as_str().to_owned()).unwrap_or_default()
        };
        let name = text(properties.reply_to());
        let is_value = self.format.is_value(&body);
        let mut message = Message::new(body).with_content_type(Some(self.content_type()));
        let queue = text(properties.correlation_id());
        // A reply to the queue of this service would look like a request again, without an end.
        if !queue.is_empty() && queue != service.as_str() {
            let id = RequestId::new(properties.message_id().as_ref().map(ShortString::as_str));
            message.reply_to = Some(ReplyAddress { queue, method: name.clone(), id }.write());
        }
        message.method = Address::new(self.method_name(&name).to_owned()).ok();
        message.fault = match (&message.method, is_value) {
            (None, _) => {
                Some(Fault::new(Code::MethodNotFound, format!("no method has the name {name}")))
            }
            (_, false) => {
                let text = "cannot read the argument: the body is no value of the format";
                Some(Fault::new(Code::InvalidArguments, text))
            }
            _ => None,
        }
        .map(Box::new);
        match (&message.reply_to, &message.fault) {
            (None, Some(fault)) => {
                let error = malformed("it cannot be answered either: it names no reply queue");
                Err(error.with("fault", fault))
            }
            _ => Ok(message),
        }
    }

    fn encode_reply(&self, message: Message) -> Result<AmqpMessage> {
        let address = message.reply_to.as_ref().and_then(ReplyAddress::read).ok_or_else(|| {
            let text = "cannot reply: the request has no reply address of this layout";
            Error::new(ErrorKind::Unroutable, text).unsent()
        })?;
        let ReplyAddress { queue, method, id } = address;
        let mut properties = BasicProperties::default();
        let body: Bytes = match &message.fault {
            Some(fault) => {
                let text = self.errors.text(fault, &method);
                let mut headers = FieldTable::default();
                headers.insert(ERROR.into(), AMQPValue::LongString(text.into()));
                properties = properties.with_headers(headers);
                self.format.null().into()
            }
            // A service of the program's own may have no result.
            None if message.body.is_empty() => self.format.null().into(),
            None => {
                self.check_written(&message)?;
                message.body.into_bytes()
            }
        };
        // Short strings of the request, so each of them fits.
        if let Ok(queue) = ShortString::try_new(queue.as_str()) {
            properties = properties.with_correlation_id(queue);
        }
        if let RequestId::Given(id) = id
            && let Ok(id) = ShortString::try_new(id)
        {
            properties = properties.with_message_id(id);
        }
        if !method.is_empty()
            && let Ok(method) = ShortString::try_new(method)
        {
            properties = properties.with_reply_to(method);
        }
        Ok(AmqpMessage::new(queue)?.with_properties(properties).with_body(body))
    }

    fn decode_reply(&self, reply: AmqpMessage) -> Result<Message> {
        let AmqpMessage { properties, body, .. } = reply;
        let id = properties.message_id().as_ref();
        let id = id.and_then(|id| id.as_str().parse().ok()).map(CallId);
        let id = id.ok_or_else(|| malformed("the reply has no message id of this client"))?;
        let error = properties.headers().as_ref().and_then(|headers| headers.inner().get(ERROR));
        let fault = error.map(|text| self.errors.fault(&error_text(text)));
        let message = Message::new(body).with_id(id).with_fault(fault);
        Ok(message.with_content_type(Some(self.content_type())))
    }
}

impl Amqprpc {
    /// Checks that this dialect has written the body of a message.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`], unsent, if another dialect or one of another format has written it.
    fn check_written(&self, message: &Message) -> Result<()> {
        let is_ours = message.content_type.as_deref().is_none_or(|it| it == &*self.content_type());
        if is_ours && self.format.is_value(&message.body.clone().into_bytes()) {
            return Ok(());
        }
        let text = "cannot send the message: its dialect is not Amqprpc with the format of the \
                    transport";
        let error = Error::new(ErrorKind::Config, text);
        let found = message.content_type.as_deref().unwrap_or("none");
        Err(error.with("found", found).with("expected", self.content_type()).unsent())
    }
}

/// Returns the text of the header of an error. Another value than a text has none.
fn error_text(value: &AMQPValue) -> String {
    match value {
        AMQPValue::LongString(text) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
        _ => "the error has no text".to_owned(),
    }
}
