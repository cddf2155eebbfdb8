//! CURVE: peers know each other by public keys, and what travels between them is encrypted.
//!
//! The server has a key pair, whose public half its clients know. It lets in whom it allows, by
//! their public keys. Which end binds makes no difference: "server" is who has the well-known key.
//!
//! ```
//! # use polywire_codec::MessagePack;
//! use polywire_core::{Client, Context, Router, Server};
//! use polywire_zmq::{Zmq, curve};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), polywire_core::CallError> {
//! let (server_keys, client_keys) = (curve::KeyPair::generate(), curve::KeyPair::generate());
//! let (server_public, client_public) = (server_keys.public(), client_keys.public());
//!
//! let allowed = curve::CurveServer::new(server_keys).allow([client_public]);
//! let serving = Zmq::builder().bind("tcp://127.0.0.1:*").curve_server(allowed).build()?;
//! let server = Server::bind(&serving, "whoami").await?;
//! let router = Router::new(MessagePack).method("key", |context: Context, (): ()| async move {
//!     Ok(context.peer.map(|peer| peer.to_string()))
//! });
//! tokio::spawn(server.serve(router));
//!
//! let known = curve::CurveClient::new(server_public).keys(client_keys);
//! let calling = Zmq::builder().connect(&serving.local_endpoints()[0]).curve_client(known).build()?;
//! let client = Client::connect(&calling, "whoami", MessagePack).await?;
//! let key: Option<String> = client.call("key", &()).await?;
//! assert_eq!(key, Some(client_public.to_string()));
//! # Ok(())
//! # }
//! ```

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use omq_tokio::{CurveKeypair, CurvePublicKey, CurveSecretKey};
use polywire_core::{Error, Result};

use super::secret;
use crate::error::config;

/// The half of a key pair that others may know. Its text is 40 characters of Z85, as ZeroMQ writes
/// keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// A key of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn engine(self) -> CurvePublicKey {
        CurvePublicKey::from_bytes(self.0)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.engine().to_z85())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        CurvePublicKey::from_z85(text.trim()).map(|key| Self(key.0)).map_err(|_| no_key())
    }
}

/// The half of a key pair that nobody else may know. It shows itself in no output, and is
/// overwritten when it is dropped.
#[derive(Clone)]
pub struct SecretKey(CurveSecretKey);

impl SecretKey {
    /// Reads 40 characters of Z85.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) if they are none; it does not say
    /// what they are.
    pub fn from_z85(text: &str) -> Result<Self> {
        CurveSecretKey::from_z85(text.trim()).map(Self).map_err(|_| no_key())
    }

    /// Its text, to be written down where nobody else can read it.
    #[must_use]
    pub fn to_z85(&self) -> String {
        self.0.to_z85()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// A secret key and its public half.
#[derive(Clone)]
pub struct KeyPair(CurveKeypair);

impl KeyPair {
    /// A new one, from the randomness of the operating system.
    #[must_use]
    pub fn generate() -> Self {
        Self(CurveKeypair::generate())
    }

    /// The pair that this key is the secret half of.
    #[must_use]
    pub fn of(secret: SecretKey) -> Self {
        Self(CurveKeypair { public: secret.0.derive_public(), secret: secret.0 })
    }

    /// The pair whose secret key stands in a file. A warning is logged if others may read it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) if it cannot be read, or holds no
    /// key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let text = secret::from_file(path.as_ref())?;
        let key = SecretKey::from_z85(&text);
        key.map(Self::of).map_err(|error| error.with("file", path.as_ref().display()))
    }

    /// The pair whose secret key is in a variable of the environment.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) if it is not set, or holds no key.
    pub fn from_env(variable: &str) -> Result<Self> {
        let text = secret::from_env(variable)?;
        SecretKey::from_z85(&text).map(Self::of).map_err(|error| error.with("variable", variable))
    }

    /// The half for others.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public.0)
    }

    /// The other half.
    #[must_use]
    pub fn secret(&self) -> SecretKey {
        SecretKey(self.0.secret.clone())
    }

    pub(crate) fn engine(&self) -> CurveKeypair {
        self.0.clone()
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public()).finish_non_exhaustive()
    }
}

/// The side with the well-known key. It lets nobody in before it is told whom.
#[derive(Clone)]
#[must_use = "it is for `ZmqBuilder::curve_server`"]
pub struct CurveServer {
    keys: KeyPair,
    any: bool,
    allowed: HashSet<PublicKey>,
    admits: Option<Arc<Admits>>,
}

type Admits = dyn Fn(&PublicKey) -> bool + Send + Sync;

impl CurveServer {
    /// A server with these keys, which lets nobody in yet.
    pub fn new(keys: KeyPair) -> Self {
        Self { keys, any: false, allowed: HashSet::new(), admits: None }
    }

    /// Lets these clients in, beside those that were allowed before.
    pub fn allow(mut self, clients: impl IntoIterator<Item = PublicKey>) -> Self {
        self.allowed.extend(clients);
        self
    }

    /// Lets those clients in, too, of which this is true. It is asked in each handshake, on a
    /// thread that may block; what takes longer than the [handshake
    /// time](crate::Admission::handshake_timeout) is a no.
    pub fn allow_if(mut self, admits: impl Fn(&PublicKey) -> bool + Send + Sync + 'static) -> Self {
        self.admits = Some(Arc::new(admits));
        self
    }

    /// Lets in everybody who knows the public key. Who they are is known still.
    pub fn allow_any(mut self) -> Self {
        self.any = true;
        self
    }

    pub(crate) fn keys(&self) -> &KeyPair {
        &self.keys
    }

    pub(crate) fn admits(&self, client: &PublicKey) -> bool {
        self.any
            || self.allowed.contains(client)
            || self.admits.as_ref().is_some_and(|admits| admits(client))
    }
}

impl fmt::Debug for CurveServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut server = f.debug_struct("CurveServer");
        server.field("keys", &self.keys).field("any", &self.any).field("allowed", &self.allowed);
        server.finish_non_exhaustive()
    }
}

/// The side that knows the key of the other.
#[derive(Clone, Debug)]
#[must_use = "it is for `ZmqBuilder::curve_client`"]
pub struct CurveClient {
    server: PublicKey,
    keys: KeyPair,
}

impl CurveClient {
    /// A client of whoever has this key, with keys of its own that were made just now.
    pub fn new(server: PublicKey) -> Self {
        Self { server, keys: KeyPair::generate() }
    }

    /// The keys by which the server knows it.
    pub fn keys(self, keys: KeyPair) -> Self {
        Self { keys, ..self }
    }

    pub(crate) fn engine(&self) -> (CurveKeypair, CurvePublicKey) {
        (self.keys.engine(), self.server.engine())
    }
}

fn no_key() -> Error {
    config("not a key, which is 40 characters of Z85")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_being_written_down() {
        let pair = KeyPair::generate();
        let again =
            KeyPair::of(SecretKey::from_z85(&format!("{}\n", pair.secret().to_z85())).unwrap());
        assert_eq!(again.public(), pair.public());
        assert_eq!(pair.public().to_string().parse::<PublicKey>().unwrap(), pair.public());
        assert_ne!(KeyPair::generate().public(), pair.public());
    }

    #[test]
    fn a_secret_shows_in_nothing() {
        let pair = KeyPair::generate();
        let secret = pair.secret().to_z85();
        let shown = [
            format!("{pair:?} {:?}", pair.secret()),
            format!("{:?}", CurveServer::new(pair.clone()).allow_any()),
            format!("{:?}", CurveClient::new(pair.public()).keys(pair)),
            SecretKey::from_z85(&secret[1..]).unwrap_err().to_string(),
        ];
        for shown in shown {
            assert!(!shown.contains(&secret[1..]), "{shown}");
        }
    }

    #[test]
    fn nobody_is_let_in_by_default() {
        let [keys, one, other] = [(); 3].map(|()| KeyPair::generate());
        let server = CurveServer::new(keys);
        assert!(!server.admits(&one.public()));
        let server = server.allow([one.public()]);
        assert!(server.admits(&one.public()) && !server.admits(&other.public()));
        let known = other.public();
        assert!(server.clone().allow_if(move |key| *key == known).admits(&other.public()));
        assert!(server.allow_any().admits(&other.public()));
    }
}
