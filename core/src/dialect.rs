//! How a call and its outcome lie in a message.

mod codec;
mod either;

pub use self::codec::Codec;

use bytes::BytesMut;
use bytestring::ByteString;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Fault, Result};
use crate::message::{Body, Message};

/// The convention by which a call's arguments, and its result or fault, lie in a message.
///
/// Every [`Codec`] is a dialect: the body is the value alone, a fault stands beside it, and the
/// media type says which codec wrote it. A foreign system's convention is another implementation.
///
/// Whatever a dialect writes into the body for a fault, it also leaves in [`Message::fault`], so
/// that those who wrap a service can see that it failed without knowing the dialect.
pub trait Dialect: Clone + Send + Sync + 'static {
    /// Writes the arguments of a call into `message`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if they cannot be encoded.
    fn encode_call<T: Serialize + ?Sized>(&self, args: &T, message: &mut Message) -> Result<()>;

    /// Reads the arguments of a call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if they are not what the method takes, saying where and why.
    fn decode_call<T: DeserializeOwned>(&self, message: &Message) -> Result<T>;

    /// Writes what became of a call into `message`, whose content type is that of the request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the result cannot be encoded, or the [value](Fault::value) of a
    /// fault. Any other fault can.
    fn encode_outcome<T: Serialize + ?Sized>(
        &self,
        outcome: Result<&T, &Fault>,
        message: &mut Message,
    ) -> Result<()>;

    /// Reads what became of a call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the result is not what the caller expects, saying where and why.
    fn decode_outcome<T: DeserializeOwned>(
        &self,
        message: &mut Message,
    ) -> Result<Result<T, Fault>>;

    /// Reads the details of a fault that came with `message`.
    ///
    /// The default is for conventions that have no details, or none that could be a value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if they are not what is expected, saying where and why.
    fn decode_details<T: DeserializeOwned>(&self, fault: &Fault, message: &Message) -> Result<T> {
        let error = Error::new(ErrorKind::Codec, "the details of a fault cannot be read");
        Err(error
            .with("kind", &fault.kind)
            .with("content_type", message.content_type.as_deref().unwrap_or("none")))
    }
}

impl<C: Codec> Dialect for C {
    fn encode_call<T: Serialize + ?Sized>(&self, args: &T, message: &mut Message) -> Result<()> {
        write(self, args, message)
    }

    fn decode_call<T: DeserializeOwned>(&self, message: &Message) -> Result<T> {
        read(self, message)
    }

    fn encode_outcome<T: Serialize + ?Sized>(
        &self,
        outcome: Result<&T, &Fault>,
        message: &mut Message,
    ) -> Result<()> {
        match outcome {
            Ok(value) => write(self, value, message),
            Err(fault) => {
                let details = fault.value().map(|value| encode(self, &value)).transpose()?;
                message.content_type =
                    details.as_ref().map(|_| ByteString::from_static(C::CONTENT_TYPE));
                let fault = fault.clone();
                message.fault = Some(Box::new(match details {
                    Some(details) => fault.with_details(details),
                    None => fault,
                }));
                Ok(())
            }
        }
    }

    fn decode_outcome<T: DeserializeOwned>(
        &self,
        message: &mut Message,
    ) -> Result<Result<T, Fault>> {
        match message.fault.take() {
            Some(fault) => Ok(Err(*fault)),
            None => read(self, message).map(Ok),
        }
    }

    fn decode_details<T: DeserializeOwned>(&self, fault: &Fault, message: &Message) -> Result<T> {
        check_format::<C>(message)?;
        self.decode(&fault.details)
    }
}

fn write<C: Codec, T: Serialize + ?Sized>(
    codec: &C,
    value: &T,
    message: &mut Message,
) -> Result<()> {
    message.body = Body::from(encode(codec, value)?);
    message.content_type = Some(ByteString::from_static(C::CONTENT_TYPE));
    Ok(())
}

fn encode<C: Codec, T: Serialize + ?Sized>(codec: &C, value: &T) -> Result<BytesMut> {
    let mut buf = BytesMut::with_capacity(128);
    codec.encode(value, &mut buf)?;
    Ok(buf)
}

fn read<C: Codec, T: DeserializeOwned>(codec: &C, message: &Message) -> Result<T> {
    check_format::<C>(message)?;
    match message.body.as_slice() {
        Some(bytes) => codec.decode(bytes),
        None => codec.decode(&message.body.clone().into_bytes()),
    }
}

fn check_format<C: Codec>(message: &Message) -> Result<()> {
    if let Some(other) = message.content_type.as_ref().filter(|found| ***found != *C::CONTENT_TYPE)
    {
        let error = Error::new(ErrorKind::Codec, "the body is in another format than expected");
        return Err(error.with("found", other).with("expected", C::CONTENT_TYPE));
    }
    Ok(())
}
