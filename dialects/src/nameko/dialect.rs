//! The half of the format in the body.

use bytestring::ByteString;
use polywire_core::{Body, Dialect, Fault, Message, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::settings::Nameko;
use super::{arguments, outcome};
use crate::format::Format;

impl Nameko {
    /// Returns the format of a message; without a media type, that of this side.
    pub(super) fn format_of(&self, message: &Message) -> Format {
        message.content_type.as_deref().and_then(Format::of).unwrap_or(self.format)
    }
}

/// The body of an event is the value alone.
impl Dialect for Nameko {
    fn encode_call<T: Serialize + ?Sized>(&self, args: &T, message: &mut Message) -> Result<()> {
        let body = match message.topic {
            Some(_) => self.format.encode(args)?,
            None => arguments::encode(self.format, args)?,
        };
        set_body(message, self.format, body);
        Ok(())
    }

    fn decode_call<T: DeserializeOwned>(&self, message: &Message) -> Result<T> {
        let (format, body) = (self.format_of(message), message.body.clone().into_bytes());
        match message.topic {
            Some(_) => format.decode(&body),
            None => arguments::decode(format, &body),
        }
    }

    fn encode_outcome<T: Serialize + ?Sized>(
        &self,
        outcome: Result<&T, &Fault>,
        message: &mut Message,
    ) -> Result<()> {
        let format = self.format_of(message);
        let body = match outcome {
            Ok(result) => outcome::encode_result(format, result)?,
            Err(fault) => {
                let body = outcome::encode_fault(format, &self.exceptions, fault)?;
                let fault = match fault.value() {
                    Some(value) => fault.clone().with_details(format.encode(&value)?),
                    None => fault.clone(),
                };
                message.fault = Some(Box::new(fault));
                body
            }
        };
        set_body(message, format, body);
        Ok(())
    }

    fn decode_outcome<T: DeserializeOwned>(
        &self,
        message: &mut Message,
    ) -> Result<Result<T, Fault>> {
        if let Some(fault) = message.fault.take() {
            return Ok(Err(*fault));
        }
        let (format, body) = (self.format_of(message), message.body.clone().into_bytes());
        match outcome::decode(format, &self.exceptions, &body)? {
            Ok(result) => format.decode(result).map(Ok),
            Err(fault) => Ok(Err(fault)),
        }
    }

    fn decode_details<T: DeserializeOwned>(&self, fault: &Fault, message: &Message) -> Result<T> {
        self.format_of(message).decode(&fault.details)
    }
}

fn set_body(message: &mut Message, format: Format, body: bytes::BytesMut) {
    message.body = Body::from(body.freeze());
    message.content_type = Some(ByteString::from_static(format.content_type()));
}
