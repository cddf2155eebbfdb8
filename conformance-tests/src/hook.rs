//! Disturbances of the network and of the broker, where the backend supports them.

use std::fmt;

/// A disturbance. Each is optional: a backend lists the ones that it implements in
/// [`Space::hooks`](crate::Space::hooks). A case that needs another one is not run.
///
/// A disturbance that lasts ends with [`Space::heal`](crate::Space::heal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Hook {
    /// Closes all connections of the space. New connections work.
    Sever,
    /// Discards all bytes of one direction and keeps connections open, until the space is healed.
    BlackHole(Direction),
    /// Cuts the next message from a client in the middle, and closes its connection.
    CutMidFrame,
    /// Ends the broker as a crash does. It is away until the space is healed.
    KillBroker,
    /// Stops the broker with its connections open, until the space is healed.
    FreezeBroker,
    /// Makes the broker requeue a delivery that is unsettled for about a second. The broker closes
    /// the channel of its consumer, and keeps the connection. Applies to endpoint handles that are
    /// opened from now on, until the space is healed.
    ImpatientBroker,
    /// Ends the broker as a crash does, and starts it again with its data before the disturbance
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

/// A direction along a connection. The client is the peer that dials: a calling process, or every
/// process where there is a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)]
pub enum Direction {
    /// From the peer that dials to the peer that listens.
    ToServer,
    /// From the peer that listens to the peer that dials.
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
