//! The header table: headers of the user, faults, and headers that polywire and the broker reserve.

use bytes::Bytes;
use lapin::types::{AMQPValue, FieldTable};
use polywire_core::{Code, Error, ErrorKind, Fault, Headers, Result};

use super::short_string::short_string;

/// Prefix of the headers that polywire reserves.
const RESERVED: &str = "polywire.";
/// Code of a fault. A reply without this header is a success.
const FAULT_CODE: &str = "polywire.fault";
const FAULT_KIND: &str = "polywire.fault.kind";
const FAULT_MESSAGE: &str = "polywire.fault.message";
const FAULT_DETAILS: &str = "polywire.fault.details";
/// Mark of a fault that another attempt would not remove.
const FAULT_IS_PERMANENT: &str = "polywire.fault.permanent";
/// Number of the attempt, counted from 1.
pub(super) const ATTEMPT: &str = "polywire.attempt";
/// Number of consumers that ended while the message was their only suspect.
pub(super) const CRASHES: &str = "polywire.crashes";
/// Cause for which the message cannot be decoded: its properties, as they arrived, were malformed,
/// and were rewritten before the engine read them.
pub(crate) const MALFORMED: &str = "polywire.malformed";
/// Topic of an event that is published again.
pub(super) const TOPIC: &str = "polywire.topic";
/// Type of the cancellation of a call whose deadline has passed.
pub(super) const EXPIRED: &str = "expired";
/// Number of calls that a batch for the sender of this reply may hold.
pub(super) const BATCHES: &str = "polywire.batches";
/// Mark of a request that must never be begun twice.
pub(super) const ONCE: &str = "polywire.once";
/// Number of deliveries by a quorum queue that have failed before; up to RabbitMQ 4.2 of all
/// deliveries before.
pub(super) const DELIVERY_COUNT: &str = "x-delivery-count";
/// Number of all deliveries by a quorum queue before, from RabbitMQ 4.3 on.
pub(super) const ACQUIRED_COUNT: &str = "x-acquired-count";
/// Further routing keys of the message, by which RabbitMQ copies it to more queues.
pub(super) const CARBON_COPY: &str = "CC";
/// The same, without a trace in the copies.
const BLIND_CARBON_COPY: &str = "BCC";
/// Prefixes of the headers in which the broker records dead-lettering.
const BROKER_RECORDS: [&str; 3] = ["x-death", "x-first-death-", "x-last-death-"];

/// Encodes the headers of the user and the fault of a failed call.
///
/// # Errors
///
/// Unsent: [`ErrorKind::Config`] for a header name with the reserved prefix or of the broker,
/// [`ErrorKind::TooLarge`] for a header name of more than 255 bytes.
pub(super) fn encode_headers(headers: &Headers, fault: Option<&Fault>) -> Result<FieldTable> {
    let mut table = FieldTable::default();
    for (name, value) in headers.iter() {
        if name.starts_with(RESERVED) {
            let error = Error::new(
                ErrorKind::Config,
                "cannot send the header: the prefix `polywire.` is reserved",
            );
            return Err(error.with("header", name).unsent());
        }
        // The broker would copy the message to other queues, or close the channel over the type of
        // the value. What it records itself would not reach the handler.
        if [CARBON_COPY, BLIND_CARBON_COPY].contains(&&**name) || is_broker_record(name) {
            let text = "cannot send the header: RabbitMQ routes or records by this name";
            return Err(Error::new(ErrorKind::Config, text).with("header", name).unsent());
        }
        table.insert(
            short_string("header", &**name)?,
            AMQPValue::LongString(value.as_bytes().to_vec().into()),
        );
    }
    if let Some(fault) = fault {
        let mut set = |name: &'static str, value: &[u8]| {
            table.insert(name.into(), AMQPValue::LongString(value.to_vec().into()));
        };
        set(FAULT_CODE, fault.code.as_str().as_bytes());
        set(FAULT_KIND, fault.kind.as_bytes());
        set(FAULT_MESSAGE, fault.message.as_bytes());
        set(FAULT_DETAILS, &fault.details);
        if fault.is_permanent() {
            table.insert(FAULT_IS_PERMANENT.into(), AMQPValue::Boolean(true));
        }
    }
    Ok(table)
}

/// Decodes the headers of the user.
///
/// Headers that are no long strings come from the broker or from another program, and are skipped.
///
/// # Errors
///
/// [`ErrorKind::Codec`] if the value of a header is not UTF-8.
pub(super) fn user_headers(table: &FieldTable) -> Result<Headers> {
    let is_users = |name: &str| !name.starts_with(RESERVED) && !is_broker_record(name);
    let users = table.inner().iter().filter(|(name, _)| is_users(name.as_str()));
    users
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), text(value)?)))
        .map(|(name, value)| {
            let value = value.map_err(|_| {
                undecodable("a header is not UTF-8").with("header", name.escape_debug())
            })?;
            Ok((name, value))
        })
        .collect::<Result<Vec<_>>>()
        .map(Headers::from_iter)
}

/// Decodes the fault of a failed call. A reply without a fault code is a success.
///
/// # Errors
///
/// [`ErrorKind::Codec`] if the code, the kind or the message is not UTF-8.
pub(super) fn fault(table: &FieldTable) -> Result<Option<Fault>> {
    let bytes = |name| match table.inner().get(name) {
        Some(AMQPValue::LongString(value)) => Some(Bytes::copy_from_slice(value.as_bytes())),
        _ => None,
    };
    let text = |name| match bytes(name) {
        Some(value) => String::from_utf8(value.into())
            .map_err(|_| undecodable("its fault is not UTF-8").with("header", name)),
        None => Ok(String::new()),
    };
    let code = text(FAULT_CODE)?;
    if code.is_empty() {
        return Ok(None);
    }
    let fault =
        Fault::new(Code::from_name(&code), text(FAULT_MESSAGE)?).with_kind(text(FAULT_KIND)?);
    let fault = fault.with_details(bytes(FAULT_DETAILS).unwrap_or_default());
    let is_permanent =
        matches!(table.inner().get(FAULT_IS_PERMANENT), Some(AMQPValue::Boolean(true)));
    Ok(Some(if is_permanent { fault.permanent() } else { fault }))
}

/// Fails for a message whose properties were malformed.
///
/// # Errors
///
/// [`ErrorKind::Codec`] with the cause.
pub(crate) fn check_well_formed(table: Option<&FieldTable>) -> Result<()> {
    match table.and_then(|table| text(table.inner().get(MALFORMED)?)) {
        None => Ok(()),
        Some(cause) => Err(Error::new(ErrorKind::Codec, "cannot decode the message")
            .with("because", cause.unwrap_or_default())),
    }
}

/// Returns whether a header is one of the user, whose name is free for that.
pub(crate) fn is_of_users(name: &str) -> bool {
    let is_copying = [CARBON_COPY, BLIND_CARBON_COPY].contains(&name);
    !name.starts_with(RESERVED) && !is_copying && !is_broker_record(name)
}

/// Returns whether the broker uses this header to record dead-lettering and redeliveries.
///
/// RabbitMQ documents the records of [dead-lettering](https://www.rabbitmq.com/docs/dlx), and the
/// counts of [quorum queues](https://www.rabbitmq.com/docs/quorum-queues).
pub(super) fn is_broker_record(name: &str) -> bool {
    [DELIVERY_COUNT, ACQUIRED_COUNT].contains(&name)
        || BROKER_RECORDS.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns the text of a long string, and `None` for any other type of value.
pub(super) fn text(value: &AMQPValue) -> Option<Result<String, std::string::FromUtf8Error>> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8(text.as_bytes().to_vec())),
        _ => None,
    }
}

/// Returns a count, whichever width of integer the sender chose.
///
/// `None` for a negative number, and for one beyond 32 bits.
pub(super) fn count(value: &AMQPValue) -> Option<u32> {
    match *value {
        AMQPValue::ShortShortInt(n) => n.try_into().ok(),
        AMQPValue::ShortShortUInt(n) => Some(n.into()),
        AMQPValue::ShortInt(n) => n.try_into().ok(),
        AMQPValue::ShortUInt(n) => Some(n.into()),
        AMQPValue::LongInt(n) => n.try_into().ok(),
        AMQPValue::LongUInt(n) => Some(n),
        AMQPValue::LongLongInt(n) => n.try_into().ok(),
        _ => None,
    }
}

/// Returns the error for a message that cannot be decoded.
pub(super) fn undecodable(because: &'static str) -> Error {
    Error::new(ErrorKind::Codec, "cannot decode the message").with("because", because)
}
