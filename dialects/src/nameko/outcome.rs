//! Results and errors in the body of a reply.

use bytes::{Bytes, BytesMut};
use polywire_core::{Fault, Result};
use serde::Serialize;

use super::exceptions::Exceptions;
use crate::format::{Format, Shape, malformed};

/// Writes the body of a success.
///
/// # Errors
///
/// [`ErrorKind::Codec`](polywire_core::ErrorKind::Codec) if the format cannot hold the result.
pub(super) fn encode_result<T: Serialize + ?Sized>(format: Format, result: &T) -> Result<BytesMut> {
    Ok(format.map(&[("result", &format.encode(result)?), ("error", format.null())]))
}

/// Writes the body of a failure.
///
/// # Errors
///
/// [`ErrorKind::Codec`](polywire_core::ErrorKind::Codec) if the format cannot hold the value of the
/// fault.
pub(super) fn encode_fault(
    format: Format,
    exceptions: &Exceptions,
    fault: &Fault,
) -> Result<BytesMut> {
    let (path, is_known) = exceptions.path(fault.code, &fault.kind);
    let class = if is_known { path.rsplit('.').next().unwrap_or_default() } else { &fault.kind };
    let message = format.encode(&fault.message)?;
    let details = details(format, fault)?;
    let args = match &details {
        Some(list) if is_known && format.shape(list) == Shape::List => list.clone(),
        Some(details) => format.list(&[&message, details]),
        None => format.list(&[&message]),
    };
    let error = format.map(&[
        ("exc_type", &format.encode(class)?),
        ("exc_path", &format.encode(&path)?),
        ("exc_args", &args),
        ("value", &message),
    ]);
    Ok(format.map(&[("result", format.null()), ("error", &error)]))
}

/// Returns the details of a fault as a value of the format. Details that another format wrote are
/// left out.
fn details(format: Format, fault: &Fault) -> Result<Option<BytesMut>> {
    if let Some(value) = fault.value() {
        return format.encode(&value).map(Some);
    }
    let is_value = !fault.details.is_empty() && format.is_value(&fault.details);
    Ok(is_value.then(|| BytesMut::from(&fault.details[..])))
}

/// Reads the body of a reply: the encoded result, or the fault.
///
/// # Errors
///
/// [`ErrorKind::Codec`](polywire_core::ErrorKind::Codec) if the body has not the form of nameko.
pub(super) fn decode<'b>(
    format: Format,
    exceptions: &Exceptions,
    body: &'b [u8],
) -> Result<Result<&'b [u8], Fault>> {
    let entries = format.entries(body)?;
    let of = |wanted: &str| entries.iter().find(|(name, _)| name == wanted).map(|(_, it)| *it);
    let error = of("error").filter(|error| format.shape(error) != Shape::Null);
    match (error, of("result")) {
        (Some(error), _) => decode_error(format, exceptions, error).map(Err),
        (None, Some(result)) => Ok(Ok(result)),
        (None, None) => Err(malformed("the reply has neither a result nor an error")),
    }
}

fn decode_error(format: Format, exceptions: &Exceptions, error: &[u8]) -> Result<Fault> {
    let entries = format.entries(error)?;
    let of = |wanted: &str| entries.iter().find(|(name, _)| name == wanted).map(|(_, it)| *it);
    // Only the class is needed; a value that is no text has no text here.
    let text = |name| of(name).and_then(|value| format.decode::<String>(value).ok());
    let class = text("exc_type").ok_or_else(|| malformed("the error has no exc_type"))?;
    let path = text("exc_path").unwrap_or_default();
    let (code, kind, is_ours) = exceptions.fault(&path, &class);
    let fault = Fault::new(code, text("value").unwrap_or_default()).with_kind(kind);
    let args = of("exc_args").unwrap_or(format.null());
    let elements = format.elements(args).unwrap_or_default();
    // Ours are the message, and the details if there are any.
    let details = match &elements[..] {
        [] => None,
        [_, details] if is_ours => Some(*details),
        _ if is_ours => None,
        _ => Some(args),
    };
    Ok(match details {
        Some(details) => fault.with_details(Bytes::copy_from_slice(details)),
        None => fault,
    })
}

#[cfg(test)]
mod tests {
    use polywire_core::Code;
    use serde_json::{Value, json};

    use super::*;

    fn through(format: Format, fault: &Fault) -> Fault {
        let exceptions = Exceptions::standard();
        let body = encode_fault(format, &exceptions, fault).unwrap();
        decode(format, &exceptions, &body).unwrap().unwrap_err()
    }

    #[test]
    fn fault_survives_both_formats() {
        for format in [Format::Json, Format::MessagePack] {
            let plain = Fault::new(Code::Unavailable, "the server drains");
            assert_eq!(through(format, &plain), plain);
            let detailed = plain.clone().with_kind("Full").with_value(json!({ "free": 0 }));
            let read = through(format, &detailed);
            assert_eq!((read.code, &*read.kind), (Code::Unavailable, "Full"));
            assert_eq!(format.decode::<Value>(&read.details).unwrap(), json!({ "free": 0 }));
            // Again, now with encoded details.
            assert_eq!(through(format, &read), read);
            let list = Fault::new(Code::Application, "two").with_kind("Two").with_value((1, 2));
            let read = through(format, &list);
            assert_eq!(format.decode::<Value>(&read.details).unwrap(), json!([1, 2]));
        }
    }

    #[test]
    fn error_with_the_needed_parts_alone_is_read() {
        let exceptions = Exceptions::standard();
        let read = |body: Value| {
            let body = body.to_string();
            decode(Format::Json, &exceptions, body.as_bytes()).map(|it| it.map(<[u8]>::to_vec))
        };
        let fault = read(json!({ "error": { "exc_type": "Odd", "value": "why" } }));
        let fault = fault.unwrap().unwrap_err();
        assert_eq!((fault.code, fault.to_string()), (Code::Application, "Odd: why".to_owned()));
        assert!(fault.details.is_empty());
        assert_eq!(read(json!({ "result": 5 })).unwrap().unwrap(), b"5");
        for malformed in
            [json!({}), json!([]), json!({ "error": "text" }), json!({ "error": { "value": "x" } })]
        {
            assert!(read(malformed.clone()).is_err(), "{malformed}");
        }
    }
}
