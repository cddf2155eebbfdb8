//! The part of the network in which a node runs.

use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;

use crate::network::{Host, Network, host_name};

/// The part of the network in which a node runs.
#[derive(Clone)]
pub(crate) enum Place {
    /// The loopback interface of this machine, which all nodes share.
    Loopback,
    /// A namespace of a private network, with the number of the node.
    Namespace(Arc<Network>, u8),
}

impl Place {
    /// Returns the place of a node, counted from 0: in the network if there is one.
    ///
    /// # Errors
    ///
    /// If the network has fewer nodes.
    pub(crate) fn of(node: usize, network: Option<&Arc<Network>>) -> io::Result<Self> {
        let Some(network) = network else { return Ok(Self::Loopback) };
        Ok(Self::Namespace(network.clone(), network.number(Host::Node(node))?))
    }

    /// Returns the address at which the node listens.
    pub(crate) fn address(&self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Namespace(network, number) => network.address(*number),
        }
    }

    /// Returns the name of the host, as the node's own name has it.
    pub(crate) fn host_name(&self) -> String {
        match self {
            Self::Loopback => "localhost".to_owned(),
            Self::Namespace(_, number) => host_name(*number),
        }
    }

    /// Returns Erlang's file of hosts, if this machine does not know the names of the nodes.
    pub(crate) fn hosts(&self) -> Option<String> {
        match self {
            Self::Loopback => None,
            Self::Namespace(network, _) => Some(network.hosts()),
        }
    }

    /// Returns the command that runs `command` there, with another environment.
    pub(crate) fn enter(&self, command: Command) -> Command {
        match self {
            Self::Loopback => command,
            Self::Namespace(network, number) => network.enter(*number, &command),
        }
    }
}
