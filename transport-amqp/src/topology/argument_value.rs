//! Values of the arguments of declarations.

use std::collections::BTreeMap;

use lapin::types::{AMQPValue, FieldTable, ShortString};
use serde::Deserialize;

/// Value of an argument of a declaration.
///
/// `serde` reads a value by its type in the file; any other type is an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum ArgumentValue {
    /// `true` or `false`.
    Flag(bool),
    /// An integer. AMQP carries it as a signed integer of 64 bits.
    Number(i64),
    /// A text. AMQP carries it as a long string.
    Text(String),
}

impl From<bool> for ArgumentValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<i64> for ArgumentValue {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for ArgumentValue {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<&str> for ArgumentValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// Returns the arguments as the engine has them.
///
/// The names were validated to have 1 to 255 bytes.
pub(super) fn table(arguments: &BTreeMap<String, ArgumentValue>) -> FieldTable {
    let values = arguments.iter().map(|(name, value)| {
        let value = match value {
            ArgumentValue::Flag(flag) => AMQPValue::Boolean(*flag),
            ArgumentValue::Number(number) => AMQPValue::LongLongInt(*number),
            ArgumentValue::Text(text) => AMQPValue::LongString(text.as_str().into()),
        };
        (ShortString::from(name.as_str()), value)
    });
    values.collect::<BTreeMap<_, _>>().into()
}
