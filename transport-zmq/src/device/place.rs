//! Where a forwarder listens, or whom it dials.

use polywire_core::Result;

use crate::config::Side;
use crate::endpoint::Endpoint;
use crate::plan::Plan;

/// An endpoint of a forwarder. A text is one that it binds.
#[derive(Clone, Debug)]
pub struct Place {
    side: Side,
    endpoint: String,
}

impl Place {
    /// An endpoint that the forwarder binds, such as `tcp://127.0.0.1:*`.
    #[must_use]
    pub fn bind(endpoint: impl Into<String>) -> Self {
        Self { side: Side::Bind, endpoint: endpoint.into() }
    }

    /// An endpoint that the forwarder connects to.
    #[must_use]
    pub fn connect(endpoint: impl Into<String>) -> Self {
        Self { side: Side::Connect, endpoint: endpoint.into() }
    }

    pub(super) fn plan(&self) -> Result<Plan> {
        let endpoint = Endpoint::parse(&self.endpoint)?;
        let mut plan = Plan::default();
        match self.side {
            Side::Bind => plan.bind.push(endpoint),
            Side::Connect => plan.connect.push(endpoint.dialled()?),
        }
        Ok(plan)
    }
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
