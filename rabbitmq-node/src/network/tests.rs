use std::mem::ManuallyDrop;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;

/// Keeps the tests apart: each network that is created removes leftovers.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Creates a network, or reports the test as not run.
fn network(test: &str, nodes: usize) -> Option<Network> {
    match Network::create(nodes) {
        Ok(network) => Some(network),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            println!("not run: {test}: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Runs a script in the namespace of a node, and returns its output.
fn run(network: &Network, node: u8, script: &str) -> String {
    let mut shell = Command::new("bash");
    shell.args(["-c", script]);
    let output = network.enter(node, &shell).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the number of datagrams for closed ports that have reached a node.
fn received(network: &Network, node: u8) -> u64 {
    let counters = run(network, node, "grep ^Udp: /proc/net/snmp");
    let mut lines = counters.lines().map(|line| line.split_whitespace());
    let (mut names, mut values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.position(|name| name == "NoPorts").unwrap();
    values.nth(at).unwrap().parse().unwrap()
}

/// Sends a datagram from one node to another. Returns whether it has arrived.
fn arrives(network: &Network, from: u8, to: u8) -> bool {
    let before = received(network, to);
    let target = network.address(to);
    run(network, from, &format!("echo > /dev/udp/{target}/9"));
    // The packet has passed both devices when the sender returns.
    received(network, to) > before
}

fn exists(names: Names, node: u8) -> bool {
    Path::new(NAMESPACES).join(names.namespace(node)).exists()
}

#[test]
fn cut_drops_the_packets_of_one_direction_until_it_heals() {
    let _alone = alone();
    let Some(network) = network("cut_drops_the_packets_of_one_direction", 3) else { return };
    let directions = [(1, 2), (2, 1), (1, 3), (3, 2)];
    let arriving = || directions.map(|(from, to)| arrives(&network, from, to));
    assert_eq!(arriving(), [true; 4]);
    network.cut(Host::Node(0), Host::Node(1)).unwrap();
    assert_eq!(arriving(), [false, true, true, true]);
    network.heal().unwrap();
    assert_eq!(arriving(), [true; 4]);
    let error = network.cut(Host::Node(3), Host::Outside).unwrap_err();
    assert_eq!(error.to_string(), "the network has no node 3");
}

#[test]
fn dropped_network_leaves_nothing_behind() {
    let _alone = alone();
    let Some(network) = network("dropped_network_leaves_nothing_behind", 2) else { return };
    let names = network.names;
    let mut sleeper = Command::new("sleep");
    sleeper.arg("600");
    let mut sleeper = network.enter(2, &sleeper).spawn().unwrap();
    assert!(exists(names, 1) && exists(names, 2));
    // The process may not have entered the namespace yet.
    while processes_in(&names.namespace(2)).is_empty() {
        std::thread::yield_now();
    }
    drop(network);
    assert!(!exists(names, 1) && !exists(names, 2));
    assert!(!Path::new("/sys/class/net").join(names.bridge()).exists());
    assert!(!sleeper.wait().unwrap().success(), "the process in the network was not ended");
}

#[test]
fn network_of_a_killed_process_is_removed_and_one_in_use_stays() {
    let _alone = alone();
    let Some(killed) = network("network_of_a_killed_process_is_removed", 2) else { return };
    let names = killed.names;
    let used = Network::create(1).unwrap();
    assert!(exists(names, 1), "a network in use was removed");
    // The kernel frees the claim of a killed process, and nothing else.
    let mut killed = ManuallyDrop::new(killed);
    killed._claim = UnixDatagram::unbound().unwrap();
    // The next network may get the same subnet, and so the name of the first node.
    let next = Network::create(1).unwrap();
    assert!(!exists(names, 2), "the leftover is still there");
    assert!(exists(used.names, 1) && exists(next.names, 1));
}

#[test]
fn numbers_of_nodes_are_bounded_and_names_fit() {
    let error = Network::create(10).unwrap_err();
    assert_eq!(error.to_string(), "cannot create a network of 10 nodes: at most 9");
    let names = Names { process: 4_194_304, subnet: 255 };
    assert_eq!(Names::parse(&names.namespace(3)), Some((names, 3)));
    assert_eq!(Names::parse("polywire-1-2"), None);
    assert!(names.bridge().len() <= 15 && names.link(9).len() <= 15);
}
