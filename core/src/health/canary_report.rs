//! The outcomes of canaries: probes that go through the queue of an endpoint handle and back.

use std::time::Duration;

use super::endpoint_health::EndpointRole;
use crate::error::Result;
use crate::message::Address;

/// Outcome of the canaries of a transport, one for each endpoint handle.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CanaryReport {
    /// The outcomes, in the order in which the handles were bound.
    pub endpoints: Vec<EndpointCanary>,
}

/// Outcome of the canary of one endpoint handle.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointCanary {
    /// The role of the handle.
    pub role: EndpointRole,
    /// The service, the queue or the channel.
    pub name: Address,
    /// The canary that came back, or the reason why none did.
    pub outcome: Result<CanaryEcho>,
}

/// A canary that came back.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CanaryEcho {
    /// Time from sending the canary to its return.
    pub round_trip: Duration,
    /// The receiver of the canary.
    pub receiver: CanaryReceiver,
}

/// Receiver of a canary.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CanaryReceiver {
    /// The endpoint handle that sent the canary. This handle receives what is in its queue.
    ThisEndpoint,
    /// Another handle, which consumes the same queue. The queue is consumed. It is not proven that
    /// the handle that sent the canary receives, too.
    Other {
        /// The instance that received the canary, as it names itself.
        instance: String,
    },
}

impl CanaryReport {
    /// Returns whether every canary came back. True without endpoint handles.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.endpoints.iter().all(|endpoint| endpoint.outcome.is_ok())
    }

    /// Returns whether every canary came back by way of the handle that sent it.
    #[must_use]
    pub fn is_own(&self) -> bool {
        let is_own = |echo: &CanaryEcho| echo.receiver == CanaryReceiver::ThisEndpoint;
        self.endpoints.iter().all(|endpoint| endpoint.outcome.as_ref().is_ok_and(is_own))
    }

    /// Returns the longest round trip of the canaries that came back.
    #[must_use]
    pub fn round_trip_max(&self) -> Option<Duration> {
        let echoes = self.endpoints.iter().filter_map(|endpoint| endpoint.outcome.as_ref().ok());
        echoes.map(|echo| echo.round_trip).max()
    }
}

impl CanaryEcho {
    /// Creates the echo of a canary.
    #[must_use]
    pub fn new(round_trip: Duration, receiver: CanaryReceiver) -> Self {
        Self { round_trip, receiver }
    }
}
