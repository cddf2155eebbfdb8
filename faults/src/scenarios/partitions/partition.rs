//! Kinds of partitions.

use std::fmt;

use polywire_rabbitmq_node::Host;

/// Nodes of the cluster.
pub(super) const NODES: usize = 3;

/// A kind of partition of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Partition {
    /// One node is cut off from the others. Clients reach all nodes.
    Minority,
    /// All nodes are cut off from one another. Clients reach all nodes.
    Apart,
    /// One node is cut off from the others together with all clients.
    AloneWithClients,
    /// The packets of one node to another vanish. Those of the other direction arrive.
    OneWay,
    /// One node is cut off and connected again, every few seconds.
    Flapping,
}

impl Partition {
    /// All kinds.
    pub(super) const ALL: [Self; 5] =
        [Self::Minority, Self::Apart, Self::AloneWithClients, Self::OneWay, Self::Flapping];

    /// Returns the name in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Minority => "a minority",
            Self::Apart => "all apart",
            Self::AloneWithClients => "one node alone with the clients",
            Self::OneWay => "one way",
            Self::Flapping => "flapping",
        }
    }

    /// Returns true if the clients reach no majority of nodes that see one another.
    pub(super) fn takes_the_majority(self) -> bool {
        matches!(self, Self::Apart | Self::AloneWithClients)
    }

    /// Returns the directions in which packets vanish. Each round concerns other nodes.
    ///
    /// A pair stands for one direction. Three rounds cover all nodes, and six rounds cover all
    /// single directions.
    pub(super) fn cuts(self, round: usize) -> Vec<(Host, Host)> {
        let node = round % NODES;
        let others = (0..NODES).filter(|other| *other != node);
        match self {
            Self::Minority | Self::Flapping => {
                others.flat_map(|other| both_ways(Host::Node(node), Host::Node(other))).collect()
            }
            Self::Apart => (0..NODES)
                .flat_map(|from| (0..NODES).map(move |to| (from, to)))
                .filter(|(from, to)| from != to)
                .map(|(from, to)| (Host::Node(from), Host::Node(to)))
                .collect(),
            Self::AloneWithClients => others
                .map(Host::Node)
                .flat_map(|other| {
                    let node = both_ways(Host::Node(node), other);
                    node.into_iter().chain(both_ways(Host::Outside, other))
                })
                .collect(),
            Self::OneWay => {
                // All pairs in turn.
                let other = (node + 1 + round / NODES % (NODES - 1)) % NODES;
                vec![(Host::Node(node), Host::Node(other))]
            }
        }
    }
}

/// Returns both directions between two hosts.
fn both_ways(a: Host, b: Host) -> [(Host, Host); 2] {
    [(a, b), (b, a)]
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: usize) -> Host {
        Host::Node(number)
    }

    #[test]
    fn each_round_cuts_other_links() {
        let minority = Partition::Minority.cuts(1);
        let (to_0, to_2) = (both_ways(node(1), node(0)), both_ways(node(1), node(2)));
        assert_eq!(minority, [to_0, to_2].concat());
        assert_eq!(Partition::Apart.cuts(0).len(), 6);
        let alone = Partition::AloneWithClients.cuts(2);
        assert_eq!(alone.len(), 8);
        assert!(alone.contains(&(Host::Outside, node(0))) && alone.contains(&(node(1), node(2))));
        assert!(!alone.contains(&(Host::Outside, node(2))) && !alone.contains(&(node(0), node(1))));
    }

    #[test]
    fn one_way_takes_each_pair_in_turn() {
        let pairs: Vec<_> = (0..6).flat_map(|round| Partition::OneWay.cuts(round)).collect();
        let expected = [(0, 1), (1, 2), (2, 0), (0, 2), (1, 0), (2, 1)];
        assert_eq!(pairs, expected.map(|(from, to)| (node(from), node(to))));
    }
}
