//! A private network of namespaces, between which packets can be dropped in each direction.
//!
//! The network needs Linux, the program `ip`, and the right to administer networks.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::ports::claim_name;

/// A bridge, and a network namespace for each node.
///
/// The programs of this machine reach the nodes over the bridge. Each host has a fixed hardware
/// address, and each pair of hosts fixed entries for one another. A direction is cut by an entry
/// with an address that no host has: packets vanish without an error, as in a broken network.
///
/// Dropping the network ends the processes in it, and removes it. A network whose process was
/// killed is removed when the next one is created.
#[derive(Debug)]
pub struct Network {
    names: Names,
    nodes: u8,
    /// Proof that the network is in use, which the kernel frees at the end of the process.
    _claim: UnixDatagram,
}

/// A host of a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a network has no other hosts")]
pub enum Host {
    /// A node, counted from 0.
    Node(usize),
    /// The programs of this machine.
    Outside,
}

/// The largest number of nodes.
const NODES_MAX: usize = 9;

impl Network {
    /// Creates a network with at least one node.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Unsupported`] if this machine or this user cannot make network namespaces,
    /// with the command that failed; [`io::ErrorKind::InvalidInput`] for more than nine nodes.
    pub fn create(nodes: usize) -> io::Result<Self> {
        let nodes = match u8::try_from(nodes.max(1)) {
            Ok(count) if nodes <= NODES_MAX => count,
            _ => {
                let wrong =
                    format!("cannot create a network of {nodes} nodes: at most {NODES_MAX}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, wrong));
            }
        };
        let (subnet, claim) = claim_subnet()?;
        remove_leftovers(subnet);
        let names = Names { process: std::process::id(), subnet };
        // From here on, dropping the network removes the parts that exist.
        let network = Self { names, nodes, _claim: claim };
        network.set_up().map_err(|error| io::Error::new(io::ErrorKind::Unsupported, error))?;
        Ok(network)
    }

    fn set_up(&self) -> io::Result<()> {
        let Self { names, .. } = self;
        // The namespaces come first, since leftovers are found by them.
        for node in 1..=self.nodes {
            ip(&["netns", "add", &names.namespace(node)])?;
        }
        let bridge = names.bridge();
        ip(&["link", "add", &bridge, "address", &names.hardware(OUTSIDE), "type", "bridge"])?;
        ip(&["address", "add", &format!("{}/24", names.address(OUTSIDE)), "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for node in 1..=self.nodes {
            let (link, space) = (names.link(node), names.namespace(node));
            let hardware = names.hardware(node);
            let inner = ["peer", "name", DEVICE, "address", &hardware, "netns", &space];
            ip(&[&["link", "add", &link, "type", "veth"][..], &inner].concat())?;
            ip(&["link", "set", &link, "master", &bridge, "up"])?;
            let address = format!("{}/24", names.address(node));
            ip(&["-n", &space, "address", "add", &address, "dev", DEVICE])?;
            ip(&["-n", &space, "link", "set", DEVICE, "up"])?;
            ip(&["-n", &space, "link", "set", "lo", "up"])?;
        }
        self.heal()
    }

    /// Drops all packets of one host to another from now on. Those of the other direction arrive.
    ///
    /// # Errors
    ///
    /// If the kernel refuses the change.
    pub fn cut(&self, from: Host, to: Host) -> io::Result<()> {
        self.set_route(self.number(from)?, self.number(to)?, NO_HARDWARE)
    }

    /// Lets all packets arrive again.
    ///
    /// # Errors
    ///
    /// If the kernel refuses a change.
    pub fn heal(&self) -> io::Result<()> {
        let hosts = || (1..=self.nodes).chain([OUTSIDE]);
        for (from, to) in hosts().flat_map(|from| hosts().map(move |to| (from, to))) {
            if from != to {
                self.set_route(from, to, &self.names.hardware(to))?;
            }
        }
        Ok(())
    }

    /// Sets the hardware address at which one host believes another one to be.
    fn set_route(&self, from: u8, to: u8, hardware: &str) -> io::Result<()> {
        let (space, bridge) = (self.names.namespace(from), self.names.bridge());
        let inside = ["-n", &space];
        let (inside, device) =
            if from == OUTSIDE { (&[][..], bridge.as_str()) } else { (&inside[..], DEVICE) };
        let address = self.names.address(to).to_string();
        let entry = ["neigh", "replace", &address, "lladdr", hardware, "nud", "permanent"];
        ip(&[inside, &entry, &["dev", device]].concat())
    }

    /// Returns the number of a host, which is the last part of its address.
    ///
    /// # Errors
    ///
    /// If the network has fewer nodes.
    pub(crate) fn number(&self, host: Host) -> io::Result<u8> {
        match host {
            Host::Outside => Ok(OUTSIDE),
            Host::Node(node) => {
                let number = u8::try_from(node).ok().and_then(|node| node.checked_add(1));
                number.filter(|number| *number <= self.nodes).ok_or_else(|| {
                    let wrong = format!("the network has no node {node}");
                    io::Error::new(io::ErrorKind::InvalidInput, wrong)
                })
            }
        }
    }

    /// Returns the address of the host with this number.
    pub(crate) fn address(&self, number: u8) -> Ipv4Addr {
        self.names.address(number)
    }

    /// Returns the names and addresses of all nodes, as Erlang's own file of hosts.
    pub(crate) fn hosts(&self) -> String {
        let host = |address: Ipv4Addr, name: &str| {
            let [a, b, c, d] = address.octets();
            format!("{{host, {{{a},{b},{c},{d}}}, [{name:?}]}}.\n")
        };
        let nodes = (1..=self.nodes).map(|node| host(self.address(node), &host_name(node)));
        let itself = host(Ipv4Addr::LOCALHOST, "localhost");
        nodes.chain([itself, "{lookup, [file, native]}.\n".to_owned()]).collect()
    }

    /// Returns the command that runs `command` in the namespace of the node with this number, with
    /// another environment. The process keeps its id.
    pub(crate) fn enter(&self, number: u8, command: &Command) -> Command {
        let mut entering = Command::new("nsenter");
        entering.arg(format!("--net={NAMESPACES}/{}", self.names.namespace(number))).arg("--");
        entering.arg(command.get_program()).args(command.get_args());
        entering
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.names.remove(1..=self.nodes);
    }
}

/// Returns the name by which the nodes of a network know the one with this number.
pub(crate) fn host_name(number: u8) -> String {
    format!("n{number}")
}

/// Removes the networks of processes that were killed: those without a claim, and those on the
/// subnet that this process has just claimed.
fn remove_leftovers(claimed: u8) {
    let Ok(files) = Path::new(NAMESPACES).read_dir() else { return };
    let names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    for (names, node) in names.filter_map(|name| Names::parse(&name)) {
        // Held until the parts are removed, so that no process uses the subnet meanwhile.
        let claim = claim_name(&names.claim());
        if claim.is_ok() || names.subnet == claimed {
            names.remove([node]);
        }
    }
}

/// Claims a network of addresses that no other process uses.
fn claim_subnet() -> io::Result<(u8, UnixDatagram)> {
    let first = u8::try_from(std::process::id() % 256).unwrap_or_default();
    let all = (0..=u8::MAX).map(|offset| first.wrapping_add(offset));
    all.map(|subnet| (subnet, Names { process: 0, subnet }.claim()))
        .find_map(|(subnet, claim)| Some((subnet, claim_name(&claim).ok()?)))
        .ok_or_else(|| io::Error::new(io::ErrorKind::AddrInUse, "all networks are in use"))
}

/// Names and addresses of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Names {
    process: u32,
    subnet: u8,
}

impl Names {
    fn namespace(self, node: u8) -> String {
        format!("{PREFIX}{}-{}-{node}", self.process, self.subnet)
    }

    /// Parses the name of a namespace. Returns the number of the node as well.
    fn parse(namespace: &str) -> Option<(Self, u8)> {
        let mut numbers = namespace.strip_prefix(PREFIX)?.split('-');
        let (process, subnet, node) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let names = Self { process: process.parse().ok()?, subnet: subnet.parse().ok()? };
        Some((names, node.parse().ok()?))
    }

    fn claim(self) -> String {
        format!("polywire-network-{}", self.subnet)
    }

    /// The kernel allows 15 bytes for the name of a device.
    fn bridge(self) -> String {
        format!("pw{}-{}b", self.subnet, self.process)
    }

    fn link(self, node: u8) -> String {
        format!("pw{}-{}.{node}", self.subnet, self.process)
    }

    fn address(self, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.subnet, host)
    }

    /// Returns the hardware address of a host, which is of the range for private use.
    fn hardware(self, host: u8) -> String {
        format!("02:00:0a:4d:{:02x}:{host:02x}", self.subnet)
    }

    /// Ends the processes in some namespaces, and removes these and the bridge.
    fn remove(self, nodes: impl IntoIterator<Item = u8>) {
        // What is missing was not made yet, or was removed before.
        let _ = ip(&["link", "delete", &self.bridge()]);
        for node in nodes {
            let space = self.namespace(node);
            for process in processes_in(&space) {
                let _ =
                    Command::new("kill").args(["-KILL", &process]).stderr(Stdio::null()).status();
            }
            let _ = ip(&["link", "delete", &self.link(node)]);
            let _ = ip(&["netns", "delete", &space]);
        }
    }
}

/// Returns the ids of the processes in a namespace.
fn processes_in(namespace: &str) -> Vec<String> {
    let Ok(output) = Command::new("ip").args(["netns", "pids", namespace]).output() else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

/// Runs `ip`.
///
/// # Errors
///
/// The command, and its output.
fn ip(arguments: &[&str]) -> io::Result<()> {
    let failed = |why: &str| {
        io::Error::other(format!("`ip {}` failed: {}", arguments.join(" "), why.trim()))
    };
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(&error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(&String::from_utf8_lossy(&output.stderr)))
}

/// First part of the names of all namespaces.
const PREFIX: &str = "polywire-";
/// Folder in which `ip` keeps the namespaces.
const NAMESPACES: &str = "/run/netns";
/// Name of the device in each namespace.
const DEVICE: &str = "eth0";
/// Number of the programs of this machine among the hosts.
const OUTSIDE: u8 = 254;
/// A hardware address that no host has.
const NO_HARDWARE: &str = "02:00:00:00:00:00";

#[cfg(test)]
mod tests;
