//! nameko's context data in the headers of a message.
//!
//! | header of nameko | here |
//! |---|---|
//! | `nameko.call_id_stack`, a list | the header of the call stack |
//! | `nameko.KEY` | the pair KEY of the baggage |
//! | any other text | the header of that name |

use polywire_amqp::lapin::types::{AMQPValue, FieldArray, FieldTable};
use polywire_core::context::{Baggage, CallStack};
use polywire_core::{Error, ErrorKind, Headers, Result};

/// Prefix of the context data.
const PREFIX: &str = "nameko.";
/// Header of the call-id stack, and its key.
const CALL_ID_STACK: &str = "nameko.call_id_stack";
const STACK_KEY: &str = "call_id_stack";
/// Calls of a stack that nameko keeps: ten parents, and the call itself.
const STACK_MAX: usize = 11;
/// Longest name of a header.
const NAME_MAX: usize = 255;
/// Longest key of a pair of the baggage.
const KEY_MAX: usize = NAME_MAX - PREFIX.len();

/// Writes the headers of a message.
///
/// A pair of the baggage whose key exceeds 248 bytes is left out: it may come from a caller of
/// this program, whose calls have to go on. So is any text in the place of the call-id stack, which
/// has to be a list.
///
/// # Errors
///
/// [`ErrorKind::TooLarge`], unsent, if the name of a header exceeds 255 bytes.
pub(super) fn encode(headers: &Headers) -> Result<FieldTable> {
    let mut table = FieldTable::default();
    let mut set = |name: &str, value: AMQPValue| {
        if name.len() > NAME_MAX {
            let error = Error::new(ErrorKind::TooLarge, "cannot send the header: its name is long");
            return Err(error.with("size", name.len()).with("limit", NAME_MAX).unsent());
        }
        table.insert(name.into(), value);
        Ok(())
    };
    for (name, value) in headers.iter() {
        match &**name {
            CallStack::HEADER => set(CALL_ID_STACK, stack(value))?,
            Baggage::HEADER | CALL_ID_STACK => {}
            other => set(other, text(value))?,
        }
    }
    let baggage = Baggage::of(headers);
    let is_writable = |key: &str| key != STACK_KEY && key.len() <= KEY_MAX;
    for (key, value) in baggage.iter().filter(|(key, _)| is_writable(key)) {
        set(&format!("{PREFIX}{key}"), text(value))?;
    }
    Ok(table)
}

/// Reads the headers of a message. A value that has no text here is left out, as is null.
pub(super) fn decode(table: &FieldTable) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in table.inner() {
        let name = name.as_str();
        match (name.strip_prefix(PREFIX), value) {
            (Some(_), AMQPValue::FieldArray(calls)) if name == CALL_ID_STACK => {
                let calls = calls.as_slice().iter().filter_map(to_text);
                // Commas separate the calls.
                let calls: Vec<_> = calls.map(|call| call.replace(',', "%2C")).collect();
                if !calls.is_empty() {
                    headers.insert(CallStack::HEADER, calls.join(","));
                }
            }
            // No list, so no stack either.
            (Some(STACK_KEY), _) => {}
            (Some(key), value) => {
                if let Some(value) = to_text(value) {
                    Baggage::add(&mut headers, key, &value);
                }
            }
            (None, AMQPValue::LongString(_)) if !is_derived(name) => {
                if let Some(value) = to_text(value) {
                    headers.insert(name, value);
                }
            }
            (None, _) => {}
        }
    }
    headers
}

/// Returns whether the header is made of context data here. Another system's would replace it.
fn is_derived(name: &str) -> bool {
    [CallStack::HEADER, Baggage::HEADER].contains(&name)
}

/// Writes the latest calls of a stack as a list.
fn stack(calls: &str) -> AMQPValue {
    let calls: Vec<_> = calls.split(',').map(|call| call.replace("%2C", ",")).collect();
    let latest = calls.len().saturating_sub(STACK_MAX);
    let mut list = FieldArray::default();
    calls[latest..].iter().for_each(|call| list.push(text(call)));
    AMQPValue::FieldArray(list)
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// Returns the text of a plain value.
fn to_text(value: &AMQPValue) -> Option<String> {
    Some(match value {
        AMQPValue::LongString(text) => String::from_utf8(text.as_bytes().to_vec()).ok()?,
        AMQPValue::Boolean(flag) => flag.to_string(),
        AMQPValue::ShortShortInt(number) => number.to_string(),
        AMQPValue::ShortShortUInt(number) => number.to_string(),
        AMQPValue::ShortInt(number) => number.to_string(),
        AMQPValue::ShortUInt(number) => number.to_string(),
        AMQPValue::LongInt(number) => number.to_string(),
        AMQPValue::LongUInt(number) => number.to_string(),
        AMQPValue::LongLongInt(number) => number.to_string(),
        AMQPValue::Float(number) => number.to_string(),
        AMQPValue::Double(number) => number.to_string(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(text: &str) -> AMQPValue {
        AMQPValue::LongString(text.into())
    }

    #[test]
    fn context_data_becomes_baggage_and_the_call_stack() {
        let mut table = FieldTable::default();
        let mut calls = FieldArray::default();
        for call in ["standalone_rpc_proxy.call.4ac3e893", "shop.pay,now.7"] {
            calls.push(long(call));
        }
        table.insert(CALL_ID_STACK.into(), AMQPValue::FieldArray(calls));
        table.insert("nameko.language".into(), long("en-gb"));
        table.insert("nameko.user_id".into(), AMQPValue::LongInt(12));
        table.insert("nameko.auth_token".into(), AMQPValue::Void);
        table.insert("traceparent".into(), long("00-1-2-01"));
        table.insert("number".into(), AMQPValue::LongInt(1));
        table.insert("baggage".into(), long("language=fr"));
        let headers = decode(&table);
        let baggage = Baggage::of(&headers);
        let pairs: Vec<_> = baggage.iter().collect();
        assert_eq!(pairs, [("language", "en-gb"), ("user_id", "12")]);
        assert_eq!(headers.get("traceparent"), Some("00-1-2-01"));
        assert_eq!(
            headers.get(CallStack::HEADER),
            Some("standalone_rpc_proxy.call.4ac3e893,shop.pay%2Cnow.7")
        );
        assert_eq!(headers.len(), 3);
        assert_eq!(decode(&encode(&headers).unwrap()), headers);
    }

    #[test]
    fn stack_keeps_the_latest_calls() {
        let calls: Vec<_> = (0..30).map(|n| format!("a.b.{n}")).collect();
        let headers = Headers::from_iter([(CallStack::HEADER, calls.join(","))]);
        let table = encode(&headers).unwrap();
        let Some(AMQPValue::FieldArray(list)) = table.inner().get(CALL_ID_STACK) else {
            panic!("{table:?}")
        };
        assert_eq!(list.as_slice().len(), STACK_MAX);
        assert_eq!(list.as_slice()[STACK_MAX - 1], long("a.b.29"));
    }

    #[test]
    fn name_that_is_too_long_is_an_error() {
        let headers = Headers::from_iter([("k".repeat(256), "value")]);
        assert_eq!(encode(&headers).unwrap_err().kind(), ErrorKind::TooLarge);
    }

    #[test]
    fn pair_that_cannot_be_written_is_left_out() {
        let (longest, too_long) = ("k".repeat(248), "k".repeat(249));
        let mut headers = Headers::new();
        for key in [&*longest, &*too_long, "call_id_stack"] {
            Baggage::add(&mut headers, key, "value");
        }
        headers.insert(CALL_ID_STACK, "text");
        let table = encode(&headers).unwrap();
        let names: Vec<_> = table.inner().keys().map(|name| name.as_str().to_owned()).collect();
        assert_eq!(names, [format!("nameko.{longest}")]);
    }

    #[test]
    fn text_in_place_of_the_call_id_stack_is_left_out() {
        let mut table = FieldTable::default();
        table.insert(CALL_ID_STACK.into(), long("text"));
        assert!(decode(&table).is_empty());
    }
}
