//! Positional and named arguments.
//!
//! nameko has them apart, `{"args": [1], "kwargs": {"b": 2}}`. polywire has one value: a list, a
//! map, or a map in which a position is a name, `{"0": 1, "b": 2}`.

use bytes::BytesMut;
use polywire_core::Result;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::format::{Format, Shape, malformed};

/// Writes the body of a request.
///
/// # Errors
///
/// [`ErrorKind::Codec`](polywire_core::ErrorKind::Codec) if the format cannot hold the arguments.
pub(super) fn encode<T: Serialize + ?Sized>(format: Format, args: &T) -> Result<BytesMut> {
    let value = format.encode(args)?;
    let (empty_list, empty_map) = (format.list(&[]), format.map(&[]));
    let (args, kwargs) = match format.shape(&value) {
        Shape::Null => (empty_list, empty_map),
        Shape::List => (value, empty_map),
        Shape::Plain => (format.list(&[&value]), empty_map),
        Shape::Map => split(format, &value)?,
    };
    Ok(format.map(&[("args", &args), ("kwargs", &kwargs)]))
}

/// Splits a map into the values of its positions, `0`, `1` and so on, and its other entries.
fn split(format: Format, map: &[u8]) -> Result<(BytesMut, BytesMut)> {
    let entries = format.entries(map)?;
    let mut positional = Vec::new();
    let at = |position: usize| {
        let name = position.to_string();
        entries.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    };
    while let Some(value) = at(positional.len()) {
        positional.push(value);
    }
    let is_position = |name: &str| {
        name.parse().is_ok_and(|at: usize| at < positional.len() && at.to_string() == name)
    };
    let named: Vec<_> = entries
        .iter()
        .filter(|(name, _)| !is_position(name))
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    Ok((format.list(&positional), format.map(&named)))
}

/// Checks that the body of a request has both kinds of arguments. Returns the text of nameko's
/// exception if it has not.
pub(super) fn check(format: Format, body: &[u8]) -> Result<(), &'static str> {
    let entries = format.entries(body).map_err(|_| "Message is not an object")?;
    let has = |wanted: &str| entries.iter().any(|(name, _)| name == wanted);
    match has("args") && has("kwargs") {
        true => Ok(()),
        false => Err("Message missing `args` or `kwargs`"),
    }
}

/// Reads the arguments of a request.
///
/// # Errors
///
/// [`ErrorKind::Codec`](polywire_core::ErrorKind::Codec) if they are not those of the method.
pub(super) fn decode<T: DeserializeOwned>(format: Format, body: &[u8]) -> Result<T> {
    let entries = format.entries(body)?;
    let of = |wanted: &str| entries.iter().find(|(name, _)| name == wanted).map(|(_, it)| *it);
    let (Some(args), Some(kwargs)) = (of("args"), of("kwargs")) else {
        return Err(malformed("args or kwargs is missing"));
    };
    let (positional, named) = (format.elements(args)?, format.entries(kwargs)?);
    match (&positional[..], &named[..]) {
        (_, []) => {
            let first = format.decode(args);
            // A method that takes one plain value, or nothing.
            let alone = match &positional[..] {
                [] => Some(format.null()),
                [value] if format.shape(value) == Shape::Plain => Some(*value),
                _ => None,
            };
            first.or_else(|error| alone.and_then(|it| format.decode(it).ok()).ok_or(error))
        }
        ([], _) => format.decode(kwargs),
        _ => {
            let positions: Vec<_> = (0..positional.len()).map(|at| at.to_string()).collect();
            let positions = positions.iter().map(String::as_str).zip(positional);
            let named = named.iter().map(|(name, value)| (name.as_str(), *value));
            format.decode(&format.map(&positions.chain(named).collect::<Vec<_>>()))
        }
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::rpc::Args;
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    fn body(args: &impl Serialize) -> Value {
        let body = encode(Format::Json, args).unwrap();
        serde_json::from_slice(&body).unwrap()
    }

    #[test]
    fn positional_and_named_arguments_are_told_apart() {
        assert_eq!(body(&(2, 3)), json!({ "args": [2, 3], "kwargs": {} }));
        assert_eq!(body(&()), json!({ "args": [], "kwargs": {} }));
        assert_eq!(body(&4), json!({ "args": [4], "kwargs": {} }));
        assert_eq!(body(&json!({ "b": 3 })), json!({ "args": [], "kwargs": { "b": 3 } }));
        let mixed = Args::new().arg(2).arg("x").named("b", 3);
        assert_eq!(body(&mixed), json!({ "args": [2, "x"], "kwargs": { "b": 3 } }));
        // No positions: the first is missing, or not written as a position.
        let odd = json!({ "1": 1, "00": 2 });
        assert_eq!(body(&odd), json!({ "args": [], "kwargs": odd }));
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Both {
        #[serde(alias = "0")]
        a: i64,
        #[serde(alias = "1", default)]
        b: Option<i64>,
    }

    fn decoded<T: DeserializeOwned>(body: &Value) -> Result<T> {
        decode(Format::Json, body.to_string().as_bytes())
    }

    #[test]
    fn handler_gets_each_form_of_the_arguments() {
        for (args, kwargs) in [
            (json!([1, 2]), json!({})),
            (json!([1]), json!({ "b": 2 })),
            (json!([]), json!({ "a": 1, "b": 2 })),
        ] {
            let read: Both = decoded(&json!({ "args": args, "kwargs": kwargs })).unwrap();
            assert_eq!(read, Both { a: 1, b: Some(2) });
        }
        let one = json!({ "args": [7], "kwargs": {}, "more": 1 });
        assert_eq!(decoded::<i64>(&one).unwrap(), 7);
        assert_eq!(decoded::<(i64,)>(&one).unwrap(), (7,));
        let none = json!({ "args": [], "kwargs": {} });
        decoded::<()>(&none).unwrap();
        assert!(decoded::<Vec<i64>>(&none).unwrap().is_empty());
    }

    #[test]
    fn other_arguments_are_an_error() {
        for body in [
            json!({ "args": [1], "kwargs": { "a": 2 } }),
            json!({ "args": [{ "a": 1 }], "kwargs": {} }),
            json!({ "args": null, "kwargs": {} }),
            json!({ "args": [1] }),
            json!([1]),
        ] {
            assert!(decoded::<Both>(&body).is_err(), "{body}");
        }
    }
}
