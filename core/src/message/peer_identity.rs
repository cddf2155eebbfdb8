//! Verified identities of peers.

use std::fmt;

use bytestring::ByteString;

/// Identity of the sender of a message, verified by the transport or its broker.
///
/// An unverified claim of a peer is never an `Identity`.
///
/// ```
/// use polywire_core::Identity;
///
/// assert_eq!(Identity::User("alice".into()).to_string(), "alice");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Identity {
    /// Public key whose secret half the peer holds, in the encoding of the transport. For ZeroMQ
    /// CURVE that is Z85.
    Key(ByteString),
    /// Name of an authenticated user. For ZeroMQ PLAIN the receiving peer has checked the
    /// password; for RabbitMQ the broker has authenticated the connection.
    User(ByteString),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(text) | Self::User(text) => f.write_str(text),
        }
    }
}
