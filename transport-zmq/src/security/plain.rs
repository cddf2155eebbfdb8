//! PLAIN: clients authenticate by a name and a password. The connection is not encrypted, so use
//! PLAIN for socket files, and for networks that are encrypted by other means.
//!
//! ```
//! use polywire_zmq::{Zmq, plain};
//!
//! # fn main() -> polywire_core::Result<()> {
//! let users = plain::PlainServer::new([("alice", "secret")])
//!     .allow_if(|user, password| lookup(user, password));
//! let serving = Zmq::builder().bind("ipc:///run/calculator.sock").plain_server(users).build()?;
//!
//! let alice = plain::PlainClient::new("alice", "secret");
//! let calling =
//!     Zmq::builder().connect("ipc:///run/calculator.sock").plain_client(alice).build()?;
//! # Ok(())
//! # }
//! # fn lookup(_: &str, _: &str) -> bool { false }
//! ```

use std::fmt;
use std::sync::Arc;

/// The configuration of a PLAIN server: the users that it allows.
#[derive(Clone)]
#[must_use = "pass it to `ZmqBuilder::plain_server`"]
pub struct PlainServer {
    users: Vec<(String, String)>,
    admits: Option<Arc<Admits>>,
    /// The user of the transport itself, as a client of its own sockets: for canaries. `None` if
    /// the operating system gave no random password.
    own: Option<PlainClient>,
}

type Admits = dyn Fn(&str, &str) -> bool + Send + Sync;

impl PlainServer {
    /// Makes a server that allows these users, given by name and password.
    pub fn new<U: Into<String>, P: Into<String>>(users: impl IntoIterator<Item = (U, P)>) -> Self {
        let users =
            users.into_iter().map(|(user, password)| (user.into(), password.into())).collect();
        Self { users, admits: None, own: own_client() }
    }

    /// Also allows the users for whose name and password `admits` returns `true`.
    ///
    /// The function is called in each handshake, on a thread that may block. If it takes longer
    /// than the [handshake timeout](crate::Admission::handshake_timeout), the client is denied.
    pub fn allow_if(mut self, admits: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        self.admits = Some(Arc::new(admits));
        self
    }

    /// Returns a client that this server allows.
    pub(crate) fn own_client(&self) -> Option<PlainClient> {
        self.own.clone()
    }

    pub(crate) fn admits(&self, user: &str, password: &str) -> bool {
        // Every user is compared, and every byte, so that the duration reveals nothing.
        let known = self.users.iter().fold(false, |known, (name, secret)| {
            known | (is_equal(name, user) & is_equal(secret, password))
        });
        let own = self
            .own
            .as_ref()
            .is_some_and(|own| is_equal(&own.user, user) & is_equal(&own.password, password));
        known || own || self.admits.as_ref().is_some_and(|admits| admits(user, password))
    }
}

/// Makes the user of a transport itself, with a random password of 32 bytes.
fn own_client() -> Option<PlainClient> {
    let mut password = [0; 32];
    getrandom::fill(&mut password).ok()?;
    let password = password.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Some(PlainClient::new("polywire.canary", password))
}

/// Compares two texts. The duration depends on the shorter length, not on the position of a
/// difference.
fn is_equal(secret: &str, given: &str) -> bool {
    let different =
        secret.bytes().zip(given.bytes()).fold(0, |different, (a, b)| different | (a ^ b));
    std::hint::black_box(different) == 0 && secret.len() == given.len()
}

impl fmt::Debug for PlainServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: Vec<_> = self.users.iter().map(|(user, _)| user).collect();
        f.debug_struct("PlainServer").field("users", &users).finish_non_exhaustive()
    }
}

/// The configuration of a PLAIN client: its name and its password.
#[derive(Clone)]
#[must_use = "pass it to `ZmqBuilder::plain_client`"]
pub struct PlainClient {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl PlainClient {
    /// Makes a client with this name and password: each at most 255 visible ASCII characters. They
    /// are checked when the first endpoint handle is opened.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: user.into(), password: password.into() }
    }
}

impl fmt::Debug for PlainClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainClient").field("user", &self.user).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_user_with_right_password_is_allowed() {
        let server = PlainServer::new([("alice", "secret"), ("bob", "")]);
        assert!(server.admits("alice", "secret") && server.admits("bob", ""));
        for (user, password) in [
            ("alice", "secre"),
            ("alice", "secret1"),
            ("alic", "secret"),
            ("bob", "secret"),
            ("", ""),
        ] {
            assert!(!server.admits(user, password), "{user} {password}");
        }
        let own = server.own_client().expect("the system has randomness");
        assert!(server.admits(&own.user, &own.password));
        assert!(!server.admits(&own.user, "") && !server.admits("alice", &own.password));
        assert!(server.allow_if(|user, _| user == "carol").admits("carol", "x"));
    }

    #[test]
    fn password_appears_in_no_output() {
        let shown = format!(
            "{:?} {:?}",
            PlainServer::new([("alice", "secret")]),
            PlainClient::new("alice", "secret")
        );
        assert!(shown.contains("alice") && !shown.contains("secret"), "{shown}");
    }
}
