//! The [`Dialect`] trait: encoding and decoding of calls and their outcomes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Fault, Result};
use crate::message::Message;

/// A convention for the layout of a call's arguments, result or fault in a message.
///
/// Every [`Codec`](crate::Codec) is a dialect: the body is the value alone, a fault lies beside the
/// body, and the media type names the codec. The convention of a foreign system is another
/// implementation.
///
/// A dialect that writes a fault into the body also leaves the fault in [`Message::fault`]. Layers
/// around a service can then see the failure without knowing the dialect.
pub trait Dialect: Clone + Send + Sync + 'static {
    /// Writes the arguments of a call into `message`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the arguments cannot be encoded.
    fn encode_call<T: Serialize + ?Sized>(&self, args: &T, message: &mut Message) -> Result<()>;

    /// Reads the arguments of a call.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the arguments are not those of the method, with the position and
    /// the cause.
    fn decode_call<T: DeserializeOwned>(&self, message: &Message) -> Result<T>;

    /// Writes the outcome of a call into `message`, whose content type is that of the request.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the result, or the [value](Fault::value) of a fault, cannot be
    /// encoded. A fault without a value can always be encoded.
    fn encode_outcome<T: Serialize + ?Sized>(
        &self,
        outcome: Result<&T, &Fault>,
        message: &mut Message,
    ) -> Result<()>;

    /// Reads the outcome of a call: a result, or the peer's fault.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the result is not of the type that the caller expects, with the
    /// position and the cause.
    fn decode_outcome<T: DeserializeOwned>(
        &self,
        message: &mut Message,
    ) -> Result<Result<T, Fault>>;

    /// Reads the details of a fault that arrived with `message`.
    ///
    /// The default fails: it is for conventions whose faults have no details, or none that are a
    /// value.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Codec`] if the details are not of the expected type, with the position and the
    /// cause.
    fn decode_details<T: DeserializeOwned>(&self, fault: &Fault, message: &Message) -> Result<T> {
        let error = Error::new(ErrorKind::Codec, "cannot decode the details of a fault");
        Err(error
            .with("kind", &fault.kind)
            .with("content_type", message.content_type.as_deref().unwrap_or("none")))
    }
}
