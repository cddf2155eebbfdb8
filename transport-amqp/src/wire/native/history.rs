//! What happened to a message, as headers.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytestring::ByteString;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use polywire_core::message::{DeadLetterReason, DeadLetterRecord, History};

use super::{number, text};

const FIRST_ERROR: &str = "polywire.error.first";
const LAST_ERROR: &str = "polywire.error.last";
const REDRIVEN: &str = "polywire.redriven";
const DEAD_REASON: &str = "polywire.dead.reason";
const DEAD_ATTEMPTS: &str = "polywire.dead.attempts";
/// In milliseconds since 1970.
const DEAD_AT: &str = "polywire.dead.at";
/// The queue it died in.
const DEAD_ORIGIN: &str = "polywire.dead.origin";
const ALL: [&str; 7] =
    [FIRST_ERROR, LAST_ERROR, REDRIVEN, DEAD_REASON, DEAD_ATTEMPTS, DEAD_AT, DEAD_ORIGIN];
/// In which the broker tells its own stories; a copy that had them would be told as if it were the
/// original.
const BROKERS: &str = "x-";
const STORIES: [&str; 3] = ["death", "first-death-", "last-death-"];

type Pairs = BTreeMap<ShortString, AMQPValue>;

/// Writes a history, in place of the one that is there.
pub(super) fn write(headers: &mut Pairs, history: Option<&History>, origin: &ShortString) {
    headers.retain(|name, _| !ALL.contains(&name.as_str()) && !is_of_the_broker(name.as_str()));
    let Some(history) = history else { return };
    let mut text = |name: &'static str, value: &str| {
        drop(headers.insert(name.into(), AMQPValue::LongString(value.into())));
    };
    for (name, error) in [(FIRST_ERROR, &history.first_error), (LAST_ERROR, &history.last_error)] {
        if let Some(error) = error {
            text(name, error);
        }
    }
    if let Some(death) = &history.death {
        text(DEAD_REASON, death.reason.as_str());
        text(DEAD_ORIGIN, origin.as_str());
        let at = death.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        headers
            .insert(DEAD_AT.into(), AMQPValue::LongLongInt(i64::try_from(at).unwrap_or(i64::MAX)));
        headers.insert(DEAD_ATTEMPTS.into(), AMQPValue::LongLongInt(death.attempts.into()));
    }
    if history.redriven > 0 {
        headers.insert(REDRIVEN.into(), AMQPValue::LongLongInt(history.redriven.into()));
    }
}

/// Reads the history that was written. What is not as we write it is left out: nobody can act on
/// it.
pub(super) fn read(headers: &FieldTable) -> Option<Box<History>> {
    let headers = headers.inner();
    let error = |name: &str| text(headers.get(name)?)?.ok().map(ByteString::from);
    let mut history = History::default();
    (history.first_error, history.last_error) = (error(FIRST_ERROR), error(LAST_ERROR));
    history.redriven = headers.get(REDRIVEN).and_then(number).unwrap_or(0);
    history.death = death(headers);
    (history != History::default()).then(|| Box::new(history))
}

/// The history of a dead letter, which may be one of the broker's own making: its reason is told in
/// other headers, and when it was.
pub(super) fn read_dead(headers: Option<&FieldTable>, attempts: u32) -> Box<History> {
    let mut history = headers.and_then(read).unwrap_or_default();
    if history.death.is_none() {
        let reason =
            headers.and_then(|headers| text(headers.inner().get("x-first-death-reason")?)?.ok());
        let reason = match reason.as_deref() {
            Some("delivery_limit") => DeadLetterReason::Crashed,
            Some("expired") => DeadLetterReason::Expired,
            Some("maxlen") => DeadLetterReason::Overflowed,
            Some("rejected") => DeadLetterReason::Refused,
            _ => DeadLetterReason::Other,
        };
        let at = headers.and_then(time_of_death).unwrap_or(UNIX_EPOCH);
        history.death = Some(DeadLetterRecord::new(reason, attempts, at));
    }
    history
}

fn death(headers: &Pairs) -> Option<DeadLetterRecord> {
    let reason = text(headers.get(DEAD_REASON)?)?.ok()?;
    let attempts = headers.get(DEAD_ATTEMPTS).and_then(number).unwrap_or(0);
    let AMQPValue::LongLongInt(at) = headers.get(DEAD_AT)? else { return None };
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(*at).ok()?))?;
    Some(DeadLetterRecord::new(DeadLetterReason::from_name(&reason), attempts, at))
}

/// When the broker took it out, by `x-death`, whose first entry is the last to have been changed.
fn time_of_death(headers: &FieldTable) -> Option<SystemTime> {
    let AMQPValue::FieldArray(deaths) = headers.inner().get("x-death")? else { return None };
    let AMQPValue::FieldTable(death) = deaths.as_slice().first()? else { return None };
    let AMQPValue::Timestamp(seconds) = death.inner().get("time")? else { return None };
    UNIX_EPOCH.checked_add(Duration::from_secs(*seconds))
}

/// Whether this is a header in which the broker tells what it did with a message.
pub(super) fn is_of_the_broker(name: &str) -> bool {
    let story = |name: &str| {
        STORIES.iter().any(|story| name.starts_with(story)) || name == "delivery-count"
    };
    name.strip_prefix(BROKERS).is_some_and(story)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_comes_back_as_it_was_written() {
        let mut history = History::default();
        history.failed(&"größer".into());
        history.redriven();
        history.died(DeadLetterReason::Exhausted, 5, &"kleiner".into());
        let mut headers = Pairs::new();
        for name in ["x-death", "x-first-death-queue", "x-delivery-count", "x-mine", "mine"] {
            headers.insert(name.into(), AMQPValue::Boolean(true));
        }
        write(&mut headers, Some(&history), &"polywire.jobs.a".into());
        assert_eq!(headers.len(), ALL.len() + 2, "{headers:?}");
        let read = read(&headers.clone().into()).unwrap();
        let millis = |history: &History| {
            let at = history.death.as_ref().unwrap().at;
            at.duration_since(UNIX_EPOCH).unwrap().as_millis()
        };
        assert_eq!(millis(&read), millis(&history));
        assert_eq!(
            (&read.first_error, &read.last_error),
            (&history.first_error, &history.last_error)
        );
        assert_eq!((read.redriven, read.death.unwrap().attempts), (1, 5));
        write(&mut headers, None, &"polywire.jobs.a".into());
        assert_eq!(headers.len(), 2, "{headers:?}");
    }

    #[test]
    fn what_others_write_there_is_left_out() {
        let mut headers = Pairs::new();
        headers.insert(FIRST_ERROR.into(), AMQPValue::Boolean(true));
        headers.insert(LAST_ERROR.into(), AMQPValue::LongString(b"\xff".to_vec().into()));
        headers.insert(REDRIVEN.into(), AMQPValue::LongLongInt(-1));
        headers.insert(DEAD_REASON.into(), AMQPValue::LongString("crashed".into()));
        headers.insert(DEAD_AT.into(), AMQPValue::LongLongInt(i64::MIN));
        assert_eq!(read(&headers.into()), None);
    }
}
