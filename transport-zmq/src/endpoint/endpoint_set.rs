//! The endpoints that endpoint handles are opened with, and changes to them.

use super::endpoint::Endpoint;
use super::side::Side;

/// The endpoints of all handles of a transport: one set for those that serve, one for those that
/// call.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndpointSets {
    /// Endpoints of responders, pullers and publishers.
    pub(crate) serving: EndpointSet,
    /// Endpoints of requesters, pushers and subscribers.
    pub(crate) calling: EndpointSet,
}

impl EndpointSets {
    /// Applies a change for handles that are opened later. Returns `false` if nothing changed.
    pub(crate) fn apply(&mut self, change: &EndpointChange) -> bool {
        let serving = self.serving.apply(change);
        self.calling.apply(change) || serving
    }
}

/// The endpoints of one handle.
///
/// The order is that of the additions. A change does not add an endpoint twice, unless its port is
/// any free one.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndpointSet {
    /// Endpoints to bind.
    pub(crate) bind: Vec<Endpoint>,
    /// Endpoints to connect to.
    pub(crate) connect: Vec<Endpoint>,
}

impl EndpointSet {
    /// Returns whether the set has no endpoint.
    pub(crate) fn is_empty(&self) -> bool {
        self.bind.is_empty() && self.connect.is_empty()
    }

    /// Returns all endpoints as one text, for an error.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> =
            self.bind.iter().chain(&self.connect).map(Endpoint::to_string).collect();
        names.join(", ")
    }

    /// Returns the changes that add all endpoints of this set to a new socket.
    ///
    /// Binds come before connects.
    pub(crate) fn changes(&self) -> impl Iterator<Item = EndpointChange> + '_ {
        let change = |side| {
            move |endpoint: &Endpoint| EndpointChange {
                side,
                adds: true,
                endpoint: endpoint.clone(),
            }
        };
        self.bind
            .iter()
            .map(change(Side::Bind))
            .chain(self.connect.iter().map(change(Side::Connect)))
    }

    /// Applies a change. Returns `false` if nothing changed. An endpoint with any free port is
    /// added each time, since each bind gets another port.
    fn apply(&mut self, EndpointChange { side, adds, endpoint }: &EndpointChange) -> bool {
        let endpoints = match side {
            Side::Bind => &mut self.bind,
            Side::Connect => &mut self.connect,
        };
        let before = endpoints.len();
        if !*adds {
            endpoints.retain(|other| other != endpoint);
        } else if !endpoints.contains(endpoint) || endpoint.is_any_port() {
            endpoints.push(endpoint.clone());
        }
        endpoints.len() != before
    }
}

/// An endpoint to add or to remove.
#[derive(Clone, Debug)]
pub(crate) struct EndpointChange {
    /// The side that the socket takes: bind or connect.
    pub(crate) side: Side,
    /// `true` to add the endpoint, `false` to remove it.
    pub(crate) adds: bool,
    /// The endpoint. A removed one may be given with its real port or as it was added.
    pub(crate) endpoint: Endpoint,
}
