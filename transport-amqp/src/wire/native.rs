//! Polywire's own layout of messages on AMQP.
//!
//! | property | request | reply |
//! |---|---|---|
//! | exchange, routing key | the default exchange, the queue of the service | the default exchange, the `reply_to` of the request |
//! | `type` | the method | |
//! | `correlation_id` | `REQUESTER-CALL`, two numbers | as in the request |
//! | `message_id` | the caller's, else as the correlation id | `line-NUMBER` |
//! | `reply_to` | the reply queue, or `amq.rabbitmq.reply-to` | |
//! | `content_type` | the media type of the body | the same |
//! | `expiration` | the milliseconds until the deadline | |
//! | `priority` | as set by the user | |
//! | `user_id` | the user of the connection, if verified | |
//! | `delivery_mode` | 2, persistent | 2 |
//! | headers | the user's, as long strings; `polywire.once`, if the call is marked so | the user's; `polywire.fault` and its companions, if the call failed |
//!
//! | property | job | event |
//! |---|---|---|
//! | exchange, routing key | the default exchange, the job queue | the exchange of the channel, the topic |
//! | `type` | the method, if there is one | the same |
//! | `message_id` | the sender's, else a unique one | the same |
//! | `content_type` | the media type of the body | the same |
//! | `priority` | as set by the user | the same |
//! | `user_id` | the user of the connection, if verified | the same |
//! | `delivery_mode` | 2, persistent | 2 |
//! | headers | the user's, as long strings; `polywire.attempt` | the user's; `polywire.attempt`, `polywire.topic` |
//!
//! Retried and dead-lettered deliveries, and requeued deliveries of a classic queue, are published
//! again. The copy equals the original with these exceptions:
//!
//! - `polywire.attempt` is the number of the next attempt.
//! - `message_id` is set if the original had none.
//! - `polywire.crashes`, of a copy in the queue of suspects, is the number of consumers that ended
//!   while the message was their only suspect.
//! - `polywire.topic` holds the routing key of an event, since the copy goes through the default
//!   exchange.
//! - `polywire.malformed` stays: it holds the cause for which a delivery cannot be decoded, if its
//!   properties were rewritten on arrival.
//! - The headers of `history_headers.rs` hold errors and dead-letter records, those of
//!   `declined_by_headers.rs` the servers that declined a request.
//!
//! A message with a deadline has the header `polywire.sent`, the moment at which the remaining time
//! was written. A message that the broker must not remove has the remaining time in
//! `polywire.left`, in place of `expiration`. `polywire.keep.expired` marks a message that is kept
//! after its deadline.

mod batch;
mod batch_entry;
mod begin_permission;
mod canary;
mod declined_by_headers;
mod decode;
mod delivery_span;
mod encode;
mod headers;
mod history_headers;
mod properties;
mod queue_and_exchange_names;
mod reply_address;
mod short_string;

#[cfg(test)]
mod tests;

pub(crate) use self::batch::{
    BATCH_MAX, BatchWriter, CallBatch, ENTRIES_MAX, ENTRY_MAX, announce, announced, decode_replies,
    mark_redelivered,
};
pub(crate) use self::batch_entry::entry_len;
pub(crate) use self::begin_permission::{
    can_be_asked, decode_answer, decode_question, encode_answer, encode_check, encode_question,
    is_check,
};
pub(crate) use self::canary::{
    Canary, decode_canary, decode_canary_answer, encode_canary, encode_canary_answer,
};
pub(crate) use self::decode::{
    attempt, counted_attempt, crashes, decode_cancel, decode_dead_letter, decode_declines,
    decode_event, decode_job, decode_reply, decode_request, is_counted,
};
pub(crate) use self::delivery_span::delivery_span;
pub(crate) use self::encode::{
    encode_cancel, encode_event, encode_job, encode_redriven, encode_reply, encode_republished,
    encode_request,
};
pub(crate) use self::headers::{MALFORMED, check_well_formed, is_of_users};
pub(crate) use self::queue_and_exchange_names::{
    CANCEL_EXCHANGE, LOST_EXCHANGE, NOTICE_EXCHANGE, batches_queue, can_be_reported_missing,
    cancel_key, dead_letter_queue, event_exchange, group_queue, is_own, job_queue,
    mark_of_exchange, named_reply_queue, own_name, removal_mark, reply_queue, request_queue,
    retry_queue, subscriber_queue, suspects_queue,
};
pub(crate) use self::reply_address::{reply_address, requester_part, split_reply_address};
pub(crate) use self::short_string::short_string;
