//! Values that both codecs carry: times, identifiers, bytes; and a custom type as an extension type
//! of MessagePack.
//!
//! ```text
//! cargo run -p polywire-examples --example types
//! ```

use bytes::Bytes;
use polywire::{CallError, Codec, Fault, Json, Memory, MessagePack, Server, service};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// A depot that stores packages.
#[service]
trait Depot {
    /// Stores a package and returns all of them.
    async fn take(&self, package: Package) -> Result<Package, Fault>;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Package {
    id: uuid::Uuid,
    sent: chrono::DateTime<chrono::Utc>,
    #[serde(with = "time::serde::rfc3339")]
    due: time::OffsetDateTime,
    content: Bytes,
    worth: Cents,
}

/// Money: in MessagePack, 8 bytes of the extension type 42, which other languages can decode;
/// elsewhere, a number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cents(u64);

/// The shape that the codec encodes as an extension: a newtype of this name with a number and
/// bytes.
#[derive(Serialize, Deserialize)]
#[serde(rename = "_ExtStruct")]
struct Extension((i8, ByteBuf));

const CENTS: i8 = 42;

impl Serialize for Cents {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return self.0.serialize(serializer);
        }
        Extension((CENTS, ByteBuf::from(self.0.to_be_bytes()))).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cents {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        match Extension::deserialize(deserializer)? {
            Extension((CENTS, bytes)) => {
                let bytes = bytes
                    .into_vec()
                    .try_into()
                    .map_err(|_| serde::de::Error::custom("not 8 bytes"))?;
                Ok(Self(u64::from_be_bytes(bytes)))
            }
            Extension((other, _)) => {
                Err(serde::de::Error::custom(format_args!("extension {other}")))
            }
        }
    }
}

struct Shelf;

impl Depot for Shelf {
    async fn take(&self, package: Package) -> Result<Package, Fault> {
        Ok(package)
    }
}

#[tokio::main]
async fn main() -> Result<(), CallError> {
    send(Json).await?;
    send(MessagePack).await
}

/// Sends a package through a format and back.
async fn send<C: Codec>(codec: C) -> Result<(), CallError> {
    let transport = Memory::new();
    tokio::spawn(
        Server::bind(&transport, "depot").await?.serve(DepotServer::new(Shelf, codec.clone())),
    );
    let depot = DepotClient::connect(&transport, "depot", codec.clone()).await?;
    let package = Package {
        id: uuid::Uuid::from_u128(7),
        sent: chrono::DateTime::UNIX_EPOCH,
        due: time::OffsetDateTime::UNIX_EPOCH + time::Duration::days(3),
        content: Bytes::from_static(b"\x00a hat\xff"),
        worth: Cents(1999),
    };
    let back = depot.take(package.clone()).await?;
    let mut written = bytes::BytesMut::new();
    codec.encode(&package, &mut written)?;
    println!("{}: {} bytes, the same again: {}", C::CONTENT_TYPE, written.len(), back == package);
    Ok(())
}
