//! CURVE: peers authenticate each other by public keys, and the connection is encrypted.
//!
//! The server has a key pair, and its clients know the public key. The server allows clients by
//! their public keys. The CURVE server is the side with the well-known key, whichever side binds.
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
//! let calling =
//!     Zmq::builder().connect(&serving.local_endpoints()[0]).curve_client(known).build()?;
//! let client = Client::connect(&calling, "whoami", MessagePack).await?;
//! let key: Option<String> = client.call("key", &()).await?;
//! assert_eq!(key, Some(client_public.to_string()));
//! # Ok(())
//! # }
//! ```

// The authenticator of a socket asks `CurveServer::admits` about each key; it is in
// `transport-zmq/src/security/mechanism.rs`.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use omq_tokio::{CurveKeypair, CurvePublicKey, CurveSecretKey};
use polywire_core::secret::SecretSource;
use polywire_core::{Error, Result};

use crate::common_errors::config;

/// The public key of a key pair. Its text is 40 characters of Z85, as ZeroMQ writes keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Makes a key of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the key.
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

/// The secret key of a key pair. `Debug` does not reveal it, and dropping it overwrites its memory.
#[derive(Clone)]
pub struct SecretKey(CurveSecretKey);

impl SecretKey {
    /// Parses 40 characters of Z85. Surrounding white space is ignored.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) for any other text. The error does
    /// not reveal the text.
    pub fn from_z85(text: &str) -> Result<Self> {
        CurveSecretKey::from_z85(text.trim()).map(Self).map_err(|_| no_key())
    }

    /// Returns the text of the key. Store it where no other user can read it.
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

/// A secret key and its public key.
#[derive(Clone)]
pub struct KeyPair(CurveKeypair);

impl KeyPair {
    /// Generates a key pair from the randomness of the operating system.
    #[must_use]
    pub fn generate() -> Self {
        Self(CurveKeypair::generate())
    }

    /// Makes the pair of a secret key.
    #[must_use]
    pub fn of(secret: SecretKey) -> Self {
        Self(CurveKeypair { public: secret.0.derive_public(), secret: secret.0 })
    }

    /// Reads a secret key from a file, and makes its pair. Logs a warning if other users can read
    /// the file, or its group can change it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) if the file cannot be read, or holds
    /// no key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let text = SecretSource::File(path.as_ref().to_owned()).read()?;
        let key = SecretKey::from_z85(text.reveal());
        key.map(Self::of).map_err(|error| error.with("file", path.as_ref().display()))
    }

    /// Reads a secret key from an environment variable, and makes its pair.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) if the variable is not set, or holds
    /// no key.
    pub fn from_env(variable: &str) -> Result<Self> {
        let text = SecretSource::Env(variable.to_owned()).read()?;
        SecretKey::from_z85(text.reveal())
            .map(Self::of)
            .map_err(|error| error.with("variable", variable))
    }

    /// Returns the public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public.0)
    }

    /// Returns the secret key.
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

/// The configuration of a CURVE server: its keys, and the clients that it allows. By default no
/// client is allowed.
#[derive(Clone)]
#[must_use = "pass it to `ZmqBuilder::curve_server`"]
pub struct CurveServer {
    keys: KeyPair,
    any: bool,
    allowed: HashSet<PublicKey>,
    admits: Option<Arc<Admits>>,
    /// Keys of the transport itself, as a client of its own sockets: for canaries.
    own: KeyPair,
}

type Admits = dyn Fn(&PublicKey) -> bool + Send + Sync;

impl CurveServer {
    /// Makes a server with these keys, which allows no client yet.
    pub fn new(keys: KeyPair) -> Self {
        let own = KeyPair::generate();
        Self { keys, any: false, allowed: HashSet::new(), admits: None, own }
    }

    /// Allows these clients, besides those allowed before.
    pub fn allow(mut self, clients: impl IntoIterator<Item = PublicKey>) -> Self {
        self.allowed.extend(clients);
        self
    }

    /// Also allows the clients for which `admits` returns `true`.
    ///
    /// The function is called in each handshake, on a thread that may block. If it takes longer
    /// than the [handshake timeout](crate::Admission::handshake_timeout), the client is denied.
    pub fn allow_if(mut self, admits: impl Fn(&PublicKey) -> bool + Send + Sync + 'static) -> Self {
        self.admits = Some(Arc::new(admits));
        self
    }

    /// Allows every client that knows the public key of the server. Handlers still get the key of
    /// each client.
    pub fn allow_any(mut self) -> Self {
        self.any = true;
        self
    }

    pub(crate) fn keys(&self) -> &KeyPair {
        &self.keys
    }

    /// Returns a client that this server allows.
    pub(crate) fn own_client(&self) -> CurveClient {
        CurveClient::new(self.keys.public()).keys(self.own.clone())
    }

    pub(crate) fn admits(&self, client: &PublicKey) -> bool {
        self.any
            || self.allowed.contains(client)
            || *client == self.own.public()
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

/// The configuration of a CURVE client: the public key of its server, and its own keys.
#[derive(Clone, Debug)]
#[must_use = "pass it to `ZmqBuilder::curve_client`"]
pub struct CurveClient {
    server: PublicKey,
    keys: KeyPair,
}

impl CurveClient {
    /// Makes a client of the server with this key. Its own keys are newly generated.
    pub fn new(server: PublicKey) -> Self {
        Self { server, keys: KeyPair::generate() }
    }

    /// Sets the keys of the client, by which the server recognizes it.
    pub fn keys(self, keys: KeyPair) -> Self {
        Self { keys, ..self }
    }

    pub(crate) fn engine(&self) -> (CurveKeypair, CurvePublicKey) {
        (self.keys.engine(), self.server.engine())
    }
}

fn no_key() -> Error {
    config("cannot parse the key: expected 40 characters of Z85")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_as_text() {
        let pair = KeyPair::generate();
        let again =
            KeyPair::of(SecretKey::from_z85(&format!("{}\n", pair.secret().to_z85())).unwrap());
        assert_eq!(again.public(), pair.public());
        assert_eq!(pair.public().to_string().parse::<PublicKey>().unwrap(), pair.public());
        assert_ne!(KeyPair::generate().public(), pair.public());
    }

    #[test]
    fn secret_key_appears_in_no_output() {
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
    fn no_client_is_allowed_by_default() {
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
