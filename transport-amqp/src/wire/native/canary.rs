//! Canaries: messages that go through the queue of an endpoint handle and back.
//!
//! | property | canary | answer |
//! |---|---|---|
//! | exchange, routing key | the default exchange, the queue of the handle | the default exchange, the `reply` header of the canary |
//! | `type` | `polywire.canary` | `polywire.canary` |
//! | `message_id` | `canary-NUMBER` | the same |
//! | `app_id` | | the instance that received the canary |
//! | `expiration` | the milliseconds that its sender waits; none if the queue dead-letters | 5000 |
//! | `delivery_mode` | 1 | 1 |
//! | headers | `polywire.malformed`, `polywire.canary.reply` | |
//!
//! The header `polywire.malformed` is for programs of earlier versions, which know no canaries:
//! they take the message for one that cannot be decoded. So it reaches no handler there.

use std::time::Duration;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use polywire_core::Deadline;

use super::headers::{MALFORMED, text};
use crate::wire::outgoing::OutgoingMessage;

/// A canary, as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Canary {
    /// The number of the canary, which is unique.
    pub(crate) number: u128,
    /// The queue for the answer of another receiver, if its sender has one.
    pub(crate) reply_queue: Option<ShortString>,
}

/// Encodes a canary for a queue. The broker removes it after `limit`, if there is one.
pub(crate) fn encode_canary(
    queue: &ShortString,
    canary: &Canary,
    limit: Option<Duration>,
) -> OutgoingMessage {
    let mut headers = FieldTable::default();
    headers.insert(MALFORMED.into(), AMQPValue::LongString(CAUSE.into()));
    if let Some(reply_queue) = &canary.reply_queue {
        let reply_queue = reply_queue.as_str().to_owned();
        headers.insert(REPLY.into(), AMQPValue::LongString(reply_queue.into()));
    }
    expiring(queue.clone(), properties(canary.number).with_headers(headers), limit)
}

/// Decodes a canary; `None` if the message is something else.
pub(crate) fn decode_canary(properties: &BasicProperties) -> Option<Canary> {
    let number = number(properties)?;
    let headers = properties.headers().as_ref()?.inner();
    headers.get(MALFORMED)?;
    let reply_queue = headers.get(REPLY).and_then(text).and_then(Result::ok);
    let reply_queue = reply_queue.and_then(|queue| ShortString::try_new(queue).ok());
    Some(Canary { number, reply_queue })
}

/// Encodes the answer to a canary of another instance; `None` if its sender has no queue for it.
pub(crate) fn encode_canary_answer(canary: &Canary, instance: &str) -> Option<OutgoingMessage> {
    let instance = ShortString::try_new(instance).unwrap_or_default();
    let properties = properties(canary.number).with_app_id(instance);
    let answer = expiring(canary.reply_queue.clone()?, properties, Some(ANSWER_EXPIRES));
    // A sender that stopped waiting has deleted its queue.
    Some(OutgoingMessage { mandatory: false, ..answer })
}

/// Decodes the answer to a canary: its number, and the instance that received it.
pub(crate) fn decode_canary_answer(properties: &BasicProperties) -> Option<(u128, String)> {
    let instance = properties.app_id().as_ref()?.as_str().to_owned();
    Some((number(properties)?, instance))
}

fn properties(number: u128) -> BasicProperties {
    let id = ShortString::try_new(format!("{ID}{number:032x}")).unwrap_or_default();
    BasicProperties::default().with_delivery_mode(1).with_type(TYPE.into()).with_message_id(id)
}

/// Returns a mandatory message without a body, which expires after `limit`, if there is one.
fn expiring(
    queue: ShortString,
    properties: BasicProperties,
    limit: Option<Duration>,
) -> OutgoingMessage {
    let deadline = limit.map(Deadline::after);
    OutgoingMessage { deadline, ..OutgoingMessage::to_queue(queue, properties, Bytes::new()) }
}

fn number(properties: &BasicProperties) -> Option<u128> {
    properties.kind().as_ref().filter(|kind| kind.as_str() == TYPE)?;
    let number = properties.message_id().as_ref()?.as_str().strip_prefix(ID)?;
    u128::from_str_radix(number, 16).ok()
}

const TYPE: &str = "polywire.canary";
const ID: &str = "canary-";
/// Header with the queue for the answer.
const REPLY: &str = "polywire.canary.reply";
/// Cause for which earlier versions cannot decode a canary.
const CAUSE: &str = "it is a canary, which later versions answer; no work is lost";
/// The time after which the broker drops an answer.
const ANSWER_EXPIRES: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use lapin::message::Delivery;
    use polywire_core::Limits;

    use super::*;
    use crate::wire::native;

    fn delivery(message: &OutgoingMessage) -> Delivery {
        let (exchange, key) = (message.exchange.clone(), message.routing_key.clone());
        let mut raw = Delivery::mock(1, exchange, key, false, Vec::new());
        raw.properties = message.properties.clone();
        raw
    }

    #[test]
    fn canaries_and_their_answers_carry_the_number() {
        let limit = Some(Duration::from_secs(3));
        for reply_queue in [Some(ShortString::from("answers")), None] {
            let canary = Canary { number: u128::MAX - 7, reply_queue };
            let mut sent = encode_canary(&"q".into(), &canary, limit);
            sent.stamp(None, || 0);
            assert!(sent.properties.expiration().is_some());
            assert_eq!(decode_canary(&sent.properties), Some(canary.clone()));
            let answer = encode_canary_answer(&canary, "process 1");
            assert_eq!(answer.is_some(), canary.reply_queue.is_some());
            let Some(answer) = answer else { continue };
            assert_eq!(answer.routing_key.as_str(), "answers");
            let (number, instance) = decode_canary_answer(&answer.properties).unwrap();
            assert_eq!((number, instance.as_str()), (canary.number, "process 1"));
            assert!(decode_canary(&answer.properties).is_none());
        }
    }

    #[test]
    fn other_messages_are_no_canaries() {
        let request = BasicProperties::default().with_type("polywire.canary".into());
        assert!(decode_canary(&request).is_none());
        let named = request.with_message_id("canary-1f".into());
        assert!(decode_canary(&named).is_none() && decode_canary_answer(&named).is_none());
        assert!(decode_canary(&named.with_message_id("canary-x".into())).is_none());
    }

    #[test]
    fn earlier_versions_cannot_decode_a_canary_and_do_not_answer_it() {
        let canary = Canary { number: 7, reply_queue: Some("answers".into()) };
        let sent = encode_canary(&"q".into(), &canary, None);
        let limits = Limits::default();
        let failure = native::decode_request(&mut delivery(&sent), &limits).unwrap_err();
        assert!(failure.message.reply_to.is_none());
        assert!(native::decode_job(&mut delivery(&sent), &limits).is_err());
        assert!(native::decode_event(&mut delivery(&sent), &limits).is_err());
    }
}
