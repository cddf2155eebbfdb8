//! What a case may do to the network and to the broker, where the backend lends a hand.

use std::fmt;

/// A disturbance. Each is optional: a backend names those that it can bring about in
/// [`Space::hooks`](crate::Space::hooks), and a case that needs another one is not run.
///
/// What lasts ends with [`Space::heal`](crate::Space::heal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hook {
    /// All connections of the space are cut; new ones work.
    Sever,
    /// Bytes of that direction vanish, and connections stay open, until it is healed.
    BlackHole(Direction),
    /// The next message from a client is cut in the middle, and its connection closed.
    CutMidFrame,
    /// The broker ends as it does in a crash, and is away until it is healed.
    KillBroker,
    /// The broker stands still with its connections open, until it is healed.
    FreezeBroker,
    /// The broker gives up on deliveries that are held for about a second without being settled,
    /// and closes the channel of who holds them, but not the connection; for ends that are
    /// opened from now on, until it is healed.
    ImpatientBroker,
    /// The broker ends as it does in a crash, and is back with its data when the disturbance
    /// returns.
    RestartBroker,
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sever => f.write_str("sever"),
            Self::BlackHole(direction) => write!(f, "black-hole {direction}"),
            Self::CutMidFrame => f.write_str("cut-mid-frame"),
            Self::KillBroker => f.write_str("kill-broker"),
            Self::FreezeBroker => f.write_str("freeze-broker"),
            Self::ImpatientBroker => f.write_str("impatient-broker"),
            Self::RestartBroker => f.write_str("restart-broker"),
        }
    }
}

/// A way along a connection. Who dials is the client: a calling process, or with a broker
/// everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)]
pub enum Direction {
    /// From who dials to who listens.
    ToServer,
    /// From who listens to who dials.
    ToClient,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToServer => "to-server",
            Self::ToClient => "to-client",
        })
    }
}
