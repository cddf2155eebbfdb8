//! The half of the format on RabbitMQ.

use bytestring::ByteString;
use polywire_amqp::lapin::BasicProperties;
use polywire_amqp::lapin::types::{FieldTable, ShortString};
use polywire_amqp::{AmqpLayout, AmqpMessage, EventConsumer, LayoutExchange, LayoutQueue};
use polywire_core::message::CallId;
use polywire_core::{Address, Capabilities, Code, Error, ErrorKind, Fault, Message, Result};

use super::reply_address::ReplyAddress;
use super::settings::Nameko;
use super::{arguments, context_headers, outcome, topology};
use crate::format::{Format, malformed};
use crate::request_id::{RequestId, next_number};

impl AmqpLayout for Nameko {
    fn capabilities(&self, given: Capabilities) -> Capabilities {
        given.with_pubsub(true).with_groups(true).with_durable_groups(true)
    }

    fn request_exchange(&self, _: &Address) -> Result<LayoutExchange> {
        Ok(topology::rpc_exchange(&self.rpc_exchange))
    }

    fn request_queue(&self, service: &Address) -> Result<LayoutQueue> {
        Ok(topology::request_queue(&self.rpc_exchange, service))
    }

    fn reply_exchange(&self, _: &Address) -> Result<LayoutExchange> {
        Ok(topology::rpc_exchange(&self.rpc_exchange))
    }

    fn reply_queue(&self, _: &Address, unique: &str) -> Result<LayoutQueue> {
        Ok(topology::reply_queue(&self.rpc_exchange, unique))
    }

    /// A server of nameko ends if a request has no media type or no reply address. So a one-way
    /// call has the address of no queue, where the broker drops its reply.
    fn encode_request(
        &self,
        service: &Address,
        message: Message,
        unique: &str,
    ) -> Result<AmqpMessage> {
        let method = message.method.as_ref().map_or("", Address::as_str);
        if method.is_empty() || method.contains('.') {
            let text = "cannot call the method: in nameko, its name is one word without a dot";
            return Err(Error::new(ErrorKind::Config, text).with("method", method).unsent());
        }
        let headers = context_headers::encode(&message.headers)?;
        let format = written_format(&message)?;
        let body = message.body.into_bytes();
        arguments::check(format, &body).map_err(|cause| {
            let text = "cannot send the call: its dialect is not Nameko";
            Error::new(ErrorKind::Config, text).with("because", cause).unsent()
        })?;
        let mut properties = properties(format).with_headers(headers);
        properties = match message.id {
            Some(id) => properties
                .with_reply_to(unique.into())
                .with_correlation_id(ShortString::from(format!("{unique}-{id}"))),
            // The last part is no number, so that no reply can be that of a call. The number keeps
            // a server that deduplicates from taking the next call for the same one.
            None => properties
                .with_reply_to(ShortString::from(format!("{unique}-none")))
                .with_correlation_id(ShortString::from(format!("{unique}-{}-none", next_number()))),
        };
        let request = AmqpMessage::new(format!("{service}.{method}"))?.mandatory();
        Ok(request.with_properties(properties).with_body(body))
    }

    fn decode_request(&self, service: &Address, request: AmqpMessage) -> Result<Message> {
        let AmqpMessage { routing_key, properties, body, .. } = request;
        let content_type = properties.content_type().as_ref().map(ShortString::as_str);
        let format = content_type.map_or(Some(self.format), Format::of);
        let mut message = Message::new(body);
        // The key of a queue for replies has no dot. That of a service's queue has one, and a
        // reply there would end a server of nameko.
        let reply_key = properties.reply_to().as_ref().filter(|key| !key.as_str().contains('.'));
        message.reply_to = reply_key.map(|key| {
            let id = properties.correlation_id().as_ref().map(ShortString::as_str);
            let id = RequestId::new(id);
            let format = format.unwrap_or(self.format);
            ReplyAddress { format, key: key.as_str().to_owned(), id }.write()
        });
        if let Some(headers) = properties.headers() {
            message.headers = context_headers::decode(headers);
        }
        let refused = match format {
            None => Some(Fault::new(
                Code::InvalidArguments,
                format!(
                    "cannot read the request: unknown media type {}",
                    content_type.unwrap_or("")
                ),
            )),
            Some(format) => {
                message.content_type = Some(ByteString::from_static(format.content_type()));
                let checked = arguments::check(format, &message.body.clone().into_bytes());
                checked.err().map(|cause| {
                    Fault::new(Code::InvalidArguments, cause).with_kind("MalformedRequest")
                })
            }
        };
        let method = routing_key.as_str().strip_prefix(service.as_str());
        let method = method.and_then(|rest| rest.strip_prefix('.'));
        message.method = method.and_then(|name| Address::new(name.to_owned()).ok());
        let unnamed = message.method.is_none().then(|| {
            Fault::new(Code::MethodNotFound, format!("no method has the key {routing_key}"))
        });
        message.fault = refused.or(unnamed).map(Box::new);
        match (&message.reply_to, &message.fault) {
            (None, Some(fault)) => {
                let error = malformed("it cannot be answered either: it has no reply_to");
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
        let body = match (&message.fault, message.body.is_empty()) {
            (_, false) => {
                let body = message.body.into_bytes();
                if let Err(error) = outcome::decode(address.format, &self.exceptions, &body) {
                    let text = "cannot send the reply: its dialect is not Nameko";
                    return Err(Error::new(ErrorKind::Config, text).with_source(error).unsent());
                }
                body
            }
            (Some(fault), true) => {
                outcome::encode_fault(address.format, &self.exceptions, fault)?.freeze()
            }
            // A service of the program's own may have no result.
            (None, true) => outcome::encode_result(address.format, &())?.freeze(),
        };
        let headers = FieldTable::default();
        let mut properties = properties(address.format).with_headers(headers);
        if let RequestId::Given(id) = address.id {
            properties = properties.with_correlation_id(ShortString::from(id));
        }
        Ok(AmqpMessage::new(address.key)?.with_properties(properties).with_body(body))
    }

    fn decode_reply(&self, reply: AmqpMessage) -> Result<Message> {
        let AmqpMessage { properties, body, .. } = reply;
        let id = properties.correlation_id().as_ref();
        let id = id.and_then(|id| id.as_str().rsplit('-').next()?.parse().ok()).map(CallId);
        let id = id.ok_or_else(|| malformed("the reply has no correlation id of this client"))?;
        let content_type = properties.content_type().as_ref().map(ShortString::as_str);
        let Some(format) = content_type.map_or(Some(self.format), Format::of) else {
            let error = malformed("the reply has an unknown media type");
            let error = error.with("content_type", content_type.unwrap_or_default());
            return Err(error.with_call(id));
        };
        let fault = outcome::decode(format, &self.exceptions, &body)
            .map_err(|error| error.with_call(id))?
            .err();
        let content_type = Some(ByteString::from_static(format.content_type()));
        let message = Message::new(body).with_id(id).with_content_type(content_type);
        Ok(message.with_fault(fault))
    }

    fn event_exchange(&self, channel: &Address) -> Result<LayoutExchange> {
        Ok(topology::event_exchange(channel))
    }

    fn event_queue(&self, consumer: &EventConsumer<'_>) -> Result<LayoutQueue> {
        topology::event_queue(consumer)
    }

    fn encode_event(&self, _: &Address, message: Message) -> Result<AmqpMessage> {
        let headers = context_headers::encode(&message.headers)?;
        let properties = properties(written_format(&message)?).with_headers(headers);
        let event = AmqpMessage::new(message.topic.as_ref().map_or("", Address::as_str))?;
        Ok(event.with_properties(properties).with_body(message.body.into_bytes()))
    }

    fn decode_event(&self, _: &Address, event: AmqpMessage) -> Result<Message> {
        let AmqpMessage { routing_key, properties, body, .. } = event;
        let content_type = properties.content_type().as_ref().map(ShortString::as_str);
        let format = content_type.map_or(Some(self.format), Format::of);
        let format = format.ok_or_else(|| malformed("the event has an unknown media type"))?;
        let topic = Address::new(routing_key.as_str().to_owned())
            .map_err(|error| malformed("its type is no topic").with_source(error))?;
        let content_type = Some(ByteString::from_static(format.content_type()));
        let message = Message::new(body).with_topic(topic).with_content_type(content_type);
        let headers = properties.headers().as_ref().map(context_headers::decode);
        Ok(message.with_headers(headers.unwrap_or_default()))
    }
}

/// Returns the properties that all messages of nameko have.
fn properties(format: Format) -> BasicProperties {
    BasicProperties::default()
        .with_content_type(format.content_type().into())
        .with_content_encoding(format.content_encoding().into())
        .with_delivery_mode(2)
        .with_priority(0)
}

/// Returns the format of a body that this program has written.
///
/// # Errors
///
/// [`ErrorKind::Config`], unsent, if another dialect has written the body.
fn written_format(message: &Message) -> Result<Format> {
    let written = message.content_type.as_deref();
    written.and_then(Format::of).ok_or_else(|| {
        let text = "cannot send the message: its dialect is not Nameko";
        let error = Error::new(ErrorKind::Config, text);
        error.with("content_type", written.unwrap_or("none")).unsent()
    })
}
