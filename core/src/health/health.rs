//! Health of a transport at one moment.

use std::fmt;

use super::connection_state::ConnectionState;
use super::endpoint_health::{EndpointHealth, EndpointState};

/// Health of a transport at one moment: its connection and its endpoint handles.
///
/// ```
/// # use polywire_codec::MessagePack;
/// use polywire_core::{Memory, Router, Server, Transport};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> polywire_core::Result<()> {
/// let transport = Memory::new();
/// let server = Server::bind(&transport, "calculator").await?;
///
/// let health = transport.health().current();
/// assert!(health.is_ready());
/// assert_eq!((health.consuming(), health.bound()), (1, 1));
/// assert_eq!(health.to_string(), "connected, consuming 1 of 1");
///
/// let (handle, serving) = (server.handle(), server.serve(Router::new(MessagePack)));
/// tokio::join!(handle.drain(), async { drop(serving.await) });
/// assert!(!transport.health().current().is_ready());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Health {
    /// State of the connection.
    pub connection: ConnectionState,
    /// The endpoint handles that receive work, in the order in which they were bound.
    ///
    /// A handle that its program dropped has no entry. A server, a worker or a listener that has
    /// ended keeps its entry, until another handle of the same role and name is bound, or
    /// [`forget_stopped`](super::HealthReader::forget_stopped) is called. The latest 64 of these
    /// entries are kept.
    pub endpoints: Vec<EndpointHealth>,
}

impl Health {
    /// Returns whether the program can do its work: the transport is connected and not blocked, and
    /// every bound endpoint handle consumes.
    ///
    /// False as soon as a drain is requested, before the handle stops consuming, and after the
    /// drain. False for a backend that does not [know](Self::is_known) its health. Without
    /// endpoint handles, true if the transport is connected.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.connection.is_connected() && self.consuming() == self.bound()
    }

    /// Returns whether the backend reports its health.
    #[must_use]
    pub fn is_known(&self) -> bool {
        !matches!(self.connection, ConnectionState::Unknown)
    }

    /// Returns whether an endpoint handle drains.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.endpoints.iter().any(|endpoint| matches!(endpoint.state, EndpointState::Draining))
    }

    /// Returns the number of endpoint handles that consume.
    #[must_use]
    pub fn consuming(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.is_consuming()).count()
    }

    /// Returns the number of endpoint handles that receive work and are bound.
    #[must_use]
    pub fn bound(&self) -> usize {
        self.endpoints.len()
    }
}

/// Handles whose causes the text of a health names.
const CAUSES_MAX: usize = 3;

/// Writes the state of the connection and the numbers of handles, as in
/// `connected, consuming 1 of 2, draining`, and why handles are refused or have failed: of the
/// first three, as in `connected, consuming 0 of 1; responder orders: …`.
impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection, .. } = self;
        write!(f, "{connection}, consuming {} of {}", self.consuming(), self.bound())?;
        if self.is_draining() {
            f.write_str(", draining")?;
        }
        let failed =
            self.endpoints.iter().filter_map(|EndpointHealth { role, name, state, .. }| {
                let (EndpointState::Refused { error } | EndpointState::Failed { error }) = state
                else {
                    return None;
                };
                Some((role, name, error))
            });
        for (role, name, error) in failed.take(CAUSES_MAX) {
            write!(f, "; {role} {name}: {error}")?;
        }
        Ok(())
    }
}
