//! States of a transport's connection.

use std::fmt;

use crate::error::Error;

/// State of the connection of a transport.
///
/// | state | RabbitMQ | ZeroMQ | memory |
/// |---|---|---|---|
/// | connecting | one of the two connections is lost | no socket is bound, no peer connected | never |
/// | connected | both connections are established | a socket is bound, or a peer connected | open |
/// | blocked | the broker's alarm for memory or disk | never | never |
/// | refused | the broker refused the latest attempt | a peer refused the latest handshake | never |
/// | closed | the transport is closed | the same | the same |
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum ConnectionState {
    /// The backend does not report its health. The default.
    #[default]
    Unknown,
    /// Not connected: the connection is lost, or not established yet. The backend tries again.
    Connecting {
        /// The latest failure, if there was one.
        error: Option<Error>,
    },
    /// Connected, as far as the backend knows.
    Connected,
    /// Connected, but the broker accepts no messages.
    Blocked {
        /// The reason that the broker gave.
        reason: String,
    },
    /// Refused by the broker or the peer, for instance for a wrong password or a missing
    /// permission. The state begins with the first refusal, while the backend may still try again.
    Refused {
        /// The refusal.
        error: Error,
    },
    /// Closed by the program, or dropped.
    Closed,
}

impl ConnectionState {
    /// Returns the word of the state: `unknown`, `connecting`, `connected`, `blocked`, `refused` or
    /// `closed`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Connecting { .. } => "connecting",
            Self::Connected => "connected",
            Self::Blocked { .. } => "blocked",
            Self::Refused { .. } => "refused",
            Self::Closed => "closed",
        }
    }

    /// Returns whether messages can be sent and received.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        matches!(self, Self::Connected)
    }

    /// Returns whether the connection is known to be lost, blocked, refused or closed, so that it
    /// is the likely cause of messages that do not arrive.
    #[must_use]
    pub const fn is_troubled(&self) -> bool {
        !matches!(self, Self::Connected | Self::Unknown)
    }

    /// Returns the failure or refusal that the state carries.
    #[must_use]
    pub const fn error(&self) -> Option<&Error> {
        match self {
            Self::Connecting { error: Some(error) } | Self::Refused { error } => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Blocked { reason } => write!(f, ": {reason}"),
            _ => self.error().map_or(Ok(()), |error| write!(f, ": {error}")),
        }
    }
}
