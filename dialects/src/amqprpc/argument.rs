//! The one argument of a call.

use bytes::BytesMut;
use polywire_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::one_argument::OneArgument;
use crate::format::{Format, Shape};

/// Writes the body of a request: the only argument, or null.
///
/// # Errors
///
/// [`ErrorKind::Codec`] if the format cannot hold the argument; [`ErrorKind::Config`], unsent, for
/// several arguments.
pub(super) fn encode<T: Serialize + ?Sized>(format: Format, args: &T) -> Result<BytesMut> {
    let value = format.encode(args)?;
    if format.shape(&value) != Shape::List {
        return Ok(value);
    }
    let elements = format.elements(&value)?;
    match &elements[..] {
        [] => Ok(BytesMut::from(format.null())),
        [only] => Ok(BytesMut::from(*only)),
        several => {
            let text = "cannot call the method: in amqprpc, it has one argument; a list as the \
                        argument is a list of one list";
            let error = Error::new(ErrorKind::Config, text);
            Err(error.with("arguments", several.len()).unsent())
        }
    }
}

/// Reads the argument of a request.
///
/// # Errors
///
/// [`ErrorKind::Codec`] if the argument is not that of the method.
pub(super) fn decode<T: DeserializeOwned>(format: Format, body: &[u8]) -> Result<T> {
    match format.shape(body) {
        Shape::Map => format.decode(body).map(|OneArgument::<T, true>(argument)| argument),
        _ => format.decode(body).map(|OneArgument::<T, false>(argument)| argument),
    }
}

#[cfg(test)]
mod tests {
    use polywire_core::rpc::Args;
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Pair {
        #[serde(rename = "A", alias = "0")]
        a: i64,
        #[serde(rename = "B", alias = "1", default)]
        b: Option<i64>,
    }

    const FORMATS: [Format; 2] = [Format::Json, Format::MessagePack];

    /// Writes arguments, and returns them as a value.
    fn body(format: Format, args: &impl Serialize) -> Value {
        format.decode(&encode(format, args).unwrap()).unwrap()
    }

    #[test]
    fn argument_is_bare() {
        for format in FORMATS {
            let pair = Pair { a: 2, b: Some(3) };
            assert_eq!(body(format, &pair), json!({ "A": 2, "B": 3 }));
            assert_eq!(body(format, &(&pair,)), json!({ "A": 2, "B": 3 }));
            assert_eq!(body(format, &"boom"), json!("boom"));
            assert_eq!(body(format, &([1, 2],)), json!([1, 2]));
            assert_eq!(body(format, &()), json!(null));
            assert_eq!(body(format, &Args::new()), json!(null));
            assert_eq!(body(format, &Args::new().named("A", 2)), json!({ "A": 2 }));
        }
    }

    #[test]
    fn several_arguments_are_an_error_of_the_caller() {
        for format in FORMATS {
            let error = encode(format, &(2, 3)).unwrap_err();
            assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Config, true));
            assert_eq!(error.detail("arguments"), Some("2"));
        }
    }

    fn decoded<T: DeserializeOwned>(argument: &Value) -> Result<T> {
        let in_json = decode(Format::Json, argument.to_string().as_bytes());
        let packed = Format::MessagePack.encode(argument).unwrap();
        let in_messagepack: Result<T> = decode(Format::MessagePack, &packed);
        assert_eq!(in_json.is_ok(), in_messagepack.is_ok(), "{argument}");
        in_json
    }

    #[test]
    fn handler_gets_the_argument_in_each_form() {
        let pair = json!({ "A": 2, "B": 3 });
        assert_eq!(decoded::<Pair>(&pair).unwrap(), Pair { a: 2, b: Some(3) });
        assert_eq!(decoded::<(Pair,)>(&pair).unwrap().0, Pair { a: 2, b: Some(3) });
        assert_eq!(decoded::<Option<Pair>>(&pair).unwrap(), Some(Pair { a: 2, b: Some(3) }));
        // No map: the first field.
        assert_eq!(decoded::<Pair>(&json!(7)).unwrap(), Pair { a: 7, b: None });
        assert_eq!(decoded::<Option<Pair>>(&json!(7)).unwrap(), Some(Pair { a: 7, b: None }));
        assert_eq!(decoded::<Option<Pair>>(&json!(null)).unwrap(), None);
        for argument in [json!(7), json!([7]), json!([]), json!({ "A": 7 }), json!(null)] {
            assert_eq!(decoded::<Value>(&argument).unwrap(), argument);
            assert_eq!(decoded::<(Value,)>(&argument).unwrap().0, argument);
            decoded::<()>(&argument).unwrap();
        }
        assert_eq!(decoded::<Vec<i64>>(&json!([7])).unwrap(), [7]);
        assert_eq!(decoded::<(i64, i64)>(&json!([7, 8])).unwrap(), (7, 8));
    }

    #[test]
    fn other_arguments_are_an_error() {
        for argument in [json!({ "B": 3 }), json!([2, 3]), json!("two"), json!(null)] {
            let error = decoded::<Pair>(&argument).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Codec, "{argument}");
        }
        assert!(decoded::<Vec<i64>>(&json!(7)).is_err());
    }
}
