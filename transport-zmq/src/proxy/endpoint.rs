//! The endpoints of a proxy.

use std::time::Duration;

use bytes::Bytes;
use polywire_core::{Limits, Result};

use crate::config::{Batching, Engine, PEER_BYTES_MAX, Settings};
use crate::endpoint::{Endpoint, EndpointSet, Side};
#[cfg(feature = "curve")]
use crate::security::curve;
use crate::security::{Admission, Security, plain};

/// An endpoint of a proxy, with its security settings. A text converts into an endpoint to bind.
///
/// An endpoint is `tcp://host:port` or `ipc://path`, and is checked when the proxy starts. By
/// default there is no security, and the bounds are those of [`Admission`].
///
/// Of several calls that set the security, the last one counts.
#[derive(Clone, Debug)]
pub struct ProxyEndpoint {
    side: Side,
    endpoint: String,
    security: Security,
    admission: Admission,
}

impl ProxyEndpoint {
    /// Makes an endpoint that the proxy binds, such as `tcp://127.0.0.1:*`.
    ///
    /// `tcp://0.0.0.0:5555` binds every interface. The real port of `*` is in
    /// [`Proxy::frontend`](super::Proxy::frontend) and [`Proxy::backend`](super::Proxy::backend).
    #[must_use]
    pub fn bind(endpoint: impl Into<String>) -> Self {
        Self::new(Side::Bind, endpoint.into())
    }

    /// Makes an endpoint that the proxy connects to.
    ///
    /// The proxy connects anew after each loss. The peer need not listen when the proxy starts.
    #[must_use]
    pub fn connect(endpoint: impl Into<String>) -> Self {
        Self::new(Side::Connect, endpoint.into())
    }

    fn new(side: Side, endpoint: String) -> Self {
        Self { side, endpoint, security: Security::None, admission: Admission::default() }
    }

    /// Sets the bounds on peers, see [`ZmqBuilder::admission`](crate::ZmqBuilder::admission).
    #[must_use]
    pub fn admission(self, admission: Admission) -> Self {
        Self { admission, ..self }
    }

    /// Makes the proxy a CURVE server at this endpoint, see
    /// [`ZmqBuilder::curve_server`](crate::ZmqBuilder::curve_server). Peers at the other endpoint
    /// see the keys of the proxy, not those of the client.
    #[cfg(feature = "curve")]
    #[must_use]
    pub fn curve_server(self, server: curve::CurveServer) -> Self {
        Self { security: Security::CurveServer(server), ..self }
    }

    /// Makes the proxy a CURVE client at this endpoint, see
    /// [`ZmqBuilder::curve_client`](crate::ZmqBuilder::curve_client).
    #[cfg(feature = "curve")]
    #[must_use]
    pub fn curve_client(self, client: curve::CurveClient) -> Self {
        Self { security: Security::CurveClient(client), ..self }
    }

    /// Makes the proxy a PLAIN server at this endpoint, see
    /// [`ZmqBuilder::plain_server`](crate::ZmqBuilder::plain_server).
    #[must_use]
    pub fn plain_server(self, server: plain::PlainServer) -> Self {
        Self { security: Security::PlainServer(server), ..self }
    }

    /// Makes the proxy a PLAIN client at this endpoint, see
    /// [`ZmqBuilder::plain_client`](crate::ZmqBuilder::plain_client).
    #[must_use]
    pub fn plain_client(self, client: plain::PlainClient) -> Self {
        Self { security: Security::PlainClient(client), ..self }
    }

    /// Validates the endpoint. The settings are the defaults of a transport, except that a message
    /// waits for a peer for 1 second only.
    pub(super) fn resolve(self) -> Result<ResolvedEndpoint> {
        self.admission.check()?;
        let endpoints = self.endpoints()?;
        let settings = Settings {
            engine: Engine::Omq,
            limits: Limits::default(),
            admission: self.admission,
            security: self.security,
            identity: Bytes::new(),
            connect_timeout: Duration::from_secs(1),
            linger: Duration::from_secs(1),
            heartbeat: Duration::from_secs(5),
            peer_bytes_max: PEER_BYTES_MAX,
            batching: Batching::Off,
        };
        Ok(ResolvedEndpoint { settings, endpoints })
    }

    /// Returns the set that consists of this endpoint. Fails for an endpoint that is malformed, or
    /// cannot be connected to.
    fn endpoints(&self) -> Result<EndpointSet> {
        let endpoint = Endpoint::parse(&self.endpoint)?;
        let mut endpoints = EndpointSet::default();
        match self.side {
            Side::Bind => endpoints.bind.push(endpoint),
            Side::Connect => endpoints.connect.push(endpoint.dialed()?),
        }
        Ok(endpoints)
    }
}

/// A validated endpoint of a proxy, with the settings of its sockets.
#[derive(Debug)]
pub(super) struct ResolvedEndpoint {
    /// The defaults of a transport, with the security and admission of the endpoint.
    pub(super) settings: Settings,
    /// The set that consists of the one endpoint.
    pub(super) endpoints: EndpointSet,
}

impl From<&str> for ProxyEndpoint {
    fn from(endpoint: &str) -> Self {
        Self::bind(endpoint)
    }
}

impl From<String> for ProxyEndpoint {
    fn from(endpoint: String) -> Self {
        Self::bind(endpoint)
    }
}
