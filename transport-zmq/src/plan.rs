//! Which endpoints the ends of a transport have, and how that changes while it is open.

use crate::config::Side;
use crate::endpoint::Endpoint;

/// The endpoints of the ends of a transport: of those that serve, and of those that call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plans {
    /// Of responders, pullers and publishers.
    pub(crate) serving: Plan,
    /// Of requesters, pushers and subscribers.
    pub(crate) calling: Plan,
}

impl Plans {
    /// Takes note of a change, for ends that are opened later. `false` if it changes nothing.
    pub(crate) fn apply(&mut self, change: &Change) -> bool {
        let serving = self.serving.apply(change);
        self.calling.apply(change) || serving
    }
}

/// The endpoints of an end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) bind: Vec<Endpoint>,
    pub(crate) connect: Vec<Endpoint>,
}

impl Plan {
    pub(crate) fn is_empty(&self) -> bool {
        self.bind.is_empty() && self.connect.is_empty()
    }

    /// All of them, for an error.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> =
            self.bind.iter().chain(&self.connect).map(Endpoint::to_string).collect();
        names.join(", ")
    }

    /// The changes that make it out of nothing.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change> + '_ {
        let change = |side| {
            move |endpoint: &Endpoint| Change { side, adds: true, endpoint: endpoint.clone() }
        };
        self.bind
            .iter()
            .map(change(Side::Bind))
            .chain(self.connect.iter().map(change(Side::Connect)))
    }

    fn apply(&mut self, Change { side, adds, endpoint }: &Change) -> bool {
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

/// An endpoint that comes or goes.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) side: Side,
    pub(crate) adds: bool,
    pub(crate) endpoint: Endpoint,
}
