//! The check of the headers that a layout has written.

use lapin::BasicProperties;
use polywire_core::{Error, ErrorKind, Result};

use crate::wire::native;

/// Checks that no header makes the broker copy the message, records a redelivery in the broker's
/// place, or is reserved for the native wire.
///
/// # Errors
///
/// [`ErrorKind::Config`], unsent, with the name of the header.
pub(super) fn check_headers(properties: &BasicProperties) -> Result<()> {
    let Some(headers) = properties.headers() else { return Ok(()) };
    let names = headers.inner().keys();
    match names.into_iter().find(|name| !native::is_of_users(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let text = "cannot send the header: the name is reserved by RabbitMQ or by polywire";
            Err(Error::new(ErrorKind::Config, text).with("header", name).unsent())
        }
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::{AMQPValue, FieldTable};

    use super::*;

    #[test]
    fn reserved_headers_are_refused() {
        for (name, is_refused) in
            [("CC", true), ("BCC", true), ("x-death", true), ("polywire.once", true), ("cc", false)]
        {
            let mut headers = FieldTable::default();
            headers.insert(name.into(), AMQPValue::LongString("value".into()));
            let checked = check_headers(&BasicProperties::default().with_headers(headers));
            assert_eq!(checked.is_err(), is_refused, "{name}");
        }
    }
}
