//! An AMQP message as a layout reads and writes it.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::message::Delivery as Raw;
use lapin::types::ShortString;
use polywire_core::Result;

use crate::wire::native::short_string;

/// AMQP message of a foreign layout: routing key, properties and body.
///
/// ```
/// use polywire_amqp::AmqpMessage;
/// use polywire_amqp::lapin::BasicProperties;
///
/// let message = AmqpMessage::new("math.add")?
///     .mandatory()
///     .with_properties(BasicProperties::default().with_delivery_mode(2))
///     .with_body("[2, 3]");
/// assert_eq!(message.routing_key.as_str(), "math.add");
/// # Ok::<(), polywire_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct AmqpMessage {
    /// Routing key, of at most 255 bytes.
    pub routing_key: ShortString,
    /// Set if the broker returns the message when no queue takes it; the send then fails as
    /// [`Unroutable`](polywire_core::ErrorKind::Unroutable). Never set on an arriving message.
    pub mandatory: bool,
    /// Properties. The transport adds the `expiration` of a request with a deadline, and a
    /// `message_id` to a mandatory message that has none, by which it knows a returned message.
    pub properties: BasicProperties,
    /// Content.
    pub body: Bytes,
}

impl AmqpMessage {
    /// Creates a message with this routing key, without properties and with an empty body.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`](polywire_core::ErrorKind::TooLarge) if the key exceeds 255 bytes.
    pub fn new(routing_key: impl Into<String>) -> Result<Self> {
        let routing_key = short_string("routing_key", routing_key)?;
        Ok(Self { routing_key, ..Self::default() })
    }

    /// Lets the broker return the message when no queue takes it. The default is not to.
    #[must_use]
    pub fn mandatory(self) -> Self {
        Self { mandatory: true, ..self }
    }

    /// Sets the properties.
    #[must_use]
    pub fn with_properties(self, properties: BasicProperties) -> Self {
        Self { properties, ..self }
    }

    /// Sets the body.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    /// Takes the message out of a delivery.
    pub(super) fn of(raw: &mut Raw) -> Self {
        Self {
            routing_key: std::mem::take(&mut raw.routing_key),
            mandatory: false,
            properties: std::mem::take(&mut raw.properties),
            body: std::mem::take(&mut raw.data).into(),
        }
    }
}
