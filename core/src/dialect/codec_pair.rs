//! Pairs of codecs: two formats for one service.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::media_type::MediaType;
use super::{Codec, Dialect};
use crate::error::{Fault, Result};
use crate::message::Message;

/// A pair of codecs as a dialect.
///
/// A server accepts both formats, and replies in the format of the request. A client sends in the
/// first format. A message without a media type counts as one in the first format.
///
/// ```
/// # use polywire_codec::{Json, MessagePack};
/// # use polywire_core::{CallError, Client, Memory, Router, Server};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), CallError> {
/// # let transport = Memory::new();
/// let router = Router::new((MessagePack, Json)).method("double", async |n: i64| Ok(2 * n));
/// tokio::spawn(Server::bind(&transport, "calculator").await?.serve(router));
/// let new = Client::connect(&transport, "calculator", MessagePack).await?;
/// let old = Client::connect(&transport, "calculator", Json).await?;
/// assert_eq!(new.call::<i64>("double", &4).await?, old.call::<i64>("double", &4).await?);
/// # Ok(())
/// # }
/// ```
impl<A: Codec, B: Codec> Dialect for (A, B) {
    fn encode_call<T: Serialize + ?Sized>(&self, args: &T, message: &mut Message) -> Result<()> {
        self.0.encode_call(args, message)
    }

    fn decode_call<T: DeserializeOwned>(&self, message: &Message) -> Result<T> {
        if is_of::<B>(message) { self.1.decode_call(message) } else { self.0.decode_call(message) }
    }

    fn encode_outcome<T: Serialize + ?Sized>(
        &self,
        outcome: Result<&T, &Fault>,
        message: &mut Message,
    ) -> Result<()> {
        match is_of::<B>(message) {
            true => self.1.encode_outcome(outcome, message),
            false => self.0.encode_outcome(outcome, message),
        }
    }

    fn decode_outcome<T: DeserializeOwned>(
        &self,
        message: &mut Message,
    ) -> Result<Result<T, Fault>> {
        if is_of::<B>(message) {
            self.1.decode_outcome(message)
        } else {
            self.0.decode_outcome(message)
        }
    }

    fn decode_details<T: DeserializeOwned>(&self, fault: &Fault, message: &Message) -> Result<T> {
        match is_of::<B>(message) {
            true => self.1.decode_details(fault, message),
            false => self.0.decode_details(fault, message),
        }
    }
}

/// Returns `true` if the message names the format of the codec.
fn is_of<C: Codec>(message: &Message) -> bool {
    let format = message.content_type.as_deref();
    format.is_some_and(|format| MediaType::new(format).is_like(MediaType::new(C::CONTENT_TYPE)))
}
