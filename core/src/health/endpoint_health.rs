//! Health of one endpoint handle, as a backend reports it through an
//! [`EndpointReporter`](super::EndpointReporter).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use crate::message::Address;

/// Health of an endpoint handle that receives requests, jobs or events.
///
/// Requesters, pushers and publishers receive no work and have no entry.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointHealth {
    /// The role of the handle.
    pub role: EndpointRole,
    /// The service, the queue or the channel.
    pub name: Address,
    /// The state of the handle.
    pub state: EndpointState,
    /// Id within the transport.
    pub(super) id: u64,
    /// Set if core runs a server, a worker or a listener over the handle.
    pub(super) is_served: bool,
    received: Arc<AtomicU64>,
}

/// Role of an endpoint handle that receives work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndpointRole {
    /// Receives the requests of a service: a [`Server`](crate::Server).
    Responder,
    /// Receives the jobs of a queue: a [`Worker`](crate::Worker) or a [`Puller`](crate::Puller).
    Puller,
    /// Receives the events of a channel: a [`Listener`](crate::Listener) or a
    /// [`Subscriber`](crate::Subscriber).
    Subscriber,
}

/// State of an endpoint handle that receives work.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EndpointState {
    /// Does not consume at the moment: the backend is about to register the consumer again.
    Interrupted,
    /// Does not consume: the broker refuses the queue, for instance for a missing permission. The
    /// state begins with the first refusal, while the backend still tries again.
    Refused {
        /// The refusal.
        error: Error,
    },
    /// Consumes its queue or its sockets.
    Consuming,
    /// A drain was requested: running handlers go on, and nothing new begins.
    Draining,
    /// The server, the worker or the listener has ended.
    Stopped,
    /// Nothing can be received any more, for instance because the broker refused for good.
    Failed {
        /// The reason.
        error: Error,
    },
}

impl EndpointHealth {
    /// Creates the health of a handle that does not consume yet.
    pub(super) fn new(
        id: u64,
        role: EndpointRole,
        name: Address,
        received: Arc<AtomicU64>,
    ) -> Self {
        Self { role, name, state: EndpointState::Interrupted, id, is_served: false, received }
    }

    /// Sets the state, unless the handle drains or has ended. Returns whether it did.
    pub(super) fn set_live(&mut self, state: EndpointState) -> bool {
        let is_live = self.state.is_live();
        if is_live {
            self.state = state;
        }
        is_live
    }

    /// Returns whether the handle consumes.
    #[must_use]
    pub const fn is_consuming(&self) -> bool {
        matches!(self.state, EndpointState::Consuming)
    }

    /// Returns the number of deliveries that the handle has received by now. Canaries do not count.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }
}

impl EndpointRole {
    /// Returns the word of the role: `responder`, `puller` or `subscriber`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Responder => "responder",
            Self::Puller => "puller",
            Self::Subscriber => "subscriber",
        }
    }
}

impl EndpointState {
    /// Returns the word of the state: `interrupted`, `refused`, `consuming`, `draining`, `stopped`
    /// or `failed`.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Refused { .. } => "refused",
            Self::Consuming => "consuming",
            Self::Draining => "draining",
            Self::Stopped => "stopped",
            Self::Failed { .. } => "failed",
        }
    }

    /// Returns whether the handle may still consume, now or later.
    pub(super) const fn is_live(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Refused { .. } | Self::Consuming)
    }

    /// Returns whether the handle has ended.
    pub(super) const fn has_ended(&self) -> bool {
        matches!(self, Self::Stopped | Self::Failed { .. })
    }
}

impl fmt::Display for EndpointRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for EndpointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::Refused { error } | Self::Failed { error } => write!(f, ": {error}"),
            _ => Ok(()),
        }
    }
}
