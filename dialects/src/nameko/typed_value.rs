//! Values of Python types that JSON does not have.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// Value of a Python type that JSON does not have, as kombu writes it from version 5.3 on:
/// `{"__type__": "decimal", "__value__": "1.50"}`.
///
/// Used as an argument, a result, or a part of one. The texts are those of Python, and are not
/// checked here. A value of another type is an error of the decoder.
///
/// ```
/// use polywire_dialects::nameko::TypedValue;
///
/// let price: TypedValue =
///     serde_json::from_str(r#"{"__type__": "decimal", "__value__": "1.50"}"#)?;
/// assert_eq!(price, TypedValue::Decimal("1.50".to_owned()));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TypedValue {
    /// A `datetime`, such as `2020-01-02T03:04:05.000006`; an aware one ends with its offset.
    DateTime(String),
    /// A `date`, such as `2020-01-02`.
    Date(String),
    /// A `time`, such as `01:02:03`.
    Time(String),
    /// A `Decimal`, such as `1.50`.
    Decimal(String),
    /// A `UUID`, as 32 hexadecimal digits without dashes.
    Uuid(String),
    /// Bytes that are no UTF-8. kombu writes others as text.
    Bytes(Vec<u8>),
}

/// Names of the entries.
const TYPE: &str = "__type__";
const VALUE: &str = "__value__";

impl Serialize for TypedValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, value) = match self {
            Self::DateTime(text) => ("datetime", Value::from(text.as_str())),
            Self::Date(text) => ("date", Value::from(text.as_str())),
            Self::Time(text) => ("time", Value::from(text.as_str())),
            Self::Decimal(text) => ("decimal", Value::from(text.as_str())),
            Self::Uuid(digits) => ("uuid", serde_json::json!({ "hex": digits })),
            Self::Bytes(bytes) => ("base64", Value::from(STANDARD.encode(bytes))),
        };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(TYPE, kind)?;
        map.serialize_entry(VALUE, &value)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for TypedValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = serde_json::Map::<String, Value>::deserialize(deserializer)?;
        let kind = map.get(TYPE).and_then(Value::as_str);
        let kind = kind.ok_or_else(|| D::Error::custom("a value of kombu has a __type__"))?;
        let value = map.get(VALUE);
        let text = match kind {
            "uuid" => value.and_then(|value| value.get("hex")),
            _ => value,
        };
        let text = text.and_then(Value::as_str);
        let text = text.ok_or_else(|| D::Error::custom("a value of kombu has a __value__"))?;
        let owned = || text.to_owned();
        match kind {
            "datetime" => Ok(Self::DateTime(owned())),
            "date" => Ok(Self::Date(owned())),
            "time" => Ok(Self::Time(owned())),
            "decimal" => Ok(Self::Decimal(owned())),
            "uuid" => Ok(Self::Uuid(owned())),
            "base64" => STANDARD.decode(text).map(Self::Bytes).map_err(D::Error::custom),
            _ => Err(D::Error::custom("a value of kombu has an unknown __type__")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn captured_values_survive_both_ways() {
        for (typed, captured) in [
            (
                TypedValue::DateTime("2020-01-02T03:04:05.000006".to_owned()),
                json!({ "__type__": "datetime", "__value__": "2020-01-02T03:04:05.000006" }),
            ),
            (
                TypedValue::Date("2020-01-02".to_owned()),
                json!({ "__type__": "date", "__value__": "2020-01-02" }),
            ),
            (
                TypedValue::Time("01:02:03".to_owned()),
                json!({ "__type__": "time", "__value__": "01:02:03" }),
            ),
            (
                TypedValue::Decimal("1.50".to_owned()),
                json!({ "__type__": "decimal", "__value__": "1.50" }),
            ),
            (
                TypedValue::Uuid("00000000000000000000000000000005".to_owned()),
                json!({ "__type__": "uuid",
                    "__value__": { "hex": "00000000000000000000000000000005" } }),
            ),
            (
                TypedValue::Bytes(vec![0xFF, 0]),
                json!({ "__type__": "base64", "__value__": "/wA=" }),
            ),
        ] {
            assert_eq!(serde_json::to_value(&typed).unwrap(), captured);
            assert_eq!(serde_json::from_value::<TypedValue>(captured).unwrap(), typed);
        }
    }

    #[test]
    fn other_values_are_an_error() {
        for other in [
            json!({ "__type__": "set", "__value__": "x" }),
            json!({ "__type__": "date" }),
            json!({ "__type__": "uuid", "__value__": "5" }),
            json!({ "__type__": "base64", "__value__": "*" }),
            json!({ "__value__": "x" }),
            json!("2020-01-02"),
        ] {
            assert!(serde_json::from_value::<TypedValue>(other.clone()).is_err(), "{other}");
        }
    }
}
