//! The half of the format in the body.

use polywire::{Codec, Dialect, Fault, Json, Message, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::envelope::{Failure, FaultDetails, Params, RequestHead, Success};

/// JSON-RPC 2.0. The layout writes the envelope, since only the layout knows the id of a call; both
/// halves read it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonRpc;

impl Dialect for JsonRpc {
    fn encode_call<T: Serialize + ?Sized>(&self, args: &T, message: &mut Message) -> Result<()> {
        Json.encode_call(args, message)
    }

    fn decode_call<T: DeserializeOwned>(&self, message: &Message) -> Result<T> {
        let body = message.body.clone().into_bytes();
        match Json.decode::<RequestHead>(&body)?.params {
            // A plain value was written as an array of one.
            Some(_) => match Json.decode::<Params<T>>(&body) {
                Ok(request) => Ok(request.params),
                Err(error) => {
                    let alone = Json.decode::<Params<(T,)>>(&body);
                    alone.map(|request| request.params.0).map_err(|_| error)
                }
            },
            None => Json.decode(b"null"),
        }
    }

    fn encode_outcome<T: Serialize + ?Sized>(
        &self,
        outcome: Result<&T, &Fault>,
        message: &mut Message,
    ) -> Result<()> {
        Json.encode_outcome(outcome, message)
    }

    fn decode_outcome<T: DeserializeOwned>(
        &self,
        message: &mut Message,
    ) -> Result<Result<T, Fault>> {
        match message.fault.take() {
            Some(fault) => Ok(Err(*fault)),
            None => {
                let body = message.body.clone().into_bytes();
                Json.decode::<Success<T>>(&body).map(|reply| Ok(reply.result))
            }
        }
    }

    fn decode_details<T: DeserializeOwned>(&self, _: &Fault, message: &Message) -> Result<T> {
        let body = message.body.clone().into_bytes();
        let failure = Json.decode::<Failure<FaultDetails<T>>>(&body);
        failure.map(|failure| failure.error.data.details)
    }
}
