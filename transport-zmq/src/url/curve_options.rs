//! The CURVE options of a URL. Without the feature `curve`, they are refused.

use polywire_core::Result;
#[cfg(feature = "curve")]
use polywire_core::secret::{Secret, SecretSource};

use crate::common_errors::config;
use crate::config::ZmqBuilder;
#[cfg(feature = "curve")]
use crate::security::curve::{CurveClient, CurveServer, KeyPair, PublicKey, SecretKey};
#[cfg(feature = "curve")]
use crate::url::numbered_lines::numbered_lines;

/// Makes every socket a CURVE server with the secret key at `key`. Its clients are the public keys
/// at `allow`, or all clients for the text `any`.
///
/// # Errors
///
/// `Config` without `allow`, for a source that cannot be read, and for a malformed key. The error
/// for a public key has the number of its line.
#[cfg(feature = "curve")]
pub(super) fn server(builder: ZmqBuilder, key: &str, allow: Option<&str>) -> Result<ZmqBuilder> {
    let server = CurveServer::new(key_pair(key)?);
    let server = match allow {
        None => {
            return Err(config(
                "cannot configure security: curve_server_key needs curve_allow, a file of public keys or any",
            ));
        }
        Some("any") => server.allow_any(),
        Some(source) => server.allow(public_keys(read(source)?.reveal())?),
    };
    Ok(builder.curve_server(server))
}

/// Makes every socket a CURVE client of the server with the public key at `public`, with the secret
/// key at `key`. Without `key`, the client gets a new pair, which no list of allowed clients has.
///
/// # Errors
///
/// `Config` for a source that cannot be read, and for a malformed key.
#[cfg(feature = "curve")]
pub(super) fn client(builder: ZmqBuilder, public: &str, key: Option<&str>) -> Result<ZmqBuilder> {
    let client = CurveClient::new(read(public)?.reveal().parse()?);
    let client = match key {
        None => client,
        Some(source) => client.keys(key_pair(source)?),
    };
    Ok(builder.curve_client(client))
}

/// Reads the text of a source, `file:PATH` or `env:NAME`. The thread blocks while a file is read.
#[cfg(feature = "curve")]
fn read(source: &str) -> Result<Secret> {
    source.parse::<SecretSource>()?.read()
}

/// Reads a secret key, and makes its pair.
#[cfg(feature = "curve")]
fn key_pair(source: &str) -> Result<KeyPair> {
    Ok(KeyPair::of(SecretKey::from_z85(read(source)?.reveal())?))
}

/// Parses public keys, one a line. Lines that begin with `#` are comments.
#[cfg(feature = "curve")]
fn public_keys(text: &str) -> Result<Vec<PublicKey>> {
    numbered_lines(text)
        .map(|(at, line)| {
            line.parse().map_err(|error: polywire_core::Error| error.with("line", at))
        })
        .collect()
}

/// Refuses the options of a CURVE server.
#[cfg(not(feature = "curve"))]
pub(super) fn server(_: ZmqBuilder, _: &str, _: Option<&str>) -> Result<ZmqBuilder> {
    Err(not_compiled_in())
}

/// Refuses the options of a CURVE client.
#[cfg(not(feature = "curve"))]
pub(super) fn client(_: ZmqBuilder, _: &str, _: Option<&str>) -> Result<ZmqBuilder> {
    Err(not_compiled_in())
}

/// Returns the error of every CURVE option in a build without CURVE: `Config`, with the name of the
/// feature in both crates.
#[cfg(not(feature = "curve"))]
fn not_compiled_in() -> polywire_core::Error {
    config(
        "cannot configure security: CURVE needs the feature `curve` of polywire-zmq, or `zmq-curve` of polywire",
    )
}
