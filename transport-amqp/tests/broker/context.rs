//! The surroundings of a test: waits, nodes and their alarms, proxies, and connection events.

use std::time::Duration;

use polywire_amqp::{Amqp, AmqpBuilder, ConnectionChange, ConnectionEvents, ConnectionRole};
use polywire_conformance::FaultProxy;
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

/// Time limit of a wait, which only a hanging test exceeds.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until a condition holds.
pub(crate) async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("the condition holds in the end");
}

/// Kills a node and starts it again with its data, including the queues that it declared last.
pub(crate) async fn killed_and_restarted(mut node: Node) -> Node {
    let restarting = tokio::task::spawn_blocking(move || {
        node.remember_queues().unwrap();
        node.kill().unwrap();
        node.restart().unwrap();
        node
    });
    restarting.await.unwrap()
}

/// Returns the version of a node, without its third number.
pub(crate) fn version(node: &Node) -> (u32, u32) {
    let version = node.ctl(&["version"]).unwrap();
    let mut numbers = version.trim().split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Sets off the memory alarm of a node, which then blocks publishers.
pub(crate) fn set_alarm(node: &Node) {
    node.ctl(&["set_vm_memory_high_watermark", "absolute", "1"]).unwrap();
}

/// Ends the memory alarm of a node.
pub(crate) fn clear_alarm(node: &Node) {
    node.ctl(&["set_vm_memory_high_watermark", "0.4"]).unwrap();
}

/// Returns a proxy before the broker, and a builder that connects through it.
pub(crate) async fn through_proxy(url: &str) -> (FaultProxy, AmqpBuilder) {
    let (before, port) = url.trim_end_matches("/%2f").rsplit_once(':').unwrap();
    let proxy = FaultProxy::start(format!("127.0.0.1:{port}")).await.unwrap();
    let url = format!("{}@{}", before.rsplit_once('@').unwrap().0, proxy.address());
    (proxy, Amqp::builder(&url).unwrap())
}

/// Waits until the publishing connection is restored.
pub(crate) async fn restored(events: &mut ConnectionEvents) {
    loop {
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap();
        if event.role == ConnectionRole::Publishing
            && matches!(event.change, ConnectionChange::Restored { .. })
        {
            return;
        }
    }
}

/// Waits until both connections are restored.
pub(crate) async fn both_restored(events: &mut ConnectionEvents) {
    let mut restored = 0;
    while restored < 2 {
        let change = timeout(PATIENCE, events.next()).await.unwrap().unwrap().change;
        restored += u32::from(matches!(change, ConnectionChange::Restored { .. }));
    }
}

/// Waits until the broker blocks the publishing connection because of its memory alarm.
pub(crate) async fn blocked(events: &mut ConnectionEvents) {
    let mut event = timeout(PATIENCE, events.next()).await.unwrap().unwrap();
    while matches!(event.change, ConnectionChange::Connected { .. }) {
        event = timeout(PATIENCE, events.next()).await.unwrap().unwrap();
    }
    assert_eq!(event.role, ConnectionRole::Publishing);
    assert!(
        matches!(&event.change, ConnectionChange::Blocked(why) if why.contains("memory")),
        "{event:?}"
    );
}

/// Waits until the broker unblocks the publishing connection.
pub(crate) async fn unblocked(events: &mut ConnectionEvents) {
    while !matches!(
        timeout(PATIENCE, events.next()).await.unwrap().unwrap().change,
        ConnectionChange::Unblocked
    ) {}
}

/// Returns the queues of subscribers without a group.
pub(crate) fn own_queues(node: &Node) -> Vec<String> {
    let all = node.ctl(&["list_queues", "name"]).unwrap();
    all.lines().filter(|name| name.contains("..own.")).map(str::to_owned).collect()
}
