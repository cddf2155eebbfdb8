//! Where a forwarder listens, or whom it dials.

use std::time::Duration;

use polywire_core::{Limits, Result};

use crate::config::{Engine, PEER_BYTES_MAX, Settings, Side};
use crate::endpoint::Endpoint;
use crate::plan::Plan;
use crate::security::Security;
use crate::{Admission, curve, plain};

/// An endpoint of a forwarder. A text is one that it binds.
#[derive(Clone, Debug)]
pub struct Place {
    side: Side,
    endpoint: String,
    security: Security,
    admission: Admission,
}

impl Place {
    /// An endpoint that the forwarder binds, such as `tcp://127.0.0.1:*`.
    #[must_use]
    pub fn bind(endpoint: impl Into<String>) -> Self {
        Self::new(Side::Bind, endpoint.into())
    }

    /// An endpoint that the forwarder connects to.
    #[must_use]
    pub fn connect(endpoint: impl Into<String>) -> Self {
        Self::new(Side::Connect, endpoint.into())
    }

    fn new(side: Side, endpoint: String) -> Self {
        Self { side, endpoint, security: Security::None, admission: Admission::default() }
    }

    /// See [`ZmqBuilder::admission`](crate::ZmqBuilder::admission).
    #[must_use]
    pub fn admission(self, admission: Admission) -> Self {
        Self { admission, ..self }
    }

    /// See [`ZmqBuilder::curve_server`](crate::ZmqBuilder::curve_server). Those behind a forwarder
    /// see its own keys.
    #[must_use]
    pub fn curve_server(self, server: curve::Server) -> Self {
        Self { security: Security::CurveServer(server), ..self }
    }

    /// See [`ZmqBuilder::curve_client`](crate::ZmqBuilder::curve_client).
    #[must_use]
    pub fn curve_client(self, client: curve::Client) -> Self {
        Self { security: Security::CurveClient(client), ..self }
    }

    /// See [`ZmqBuilder::plain_server`](crate::ZmqBuilder::plain_server).
    #[must_use]
    pub fn plain_server(self, server: plain::Server) -> Self {
        Self { security: Security::PlainServer(server), ..self }
    }

    /// See [`ZmqBuilder::plain_client`](crate::ZmqBuilder::plain_client).
    #[must_use]
    pub fn plain_client(self, client: plain::Client) -> Self {
        Self { security: Security::PlainClient(client), ..self }
    }

    /// As a transport has it by default, but for the time that a request or a job waits for
    /// somebody to be there.
    pub(super) fn spot(self) -> Result<Spot> {
        self.admission.check()?;
        let plan = self.plan()?;
        let settings = Settings {
            engine: Engine::Omq,
            limits: Limits::default(),
            admission: self.admission,
            security: self.security,
            connect_timeout: Duration::from_secs(1),
            linger: Duration::from_secs(1),
            heartbeat: Duration::from_secs(5),
            peer_bytes_max: PEER_BYTES_MAX,
        };
        Ok(Spot { settings, plan })
    }

    fn plan(&self) -> Result<Plan> {
        let endpoint = Endpoint::parse(&self.endpoint)?;
        let mut plan = Plan::default();
        match self.side {
            Side::Bind => plan.bind.push(endpoint),
            Side::Connect => plan.connect.push(endpoint.dialled()?),
        }
        Ok(plan)
    }
}

/// A place that is set up.
pub(super) struct Spot {
    pub(super) settings: Settings,
    pub(super) plan: Plan,
}

impl From<&str> for Place {
    fn from(endpoint: &str) -> Self {
        Self::bind(endpoint)
    }
}

impl From<String> for Place {
    fn from(endpoint: String) -> Self {
        Self::bind(endpoint)
    }
}
