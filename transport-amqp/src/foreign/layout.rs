//! The trait of a foreign layout.

use polywire_core::{Address, Capabilities, Error, Message, Result};

use super::message::AmqpMessage;
use super::topology::{EventConsumer, LayoutExchange, LayoutQueue};

/// Layout of another system's messages on RabbitMQ: its queues and exchanges, and where a message
/// has its parts.
///
/// A layout is the half of a foreign wire format that core does not know. The other half, the
/// layout of a call in the body, is a [`Dialect`](polywire_core::Dialect); usually, one type
/// implements both. [`Amqp::with_layout`](crate::Amqp::with_layout) makes a transport of a layout.
///
/// All functions are pure, but for numbers that distinguish requests: the transport declares,
/// publishes and consumes. No function may panic, since arriving messages come from other programs.
///
/// # Calls
///
/// A request goes to the [exchange](Self::request_exchange) of its service, and arrives in its
/// [queue](Self::request_queue). A client does not declare that queue, so that a call without a
/// server can be unroutable. The requester's [unique text](Self::reply_queue) is part of each
/// request, and the server's reply finds the queue by it.
///
/// ```
/// use polywire_amqp::lapin::BasicProperties;
/// use polywire_amqp::{
///     AmqpLayout, AmqpMessage, LayoutExchange, LayoutQueue, QueueDeclaration, Topology,
/// };
/// use polywire_core::message::{CallId, ReplyTo};
/// use polywire_core::{Address, Message, Result};
///
/// /// Plain queues: a request in the queue of its service, a reply in the queue of `reply_to`.
/// /// The type is the method, and the correlation id the decimal call id.
/// struct Plain;
///
/// impl AmqpLayout for Plain {
///     fn request_exchange(&self, _: &Address) -> Result<LayoutExchange> {
///         Ok(LayoutExchange::new("", Topology::new()))
///     }
///
///     fn request_queue(&self, service: &Address) -> Result<LayoutQueue> {
///         let queue = QueueDeclaration::new(service.as_str());
///         Ok(LayoutQueue::new(service.as_str(), Topology::new().queue(queue)))
///     }
///
///     fn reply_exchange(&self, _: &Address) -> Result<LayoutExchange> {
///         Ok(LayoutExchange::new("", Topology::new()))
///     }
///
///     fn reply_queue(&self, _: &Address, unique: &str) -> Result<LayoutQueue> {
///         let queue = QueueDeclaration::new(unique).argument("x-expires", 60_000);
///         Ok(LayoutQueue::new(unique, Topology::new().queue(queue)).private())
///     }
///
///     fn encode_request(
///         &self,
///         service: &Address,
///         message: Message,
///         unique: &str,
///     ) -> Result<AmqpMessage> {
///         let method = message.method.as_ref().map_or("", Address::as_str);
///         let mut properties = BasicProperties::default().with_type(method.into());
///         if let Some(id) = message.id {
///             properties = properties.with_correlation_id(id.to_string().into());
///             properties = properties.with_reply_to(unique.into());
///         }
///         let request = AmqpMessage::new(service.as_str())?.mandatory();
///         Ok(request.with_properties(properties).with_body(message.body.into_bytes()))
///     }
///
///     fn decode_request(&self, _: &Address, request: AmqpMessage) -> Result<Message> {
///         let properties = request.properties;
///         let method = properties.kind().as_ref().map(|name| Address::new(name.as_str()));
///         let id = properties.correlation_id().as_ref().and_then(|id| id.as_str().parse().ok());
///         let reply_to = properties.reply_to().as_ref();
///         let reply_to = reply_to.map(|queue| ReplyTo::new(queue.as_str().as_bytes().to_vec()));
///         let message = Message::new(request.body).with_method(method.transpose()?);
///         Ok(message.with_id(id.map(CallId)).with_reply_to(reply_to))
///     }
///
///     fn encode_reply(&self, message: Message) -> Result<AmqpMessage> {
///         let queue = message.reply_to.map(|queue| queue.as_bytes().to_vec()).unwrap_or_default();
///         let id = message.id.map(|id| id.to_string()).unwrap_or_default();
///         let properties = BasicProperties::default().with_correlation_id(id.into());
///         let reply = AmqpMessage::new(String::from_utf8_lossy(&queue))?;
///         Ok(reply.with_properties(properties).with_body(message.body.into_bytes()))
///     }
///
///     fn decode_reply(&self, reply: AmqpMessage) -> Result<Message> {
///         let id = reply.properties.correlation_id().as_ref();
///         let id = id.and_then(|id| id.as_str().parse().ok()).map(CallId);
///         Ok(Message::new(reply.body).with_id(id))
///     }
/// }
///
/// let message = Message::new("[2, 3]").with_method(Address::new("add")?).with_id(CallId(7));
/// let service = Address::new("math")?;
/// let request = Plain.encode_request(&service, message, "replies-1")?;
/// assert_eq!(Plain.decode_request(&service, request)?.id, Some(CallId(7)));
/// # Ok::<(), polywire_core::Error>(())
/// ```
pub trait AmqpLayout: Send + Sync + 'static {
    /// Changes the capabilities of a transport with this layout.
    ///
    /// The given ones are those of a layout that settles requests after their replies, without
    /// events. They have [`unroutable_at_once`](Capabilities::unroutable_at_once), which a layout
    /// unsets whose requests are not [mandatory](AmqpMessage::mandatory). The default returns them.
    fn capabilities(&self, given: Capabilities) -> Capabilities {
        given
    }

    /// Returns the exchange that requests to `service` are published to.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) if the system cannot have a service
    /// of that name. The same holds for the other functions that return queues and exchanges.
    fn request_exchange(&self, service: &Address) -> Result<LayoutExchange>;

    /// Returns the queue that the servers of `service` share.
    ///
    /// # Errors
    ///
    /// Those of [`request_exchange`](Self::request_exchange).
    fn request_queue(&self, service: &Address) -> Result<LayoutQueue>;

    /// Returns the exchange that the replies of `service` are published to.
    ///
    /// # Errors
    ///
    /// Those of [`request_exchange`](Self::request_exchange).
    fn reply_exchange(&self, service: &Address) -> Result<LayoutExchange>;

    /// Returns the queue for the replies to one requester of `service`.
    ///
    /// `unique` is a text that no other requester gets, in the form of a UUID: 36 characters in
    /// lower case.
    ///
    /// # Errors
    ///
    /// Those of [`request_exchange`](Self::request_exchange).
    fn reply_queue(&self, service: &Address, unique: &str) -> Result<LayoutQueue>;

    /// Writes a request of the requester with this `unique` text. A message without an id is a
    /// one-way call.
    ///
    /// # Errors
    ///
    /// Unsent errors of a request that the system cannot express.
    fn encode_request(
        &self,
        service: &Address,
        message: Message,
        unique: &str,
    ) -> Result<AmqpMessage>;

    /// Reads a request.
    ///
    /// The message has a [reply address](Message::reply_to) if its caller waits; the layout writes
    /// into it all that [`encode_reply`](Self::encode_reply) needs. A request that cannot be read,
    /// and whose caller waits, is a message with a [fault](Message::fault).
    ///
    /// If the properties were malformed, the request has no headers, and may lack other parts. Only
    /// the reply address of the message counts then: the transport sets the fault.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](polywire_core::ErrorKind::Codec) if the request can neither be read nor
    /// answered. It is discarded then, counted and logged.
    fn decode_request(&self, service: &Address, request: AmqpMessage) -> Result<Message>;

    /// Writes a reply to the [reply address](Message::reply_to) of its request.
    ///
    /// A message with a [fault](Message::fault) has a body if the dialect has written the fault.
    /// Without a body, the fault is one of the server itself, such as that of a drain; the layout
    /// then writes the fault as the dialect would.
    ///
    /// # Errors
    ///
    /// Those of a reply that the system cannot express. The caller then gets a fault.
    fn encode_reply(&self, message: Message) -> Result<AmqpMessage>;

    /// Reads a reply, with the [id](Message::id) of its call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](polywire_core::ErrorKind::Codec) if the reply cannot be read. If the
    /// error [names its call](Error::with_call), that call fails. Any other reply is counted.
    fn decode_reply(&self, reply: AmqpMessage) -> Result<Message>;

    /// Returns the exchange that events of `channel` are published to.
    ///
    /// # Errors
    ///
    /// The default fails with [`ErrorKind::Unsupported`](polywire_core::ErrorKind::Unsupported),
    /// for layouts without events. So do the other functions for events.
    fn event_exchange(&self, channel: &Address) -> Result<LayoutExchange> {
        let _ = channel;
        Err(Error::unsupported("pubsub"))
    }

    /// Returns the queue of a subscriber.
    ///
    /// # Errors
    ///
    /// As [`event_exchange`](Self::event_exchange), also for filters and groups that the system
    /// does not have.
    fn event_queue(&self, consumer: &EventConsumer<'_>) -> Result<LayoutQueue> {
        let _ = consumer;
        Err(Error::unsupported("pubsub"))
    }

    /// Writes an event. Its [topic](Message::topic) is set.
    ///
    /// # Errors
    ///
    /// As [`event_exchange`](Self::event_exchange).
    fn encode_event(&self, channel: &Address, message: Message) -> Result<AmqpMessage> {
        let _ = (channel, message);
        Err(Error::unsupported("pubsub"))
    }

    /// Reads an event, with its [topic](Message::topic).
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`](polywire_core::ErrorKind::Codec) if the event cannot be read. It is
    /// discarded then, and the subscriber gets the error.
    fn decode_event(&self, channel: &Address, event: AmqpMessage) -> Result<Message> {
        let _ = (channel, event);
        Err(Error::unsupported("pubsub"))
    }
}
