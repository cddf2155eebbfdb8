//! A custom codec: CBOR (RFC 8949), through the crate `ciborium`.
//!
//! ```text
//! cargo run -p polywire-examples --example cbor
//! ```

use bytes::{BufMut, BytesMut};
use polywire::{CallError, Client, Codec, Error, ErrorKind, Memory, Result, Router, Server};
use serde::{Deserialize, Serialize};

/// Values as CBOR. No other code is needed, because every codec is a dialect.
#[derive(Clone, Copy, Debug)]
struct Cbor;

impl Codec for Cbor {
    const CONTENT_TYPE: &'static str = "application/cbor";

    fn encode<T: Serialize + ?Sized>(&self, value: &T, buf: &mut BytesMut) -> Result<()> {
        ciborium::into_writer(value, buf.writer()).map_err(|error| {
            let failed = Error::new(ErrorKind::Codec, "the value cannot be written as CBOR");
            failed.with_source(error)
        })
    }

    fn decode<'de, T: Deserialize<'de>>(&self, bytes: &'de [u8]) -> Result<T> {
        let mut rest = bytes;
        // The limit on nesting keeps a peer's bytes from exhausting the stack. Decoding goes
        // through `ciborium`'s own value, which can decode into borrowing types.
        let value: ciborium::Value =
            ciborium::de::from_reader_with_recursion_limit(&mut rest, 128).map_err(unreadable)?;
        if !rest.is_empty() {
            return Err(Error::new(ErrorKind::Codec, "the CBOR goes on after the value"));
        }
        value.deserialized().map_err(unreadable)
    }
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Codec, "this is not the CBOR that was expected").with_source(error)
}

#[tokio::main]
async fn main() -> Result<(), CallError> {
    let transport = Memory::new();
    let server = Server::bind(&transport, "calculator").await?;
    let router = Router::new(Cbor).method("add", |(a, b): (i64, i64)| async move { Ok(a + b) });
    tokio::spawn(server.serve(router));

    let client = Client::connect(&transport, "calculator", Cbor).await?;
    let sum: i64 = client.call("add", &(2, 3)).await?;
    println!("2 + 3 = {sum}, in CBOR");

    // A client of another format receives a fault that says so.
    let foreign = Client::connect(&transport, "calculator", polywire::MessagePack).await?;
    match foreign.call::<i64>("add", &(2, 3)).await {
        Err(CallError::Fault(fault)) => println!("in MessagePack: {fault}"),
        other => println!("in MessagePack: {other:?}?"),
    }
    Ok(())
}
