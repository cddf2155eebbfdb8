//! PLAIN: clients give a name and a password. Nothing is encrypted, so it is for sockets of files
//! and for networks that are encrypted by other means.
//!
//! ```
//! use polywire_zmq::{Zmq, plain};
//!
//! # fn main() -> polywire_core::Result<()> {
//! let users = plain::PlainServer::new([("alice", "secret")]).allow_if(|user, password| lookup(user, password));
//! let serving = Zmq::builder().bind("ipc:///run/calculator.sock").plain_server(users).build()?;
//!
//! let alice = plain::PlainClient::new("alice", "secret");
//! let calling = Zmq::builder().connect("ipc:///run/calculator.sock").plain_client(alice).build()?;
//! # Ok(())
//! # }
//! # fn lookup(_: &str, _: &str) -> bool { false }
//! ```

use std::fmt;
use std::sync::Arc;

/// The side that asks for a password. Only those are let in whom it knows.
#[derive(Clone)]
#[must_use = "it is for `ZmqBuilder::plain_server`"]
pub struct PlainServer {
    users: Vec<(String, String)>,
    admits: Option<Arc<Admits>>,
}

type Admits = dyn Fn(&str, &str) -> bool + Send + Sync;

impl PlainServer {
    /// A server that knows these names and their passwords.
    pub fn new<U: Into<String>, P: Into<String>>(users: impl IntoIterator<Item = (U, P)>) -> Self {
        let users =
            users.into_iter().map(|(user, password)| (user.into(), password.into())).collect();
        Self { users, admits: None }
    }

    /// Lets in, too, of whose name and password this is true. It is asked in each handshake, on a
    /// thread that may block; what takes longer than the [handshake
    /// time](crate::Admission::handshake_timeout) is a no.
    pub fn allow_if(mut self, admits: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        self.admits = Some(Arc::new(admits));
        self
    }

    pub(crate) fn admits(&self, user: &str, password: &str) -> bool {
        // All are compared, and each to its end, so that the time it takes tells nothing.
        let known = self.users.iter().fold(false, |known, (name, secret)| {
            known | (is_same(name, user) & is_same(secret, password))
        });
        known || self.admits.as_ref().is_some_and(|admits| admits(user, password))
    }
}

fn is_same(secret: &str, given: &str) -> bool {
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

/// The side that gives a name and a password.
#[derive(Clone)]
#[must_use = "it is for `ZmqBuilder::plain_client`"]
pub struct PlainClient {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl PlainClient {
    /// Each at most 255 visible characters of ASCII, which is checked when the first end is opened.
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
    fn who_is_known_is_let_in() {
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
        assert!(server.allow_if(|user, _| user == "carol").admits("carol", "x"));
    }

    #[test]
    fn a_password_shows_in_nothing() {
        let shown = format!(
            "{:?} {:?}",
            PlainServer::new([("alice", "secret")]),
            PlainClient::new("alice", "secret")
        );
        assert!(shown.contains("alice") && !shown.contains("secret"), "{shown}");
    }
}
