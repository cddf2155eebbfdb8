//! Routing of the messages that arrive at a reply queue: single replies, batches of replies, and
//! batches of calls that come back.

use lapin::message::Delivery as Raw;
use polywire_core::transport::Delivery;
use polywire_core::{Error, Limits, Message, Result};

use crate::consuming::open_requesters::OpenRequesters;
use crate::wire::Correlation;
use crate::wire::native::{self, CallBatch};

/// Routes each reply to its requester, and each call of a batch that has come back.
///
/// # Errors
///
/// [`Codec`](polywire_core::ErrorKind::Codec) or [`TooLarge`](polywire_core::ErrorKind::TooLarge)
/// if the message cannot be decoded, and names no call.
pub(super) fn route(requesters: &OpenRequesters, mut raw: Raw, limits: &Limits) -> Result<()> {
    let announced = native::announced(&raw.properties);
    // Single replies have no type.
    if raw.properties.kind().is_some() {
        if let Some(replies) = native::decode_replies(&mut raw, limits) {
            for (correlation, reply) in replies? {
                send(requesters, correlation, announced, reply);
            }
            return Ok(());
        }
        if let Some(returned) = CallBatch::decode_returned(&mut raw) {
            for (Correlation { requester, call }, message) in returned?.calls() {
                requesters.returned(requester, call, message);
            }
            return Ok(());
        }
    }
    match native::decode_reply(raw, limits) {
        Ok((correlation, message)) => send(requesters, correlation, announced, Ok(message)),
        Err(failure) => match failure.correlation {
            Some(correlation) => send(requesters, correlation, None, Err(failure.error)),
            None => return Err(failure.error),
        },
    }
    Ok(())
}

/// Sends a reply to its requester, with the announcement of the server.
fn send(
    requesters: &OpenRequesters,
    correlation: Correlation,
    announced: Option<usize>,
    reply: Result<Message, Error>,
) {
    let Correlation { requester, call } = correlation;
    if let Some(calls) = announced {
        requesters.announced(requester, calls);
    }
    let reply = reply.map(Delivery::settled).map_err(|error| error.with_call(call));
    requesters.send(requester, reply);
}
