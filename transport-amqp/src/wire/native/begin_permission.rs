//! Messages about the permission to begin a call that runs at most once.
//!
//! None is persistent, and each expires soon. The property `type` names the message and the number
//! of the delivery, as in `ask-7`. The correlation id is that of the request.

use std::time::Duration;

use bytes::Bytes;
use lapin::BasicProperties;
use lapin::types::ShortString;
use polywire_core::message::ReplyTo;
use polywire_core::transport::{Answer, Asked, Question, ServerAddress};
use polywire_core::{Deadline, Result};

use super::properties::{correlation, correlation_id};
use super::queue_and_exchange_names::can_answer;
use super::reply_address::{ReplyAddress, reply_address};
use super::short_string::short_string;
use crate::wire::correlation::Correlation;
use crate::wire::outgoing::OutgoingMessage;

/// Returns whether the caller with this reply address answers servers that ask.
pub(crate) fn can_be_asked(reply_to: &ReplyTo) -> bool {
    ReplyAddress::parse(reply_to).is_some_and(|address| can_answer(address.queue.as_str()))
}

/// Encodes the question of a server, for the reply queue of the caller. `None` if the caller cannot
/// answer.
pub(crate) fn encode_question(
    question: &Question,
    control_queue: &ShortString,
) -> Option<OutgoingMessage> {
    let address = ReplyAddress::parse(&question.reply_to)?;
    let properties = properties(ASK, question.delivery)
        .with_correlation_id(address.correlation_id?)
        .with_reply_to(control_queue.clone());
    Some(expiring(address.queue, properties))
}

/// Decodes the question of a server; `None` if the message is something else, such as a reply.
pub(crate) fn decode_question(properties: &BasicProperties) -> Option<(u64, Asked)> {
    // Replies have no type.
    let delivery = delivery(properties.kind().as_ref()?, ASK)?;
    let Correlation { requester, call } = correlation(properties)?;
    let server = properties.reply_to().as_ref()?.as_str().to_owned();
    Some((requester, Asked::new(call, ServerAddress::new(server), delivery)))
}

/// Encodes the answer to a server, for its control queue.
///
/// # Errors
///
/// [`TooLarge`](polywire_core::ErrorKind::TooLarge) if the address of the server is no queue name.
pub(crate) fn encode_answer(
    asked: &Asked,
    requester: u64,
    reply_queue: &ShortString,
    is_permitted: bool,
) -> Result<OutgoingMessage> {
    let properties = properties(if is_permitted { PERMIT } else { DENY }, asked.delivery)
        .with_correlation_id(correlation_id(requester, asked.id)?)
        .with_reply_to(reply_queue.clone());
    Ok(OutgoingMessage { mandatory: false, ..expiring(queue_of(&asked.server)?, properties) })
}

/// Decodes the answer of a caller; `None` if the message is something else.
pub(crate) fn decode_answer(properties: &BasicProperties) -> Option<Answer> {
    let kind = properties.kind().as_ref()?;
    let permitted = delivery(kind, PERMIT).map(|delivery| (delivery, true));
    let (delivery, is_permitted) =
        permitted.or_else(|| delivery(kind, DENY).map(|delivery| (delivery, false)))?;
    let id = correlation(properties)?.call;
    Some(Answer::new(Question::new(reply_address(properties)?, id, delivery), is_permitted))
}

/// Encodes a mandatory message without content to the control queue of a server. The broker returns
/// it if the server is gone.
///
/// # Errors
///
/// [`TooLarge`](polywire_core::ErrorKind::TooLarge) if the address of the server is no queue name.
pub(crate) fn encode_check(server: &ServerAddress) -> Result<OutgoingMessage> {
    let properties = BasicProperties::default().with_delivery_mode(1).with_type(CHECK.into());
    Ok(expiring(queue_of(server)?, properties))
}

/// Returns whether a message is a check, which needs no answer.
pub(crate) fn is_check(properties: &BasicProperties) -> bool {
    properties.kind().as_ref().is_some_and(|kind| kind.as_str() == CHECK)
}

fn properties(kind: &str, delivery: u64) -> BasicProperties {
    let kind = ShortString::try_new(format!("{kind}{delivery}")).unwrap_or_default();
    BasicProperties::default().with_delivery_mode(1).with_type(kind)
}

/// Returns a mandatory message without a body, which expires after 5 seconds.
fn expiring(queue: ShortString, properties: BasicProperties) -> OutgoingMessage {
    let deadline = Some(Deadline::after(EXPIRES));
    OutgoingMessage { deadline, ..OutgoingMessage::to_queue(queue, properties, Bytes::new()) }
}

/// Returns the control queue of a server, which its address names.
fn queue_of(server: &ServerAddress) -> Result<ShortString> {
    short_string("server address", String::from_utf8_lossy(server.as_bytes()).into_owned())
}

/// Returns the number behind the word of a message.
fn delivery(kind: &ShortString, word: &str) -> Option<u64> {
    kind.as_str().strip_prefix(word)?.parse().ok()
}

const ASK: &str = "ask-";
const PERMIT: &str = "permit-";
const DENY: &str = "deny-";
const CHECK: &str = "check";
/// The time after which the broker drops a message. A server repeats its question sooner.
const EXPIRES: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use polywire_core::message::CallId;

    use super::*;

    #[test]
    fn questions_and_answers_name_the_delivery_and_the_call() {
        let request = BasicProperties::default()
            .with_reply_to("polywire.reply.ask.1".into())
            .with_correlation_id("3-7".into());
        let question = Question::new(reply_address(&request).unwrap(), CallId(7), 12);
        assert!(can_be_asked(&question.reply_to));
        let sent = encode_question(&question, &"control".into()).unwrap();
        assert_eq!((sent.routing_key.as_str(), sent.mandatory), ("polywire.reply.ask.1", true));
        let (requester, asked) = decode_question(&sent.properties).unwrap();
        assert_eq!((requester, asked.id, asked.delivery), (3, CallId(7), 12));
        for is_permitted in [true, false] {
            let answer =
                encode_answer(&asked, 3, &"polywire.reply.ask.1".into(), is_permitted).unwrap();
            assert_eq!(answer.routing_key.as_str(), "control");
            let decoded = decode_answer(&answer.properties).unwrap();
            assert_eq!(decoded, Answer::new(question.clone(), is_permitted));
        }
    }

    #[test]
    fn other_messages_are_no_questions_and_older_callers_are_not_asked() {
        let reply = BasicProperties::default().with_correlation_id("3-7".into());
        assert!(decode_question(&reply).is_none() && decode_answer(&reply).is_none());
        let odd = reply.with_type("ask-x".into()).with_reply_to("control".into());
        assert!(decode_question(&odd).is_none() && !is_check(&odd));
        for queue in ["polywire.reply.0123", "amq.rabbitmq.reply-to.g1", "mine"] {
            let request = BasicProperties::default().with_reply_to(queue.into());
            assert!(!can_be_asked(&reply_address(&request).unwrap()), "{queue}");
        }
        let check = encode_check(&ServerAddress::new("control")).unwrap();
        assert!(check.mandatory && is_check(&check.properties));
    }
}
