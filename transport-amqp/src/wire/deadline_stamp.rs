//! The property and the headers that carry a deadline, and the moment at which they were written.

use std::collections::BTreeMap;
use std::time::Duration;

use lapin::BasicProperties;
use lapin::types::{AMQPValue, ShortString};
use polywire_core::Deadline;
use polywire_core::message::SentAt;

use super::digits::{decimal, push_decimal, push_hexadecimal};

/// Header with the milliseconds that remain until the deadline of a request which the broker must
/// not remove: one that waits in a retry queue, or is kept after its deadline.
pub(crate) const REMAINING: &str = "polywire.left";
/// Header of a request that is kept after its deadline, to be dead-lettered. Its value is `true`.
pub(crate) const KEEP_EXPIRED: &str = "polywire.keep.expired";
/// Header with the moment at which the remaining time was written: a [`SentAt`] as text.
const SENT: &str = "polywire.sent";

/// Bytes of a stamp.
const SENT_MAX: usize = 16 + 1 + 20;

/// The fields of a header table.
type Fields = BTreeMap<ShortString, AMQPValue>;

/// Writes the time that remains until a deadline, and the present moment.
///
/// The remaining time goes to the property `expiration`, after which the broker removes the
/// message. With `keep_expired`, a header takes the place of the property.
pub(super) fn stamp(
    mut properties: BasicProperties,
    deadline: Deadline,
    keep_expired: bool,
) -> BasicProperties {
    let headers = properties.headers().as_ref();
    let mut headers = headers.map(|table| table.inner().clone()).unwrap_or_default();
    write_sent(&mut headers, SentAt::now());
    if keep_expired {
        let remaining = decimal(deadline.remaining_ms());
        headers.insert(REMAINING.into(), AMQPValue::LongString(remaining.into()));
    } else {
        properties = expire(properties, deadline);
    }
    properties.with_headers(headers.into())
}

/// Writes the time that remains until a deadline to the property `expiration`, and no header.
pub(super) fn expire(properties: BasicProperties, deadline: Deadline) -> BasicProperties {
    match ShortString::try_new(decimal(deadline.remaining_ms())) {
        Ok(remaining) => properties.with_expiration(remaining),
        Err(_) => properties,
    }
}

/// Writes the time that will remain after `delay` until a deadline, for a copy that waits so long
/// in a retry queue. The broker removes the expiration of a message that leaves a retry queue.
///
/// Both values are those of the moment at which the broker moves the copy out of the retry queue.
pub(super) fn write_delayed(headers: &mut Fields, deadline: Deadline, delay: Duration) {
    let remaining = deadline.remaining().saturating_sub(delay).as_millis().to_string();
    headers.insert(REMAINING.into(), AMQPValue::LongString(remaining.into()));
    let mut sent = SentAt::now();
    let delay = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    sent.ms = sent.ms.saturating_add(delay);
    write_sent(headers, sent);
}

/// Returns the moment at which the remaining time of a request was written, by the clock of its
/// sender. `None` if the request has no stamp, or a malformed one.
pub(crate) fn sent_at(properties: &BasicProperties) -> Option<SentAt> {
    match properties.headers().as_ref()?.inner().get(SENT)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok()?.parse().ok(),
        _ => None,
    }
}

/// Returns whether a request is kept after its deadline.
pub(super) fn keeps_expired(headers: &Fields) -> bool {
    matches!(headers.get(KEEP_EXPIRED), Some(AMQPValue::Boolean(true)))
}

/// Removes the remaining time and its stamp from the headers of a copy.
pub(super) fn remove(headers: &mut Fields) {
    headers.remove(REMAINING);
    headers.remove(SENT);
}

fn write_sent(headers: &mut Fields, sent: SentAt) {
    // As `SentAt` writes itself.
    let mut text = String::with_capacity(SENT_MAX);
    push_hexadecimal(&mut text, sent.clock);
    text.push('-');
    push_decimal(&mut text, sent.ms);
    headers.insert(SENT.into(), AMQPValue::LongString(text.into()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamp_says_when_the_remaining_time_was_written() {
        let stamped = |keep_expired| {
            let deadline = Deadline::after(Duration::from_secs(5));
            stamp(BasicProperties::default(), deadline, keep_expired)
        };
        let before = SentAt::now();
        let [removed, kept] = [false, true].map(stamped);
        for properties in [&removed, &kept] {
            let sent = sent_at(properties).unwrap();
            assert!(sent.clock == before.clock && sent.ms >= before.ms, "{sent}");
            let text = properties.headers().as_ref().unwrap().inner().get(SENT).unwrap();
            assert_eq!(*text, AMQPValue::LongString(sent.to_string().into()));
        }
        assert!(removed.expiration().is_some() && kept.expiration().is_none());
        assert!(kept.headers().as_ref().unwrap().inner().contains_key(REMAINING));
    }

    #[test]
    fn copy_that_waits_counts_its_time_from_the_end_of_the_wait() {
        let mut headers = Fields::new();
        let before = SentAt::now();
        let deadline = Deadline::after(Duration::from_secs(5));
        write_delayed(&mut headers, deadline, Duration::from_secs(2));
        let properties = BasicProperties::default().with_headers(headers.clone().into());
        assert!(sent_at(&properties).unwrap().ms >= before.ms + 2_000);
        remove(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn malformed_stamps_are_ignored() {
        for value in [
            AMQPValue::LongString("soon".into()),
            AMQPValue::LongString(vec![0xFF].into()),
            AMQPValue::LongInt(5),
        ] {
            let headers = Fields::from([(SENT.into(), value)]);
            let properties = BasicProperties::default().with_headers(headers.into());
            assert_eq!(sent_at(&properties), None);
        }
    }
}
