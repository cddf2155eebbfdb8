//! Transports with one connection.

use libtest_mimic::Trial;
use polywire_amqp::{ConnectionChange, ConnectionRole};
use polywire_codec::MessagePack;
use polywire_core::health::ConnectionState;
use polywire_core::{Pusher, Transport};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::{PATIENCE, clear_alarm, killed_and_restarted, set_alarm, until};
use crate::endpoints::{
    acked_job, builder, client, eventually_answered, next_event, next_job, publisher, puller, push,
    serve, subscriber,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        node one_connection_publishes_and_consumes,
        node one_connection_waits_for_the_end_of_an_alarm,
    ]
}

fn connections(node: &Node) -> Vec<String> {
    let names = node.ctl(&["list_connections", "client_properties"]).unwrap();
    names.lines().filter(|line| line.contains(" both")).map(str::to_owned).collect()
}

async fn one_connection_publishes_and_consumes() {
    let node = Node::start().unwrap();
    let url = format!("{}?connections=1&connection_name=billing%20eu", node.url());
    let amqp = builder(&url).build().await.unwrap();
    let mut events = amqp.events();
    let _server = serve(&amqp, "single").await;
    let client = client(&amqp, "single").await;
    assert_eq!(client.call::<u32>("double", &2).await.unwrap(), 4);
    push(&amqp, "single", [1]).await;
    let mut jobs = puller(&amqp, "single", 1).await;
    next_job(&mut jobs).await.retry_after(std::time::Duration::from_millis(64), "once").unwrap();
    assert_eq!(acked_job(&mut jobs).await, 1);
    let mut subscriber = subscriber(&amqp, "single", &["#"]).await;
    publisher(&amqp, "single").await.publish("topic", &3).await.unwrap();
    assert_eq!(*next_event(&mut subscriber).await, 3);
    let names = connections(&node);
    assert!(names.len() == 1 && names[0].contains("billing eu both"), "{names:?}");
    let node = killed_and_restarted(node).await;
    let restored = async {
        while let Some(event) = events.next().await {
            assert_eq!(event.role, ConnectionRole::Both);
            if matches!(event.change, ConnectionChange::Restored { .. }) {
                break;
            }
        }
    };
    timeout(PATIENCE, restored).await.expect("the connection is restored");
    let connection = amqp.health().current().connection;
    assert!(matches!(connection, ConnectionState::Connected), "{connection}");
    eventually_answered(&client).await;
    push(&amqp, "single", [2]).await;
    assert_eq!(acked_job(&mut jobs).await, 2);
    amqp.close().await.unwrap();
    until(|| connections(&node).is_empty()).await;
}

/// Acknowledgements wait, too, and no job is lost or done twice.
async fn one_connection_waits_for_the_end_of_an_alarm() {
    let node = Node::start().unwrap();
    // The commands of the alarm may take long on a busy machine.
    let patient = builder(&node.url()).heartbeat(PATIENCE).confirm_timeout(10 * PATIENCE);
    let amqp = patient.one_connection(true).build().await.unwrap();
    let other = builder(&node.url()).build().await.unwrap();
    let pusher = Pusher::connect(&amqp, "alarmed", MessagePack).timeout(10 * PATIENCE);
    let pusher = pusher.await.unwrap();
    let mut jobs = puller(&amqp, "alarmed", 1).await;
    push(&other, "alarmed", [1, 2]).await;
    let first = next_job(&mut jobs).await;
    let reader = amqp.health();
    set_alarm(&node);
    let third = tokio::spawn(async move { pusher.push(&3).await });
    until(|| matches!(reader.current().connection, ConnectionState::Blocked { .. })).await;
    first.ack();
    clear_alarm(&node);
    timeout(PATIENCE, third).await.expect("the job is pushed").unwrap().unwrap();
    for job in [2, 3] {
        let next = next_job(&mut jobs).await;
        assert_eq!((*next, next.context().attempt), (job, 1));
        next.ack();
    }
}
