//! The half of the format on RabbitMQ.
//!
//! A request goes to the queue `jsonrpc.SERVICE`, and its reply to the queue in `reply_to`. The id
//! in the body matches both.

use polywire::amqp::lapin::BasicProperties;
use polywire::amqp::{
    AmqpLayout, AmqpMessage, LayoutExchange, LayoutQueue, QueueDeclaration, Topology,
};
use polywire::message::{CallId, ReplyTo};
use polywire::{Address, Code, Codec, Error, ErrorKind, Fault, Json, Message, Result};

use crate::dialect::JsonRpc;
use crate::envelope::{self, INVALID_REQUEST, ReplyHead, RequestHead, RequestId};

impl AmqpLayout for JsonRpc {
    fn request_exchange(&self, _: &Address) -> Result<LayoutExchange> {
        Ok(LayoutExchange::new("", Topology::new()))
    }

    fn request_queue(&self, service: &Address) -> Result<LayoutQueue> {
        let name = format!("jsonrpc.{service}");
        let topology = Topology::new().queue(QueueDeclaration::new(&name));
        Ok(LayoutQueue::new(name, topology))
    }

    fn reply_exchange(&self, _: &Address) -> Result<LayoutExchange> {
        Ok(LayoutExchange::new("", Topology::new()))
    }

    fn reply_queue(&self, _: &Address, unique: &str) -> Result<LayoutQueue> {
        let name = reply_queue_name(unique);
        let queue = QueueDeclaration::new(&name).argument("x-expires", 60_000);
        Ok(LayoutQueue::new(name, Topology::new().queue(queue)).private())
    }

    fn encode_request(
        &self,
        service: &Address,
        message: Message,
        unique: &str,
    ) -> Result<AmqpMessage> {
        let method = message.method.as_ref().map_or("", Address::as_str).to_owned();
        let id = message.id.map(|CallId(id)| id);
        let body = envelope::request(&method, &json_text(message)?, id)?;
        let mut properties = properties();
        if let Some(id) = id {
            // The broker returns a request that no queue takes; this id distinguishes it.
            properties = properties.with_correlation_id(format!("{unique}-{id}").into());
            properties = properties.with_reply_to(reply_queue_name(unique).into());
        }
        let request = AmqpMessage::new(format!("jsonrpc.{service}"))?.mandatory();
        Ok(request.with_properties(properties).with_body(body))
    }

    fn decode_request(&self, service: &Address, request: AmqpMessage) -> Result<Message> {
        let AmqpMessage { properties, body, .. } = request;
        let head = Json.decode::<RequestHead>(&body).ok().filter(|head| head.jsonrpc == "2.0");
        let mut message = Message::new(body);
        // A request that cannot be read is answered with the id null.
        let id = match &head {
            Some(RequestHead { id: None, .. }) => None,
            Some(RequestHead { id: Some(id), .. }) => Some(envelope::text_of(id)?),
            None => Some("null".to_owned()),
        };
        let own_queue = format!("jsonrpc.{service}");
        let queue = properties.reply_to().as_ref().filter(|queue| queue.as_str() != own_queue);
        if let (Some(id), Some(queue)) = (id, queue) {
            message.reply_to = Some(ReplyTo::new(format!("{queue}\n{id}")));
        }
        let fault = match &head {
            None => {
                let fault = Fault::new(Code::InvalidArguments, "the request is no JSON-RPC 2.0");
                Some(fault.with_kind(INVALID_REQUEST))
            }
            Some(head) => match Address::new(head.method.clone()) {
                Ok(method) => {
                    message.method = Some(method);
                    None
                }
                Err(error) => Some(Fault::new(Code::MethodNotFound, error.to_string())),
            },
        };
        match &fault {
            Some(fault) if message.reply_to.is_none() => {
                Err(malformed("the request").with("fault", fault))
            }
            _ => Ok(message.with_fault(fault)),
        }
    }

    fn encode_reply(&self, message: Message) -> Result<AmqpMessage> {
        let address = message.reply_to.as_ref().map(|address| address.as_bytes().to_vec());
        let address = String::from_utf8(address.unwrap_or_default()).unwrap_or_default();
        let (queue, id) = address.rsplit_once('\n').ok_or_else(|| {
            let text = "cannot reply: the request has no reply address of this layout";
            Error::new(ErrorKind::Unroutable, text).unsent()
        })?;
        let body = match &message.fault {
            Some(fault) => envelope::failure(fault, id)?,
            None if message.body.is_empty() => envelope::success("null", id),
            None => envelope::success(&json_text(message)?, id),
        };
        Ok(AmqpMessage::new(queue)?.with_properties(properties()).with_body(body))
    }

    fn decode_reply(&self, reply: AmqpMessage) -> Result<Message> {
        let head = Json.decode::<ReplyHead>(&reply.body)?;
        let Some(RequestId::Number(id)) = head.id else { return Err(malformed("the reply")) };
        let fault = head.error.map(|error| envelope::fault(error, &reply.body));
        Ok(Message::new(reply.body).with_id(CallId(id)).with_fault(fault))
    }
}

fn reply_queue_name(unique: &str) -> String {
    format!("jsonrpc.reply.{unique}")
}

/// Persistent, as the capabilities of the transport say.
fn properties() -> BasicProperties {
    let properties = BasicProperties::default().with_delivery_mode(2);
    properties.with_content_type("application/json".into())
}

/// Returns the body that the dialect has written.
///
/// # Errors
///
/// [`ErrorKind::Config`], unsent, if another dialect has written the body.
fn json_text(message: Message) -> Result<String> {
    if message.content_type.as_deref() != Some(Json::CONTENT_TYPE) {
        let error = Error::new(ErrorKind::Config, "cannot send: the dialect is not JsonRpc");
        return Err(error.unsent());
    }
    Ok(String::from_utf8_lossy(&message.body.into_bytes()).into_owned())
}

fn malformed(part: &'static str) -> Error {
    Error::new(ErrorKind::Codec, "cannot decode: no envelope of JSON-RPC 2.0").with("part", part)
}
