//! The half of the format in the body.

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use polywire_core::{Body, Dialect, Fault, Message, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::argument;
use super::settings::Amqprpc;

/// A fault is beside the body, where the layout finds it. Its details are left out, since an error
/// of this wire has none.
impl Dialect for Amqprpc {
    fn encode_call<T: Serialize + ?Sized>(&self, args: &T, message: &mut Message) -> Result<()> {
        let body = argument::encode(self.format, args)?;
        self.set_body(message, body);
        Ok(())
    }

    fn decode_call<T: DeserializeOwned>(&self, message: &Message) -> Result<T> {
        argument::decode(self.format, &message.body.clone().into_bytes())
    }

    fn encode_outcome<T: Serialize + ?Sized>(
        &self,
        outcome: Result<&T, &Fault>,
        message: &mut Message,
    ) -> Result<()> {
        let body = match outcome {
            Ok(result) => self.format.encode(result)?,
            Err(fault) => {
                message.fault = Some(Box::new(fault.clone().with_details(Bytes::new())));
                BytesMut::from(self.format.null())
            }
        };
        self.set_body(message, body);
        Ok(())
    }

    fn decode_outcome<T: DeserializeOwned>(
        &self,
        message: &mut Message,
    ) -> Result<Result<T, Fault>> {
        match message.fault.take() {
            Some(fault) => Ok(Err(*fault)),
            None => self.format.decode(&message.body.clone().into_bytes()).map(Ok),
        }
    }
}

impl Amqprpc {
    /// Sets the body. The media type is for the layout, which sends none.
    fn set_body(&self, message: &mut Message, body: BytesMut) {
        message.body = Body::from(body.freeze());
        message.content_type = Some(self.content_type());
    }

    /// Returns the media type of the format.
    pub(super) fn content_type(&self) -> ByteString {
        ByteString::from_static(self.format.content_type())
    }
}
