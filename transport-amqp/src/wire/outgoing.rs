//! An AMQP message to publish.

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use polywire_core::Deadline;

use super::deadline_stamp;
use super::digits::push_decimal;

/// An AMQP message to publish: target, flags, properties and body.
///
/// It is complete except for the properties that depend on the channel and the moment of writing,
/// which [`stamp`](Self::stamp) adds.
#[derive(Clone, Debug)]
pub(crate) struct OutgoingMessage {
    /// Name of the exchange. The default exchange has an empty name.
    pub(crate) exchange: ShortString,
    /// Name of a queue, topic of an event, or key of a cancel.
    pub(crate) routing_key: ShortString,
    /// Flag by which the broker returns the message if no queue takes it.
    pub(crate) mandatory: bool,
    /// The sender that the `user_id` property may name.
    pub(crate) sender: MessageSender,
    /// Moment at which the message expires in its queue.
    pub(crate) deadline: Option<Deadline>,
    /// Keeps the message in its queue after the deadline, for the receiver to dead-letter.
    pub(crate) keep_expired: bool,
    /// Leaves out the headers of a deadline, for a message that another system reads.
    pub(crate) is_foreign: bool,
    /// All properties but those of [`stamp`](Self::stamp).
    pub(crate) properties: BasicProperties,
    pub(crate) body: Bytes,
}

/// The sender of a message, as far as it may be named.
///
/// The broker accepts no name but that of the user who publishes, and closes the channel of a
/// message with another one. So the property is our user or is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MessageSender {
    /// The message names no user.
    Unnamed,
    /// Our user sends the message.
    Ours,
    /// This user has sent the original of a copy, as the broker has verified. If it is ours, the
    /// copy names it as well. Our name for the message of another user would be false.
    Original(ShortString),
}

impl MessageSender {
    /// Returns whether the message may name our user `ours`, as the broker has verified it.
    fn may_name(&self, ours: &ShortString) -> bool {
        match self {
            Self::Unnamed => false,
            Self::Ours => true,
            Self::Original(user) => user == ours,
        }
    }
}

impl OutgoingMessage {
    /// Returns a mandatory message to one queue, through the default exchange.
    pub(crate) fn to_queue(queue: ShortString, properties: BasicProperties, body: Bytes) -> Self {
        Self {
            exchange: "".into(),
            routing_key: queue,
            mandatory: true,
            sender: MessageSender::Unnamed,
            deadline: None,
            keep_expired: false,
            is_foreign: false,
            properties,
            body,
        }
    }

    /// Lets the message name our user as its sender.
    pub(crate) fn with_user_id(self) -> Self {
        Self { sender: MessageSender::Ours, ..self }
    }

    /// Sets the properties that are known only when the message is written.
    ///
    /// - `user_id`: `user`, if the message may name its sender.
    /// - `expiration` and the headers of [`deadline_stamp`]: the milliseconds that remain until the
    ///   deadline, if there is one, and the present moment. A foreign message has no such headers.
    /// - `message_id`: `line-NUMBER`, if the broker may return the message and it has no id yet. No
    ///   id that another program gives has this form.
    pub(crate) fn stamp(&mut self, user: Option<&ShortString>, next_number: impl FnOnce() -> u64) {
        let mut properties = std::mem::take(&mut self.properties);
        if let Some(user) = user.filter(|user| self.sender.may_name(user)) {
            properties = properties.with_user_id(user.clone());
        }
        if let Some(deadline) = self.deadline {
            properties = match self.is_foreign {
                true => deadline_stamp::expire(properties, deadline),
                false => deadline_stamp::stamp(properties, deadline, self.keep_expired),
            };
        }
        if self.mandatory
            && properties.message_id().is_none()
            && let Ok(id) = ShortString::try_new(line_id(next_number()))
        {
            properties = properties.with_message_id(id);
        }
        self.properties = properties;
    }

    /// Returns the size of the content header in bytes.
    ///
    /// AMQP cannot split a content header, so it has to fit into one frame.
    ///
    /// The size is never too small. Properties of fixed size count whether they are set or not.
    pub(crate) fn header_len(&self) -> usize {
        let properties = &self.properties;
        let texts = [
            properties.content_type(),
            properties.correlation_id(),
            properties.reply_to(),
            properties.expiration(),
            properties.message_id(),
            properties.kind(),
            properties.content_encoding(),
            properties.app_id(),
            properties.user_id(),
        ];
        let texts = texts.into_iter().flatten().map(|text| text.as_str().len() + 1);
        let headers = properties.headers().iter().map(table_len);
        HEADER_FIXED + texts.chain(headers).sum::<usize>()
    }
}

/// Returns `line-NUMBER`.
fn line_id(number: u64) -> String {
    let mut id = String::with_capacity("line-".len() + 20);
    id.push_str("line-");
    push_decimal(&mut id, number);
    id
}

/// The 8 bytes of the frame itself, the 14 of every content header, the delivery mode, the
/// priority, the timestamp, and the length of the header table.
const HEADER_FIXED: usize = 8 + 14 + 1 + 1 + 8 + 4;
/// The length of a name, the type of a value, and the length of a value.
const FIELD_OVERHEAD: usize = 1 + 1 + 4;

fn table_len(table: &FieldTable) -> usize {
    let fields = table.inner().iter();
    fields.map(|(name, value)| name.as_str().len() + FIELD_OVERHEAD + value_len(value)).sum()
}

/// Returns the size of a value in bytes, without its length field.
///
/// Our own headers are long strings. A republished message may hold any type.
fn value_len(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::LongString(text) => text.as_bytes().len(),
        AMQPValue::ByteArray(bytes) => bytes.len(),
        AMQPValue::FieldArray(values) => {
            values.as_slice().iter().map(|value| FIELD_OVERHEAD + value_len(value)).sum()
        }
        AMQPValue::FieldTable(table) => table_len(table),
        // At most 8 bytes. Numbers have no length field, so 4 of them are in `FIELD_OVERHEAD`.
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn message() -> OutgoingMessage {
        OutgoingMessage::to_queue("q".into(), BasicProperties::default(), Bytes::new())
    }

    #[test]
    fn stamp_sets_the_user_only_where_the_message_may_name_it() {
        use MessageSender::{Original, Ours, Unnamed};
        for (sender, user, expected) in [
            (Ours, Some("alice"), Some("alice")),
            (Ours, None, None),
            (Unnamed, Some("alice"), None),
            (Original("alice".into()), Some("alice"), Some("alice")),
            (Original("bob".into()), Some("alice"), None),
            (Original("alice".into()), None, None),
        ] {
            let mut message = OutgoingMessage { sender: sender.clone(), ..message() };
            message.stamp(user.map(ShortString::from).as_ref(), || 0);
            let stamped = message.properties.user_id().as_ref().map(ShortString::as_str);
            assert_eq!(stamped, expected, "{sender:?} {user:?}");
        }
    }

    #[test]
    fn stamp_numbers_only_mandatory_messages_without_an_id() {
        for (mandatory, id, expected) in [
            (true, None, Some("line-7")),
            (true, Some("theirs"), Some("theirs")),
            (false, None, None),
            (false, Some("theirs"), Some("theirs")),
        ] {
            let mut message = OutgoingMessage { mandatory, ..message() };
            if let Some(id) = id {
                message.properties = BasicProperties::default().with_message_id(id.into());
            }
            message.stamp(None, || 7);
            let stamped = message.properties.message_id().as_ref().map(ShortString::as_str);
            assert_eq!(stamped, expected, "{mandatory} {id:?}");
        }
    }

    #[test]
    fn stamp_replaces_the_expiration_by_the_time_that_remains() {
        let properties = BasicProperties::default().with_expiration("60000".into());
        let mut message = OutgoingMessage { properties, ..message() };
        message.stamp(None, || 0);
        assert_eq!(message.properties.expiration().as_ref().unwrap().as_str(), "60000");
        message.deadline = Some(Deadline::after(Duration::from_secs(5)));
        message.stamp(None, || 0);
        let remaining = message.properties.expiration().as_ref().unwrap().as_str().parse().unwrap();
        assert!((4_000..=5_000_u64).contains(&remaining), "{remaining}");
    }

    #[test]
    fn foreign_message_expires_without_a_header() {
        for (is_foreign, has_headers) in [(false, true), (true, false)] {
            let deadline = Some(Deadline::after(Duration::from_secs(5)));
            let mut message = OutgoingMessage { deadline, is_foreign, ..message() };
            message.stamp(None, || 0);
            assert!(message.properties.expiration().is_some());
            assert_eq!(message.properties.headers().is_some(), has_headers, "{is_foreign}");
        }
    }
}
