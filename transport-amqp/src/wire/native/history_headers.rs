//! The headers that record errors, dead-lettering and redrives.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytestring::ByteString;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use polywire_core::message::{DeadLetterReason, DeadLetterRecord, History};

use super::headers::{count, is_broker_record, text};

const FIRST_ERROR: &str = "polywire.error.first";
const LAST_ERROR: &str = "polywire.error.last";
const REDRIVEN: &str = "polywire.redriven";
const DEAD_REASON: &str = "polywire.dead.reason";
const DEAD_ATTEMPTS: &str = "polywire.dead.attempts";
/// Time of dead-lettering, in milliseconds since 1970.
const DEAD_AT: &str = "polywire.dead.at";
/// Queue that the dead letter comes from.
const DEAD_ORIGIN: &str = "polywire.dead.origin";
/// The headers of this file, which a copy replaces as a whole.
const ALL: [&str; 7] =
    [FIRST_ERROR, LAST_ERROR, REDRIVEN, DEAD_REASON, DEAD_ATTEMPTS, DEAD_AT, DEAD_ORIGIN];

type HeaderMap = BTreeMap<ShortString, AMQPValue>;

/// Replaces the history headers, and removes the broker's records.
///
/// The records describe the original. On a copy, the broker would read them as its own and detect
/// dead-letter cycles that do not exist.
pub(super) fn write(headers: &mut HeaderMap, history: Option<&History>, origin: &ShortString) {
    headers.retain(|name, _| !ALL.contains(&name.as_str()) && !is_broker_record(name.as_str()));
    let Some(history) = history else { return };
    let mut text = |name: &'static str, value: &str| {
        drop(headers.insert(name.into(), AMQPValue::LongString(value.into())));
    };
    for (name, error) in [(FIRST_ERROR, &history.first_error), (LAST_ERROR, &history.last_error)] {
        if let Some(error) = error {
            text(name, error);
        }
    }
    if let Some(record) = &history.dead_letter {
        text(DEAD_REASON, record.reason.as_str());
        text(DEAD_ORIGIN, origin.as_str());
        let at = record.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        headers
            .insert(DEAD_AT.into(), AMQPValue::LongLongInt(i64::try_from(at).unwrap_or(i64::MAX)));
        headers.insert(DEAD_ATTEMPTS.into(), AMQPValue::LongLongInt(record.attempts.into()));
    }
    if history.redriven > 0 {
        headers.insert(REDRIVEN.into(), AMQPValue::LongLongInt(history.redriven.into()));
    }
}

/// Reads the history headers. A header with another type or form than [`write`](fn@write) produces
/// is skipped.
pub(super) fn read(headers: &FieldTable) -> Option<Box<History>> {
    let headers = headers.inner();
    let error = |name: &str| text(headers.get(name)?)?.ok().map(ByteString::from);
    let mut history = History::default();
    (history.first_error, history.last_error) = (error(FIRST_ERROR), error(LAST_ERROR));
    history.redriven = headers.get(REDRIVEN).and_then(count).unwrap_or(0);
    history.dead_letter = dead_letter_record(headers);
    (history != History::default()).then(|| Box::new(history))
}

/// Reads the history of a dead letter.
///
/// If the broker dead-lettered the message by itself, the reason comes from its header
/// `x-first-death-reason` and the time from `x-death`.
pub(super) fn read_dead(headers: Option<&FieldTable>, attempts: u32) -> Box<History> {
    let mut history = headers.and_then(read).unwrap_or_default();
    if history.dead_letter.is_none() {
        let reason =
            headers.and_then(|headers| text(headers.inner().get("x-first-death-reason")?)?.ok());
        let reason = match reason.as_deref() {
            Some("delivery_limit") => DeadLetterReason::Crashed,
            Some("expired") => DeadLetterReason::Expired,
            Some("maxlen") => DeadLetterReason::Overflowed,
            Some("rejected") => DeadLetterReason::Refused,
            _ => DeadLetterReason::Other,
        };
        let at = headers.and_then(broker_recorded_at).unwrap_or(UNIX_EPOCH);
        history.dead_letter = Some(DeadLetterRecord::new(reason, attempts, at));
    }
    history
}

/// Reads the record of a dead-lettering by polywire. `None` without a reason or a time.
fn dead_letter_record(headers: &HeaderMap) -> Option<DeadLetterRecord> {
    let reason = text(headers.get(DEAD_REASON)?)?.ok()?;
    let attempts = headers.get(DEAD_ATTEMPTS).and_then(count).unwrap_or(0);
    let AMQPValue::LongLongInt(at) = headers.get(DEAD_AT)? else { return None };
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(*at).ok()?))?;
    Some(DeadLetterRecord::new(DeadLetterReason::from_name(&reason), attempts, at))
}

/// Returns the time in the first entry of `x-death`, which is the entry changed last.
fn broker_recorded_at(headers: &FieldTable) -> Option<SystemTime> {
    let AMQPValue::FieldArray(records) = headers.inner().get("x-death")? else { return None };
    let AMQPValue::FieldTable(record) = records.as_slice().first()? else { return None };
    let AMQPValue::Timestamp(seconds) = record.inner().get("time")? else { return None };
    UNIX_EPOCH.checked_add(Duration::from_secs(*seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_reads_as_it_was_written() {
        let mut history = History::default();
        history.failed(&"größer".into());
        history.redriven();
        history.dead_lettered(DeadLetterReason::Exhausted, 5, &"kleiner".into());
        let mut headers = HeaderMap::new();
        for name in ["x-death", "x-first-death-queue", "x-delivery-count", "x-mine", "mine"] {
            headers.insert(name.into(), AMQPValue::Boolean(true));
        }
        write(&mut headers, Some(&history), &"polywire.jobs.a".into());
        assert_eq!(headers.len(), ALL.len() + 2, "{headers:?}");
        let read = read(&headers.clone().into()).unwrap();
        let millis = |history: &History| {
            let at = history.dead_letter.as_ref().unwrap().at;
            at.duration_since(UNIX_EPOCH).unwrap().as_millis()
        };
        assert_eq!(millis(&read), millis(&history));
        assert_eq!(
            (&read.first_error, &read.last_error),
            (&history.first_error, &history.last_error)
        );
        assert_eq!((read.redriven, read.dead_letter.unwrap().attempts), (1, 5));
        write(&mut headers, None, &"polywire.jobs.a".into());
        assert_eq!(headers.len(), 2, "{headers:?}");
    }

    #[test]
    fn history_headers_of_another_form_are_skipped() {
        let mut headers = HeaderMap::new();
        headers.insert(FIRST_ERROR.into(), AMQPValue::Boolean(true));
        headers.insert(LAST_ERROR.into(), AMQPValue::LongString(b"\xff".to_vec().into()));
        headers.insert(REDRIVEN.into(), AMQPValue::LongLongInt(-1));
        headers.insert(DEAD_REASON.into(), AMQPValue::LongString("crashed".into()));
        headers.insert(DEAD_AT.into(), AMQPValue::LongLongInt(i64::MIN));
        assert_eq!(read(&headers.into()), None);
    }
}
