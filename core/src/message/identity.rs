//! Who a peer is.

use std::fmt;

use bytestring::ByteString;

/// Who sent a message, as the carrier has verified it. What peers only say of themselves is none.
///
/// ```
/// use polywire_core::Identity;
///
/// assert_eq!(Identity::User("alice".into()).to_string(), "alice");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Identity {
    /// Who holds the secret half of this public key, as the carrier writes keys: in Z85 for CURVE
    /// of ZeroMQ.
    Key(ByteString),
    /// Who has proved to be this user: by a password to the peer or, of RabbitMQ, by whatever the
    /// broker asks for.
    User(ByteString),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(text) | Self::User(text) => f.write_str(text),
        }
    }
}
