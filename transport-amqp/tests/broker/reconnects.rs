//! Events after a reconnect: queues, bindings and exchanges are declared again.

use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::{ErrorKind, Group, Subscriber, Transport};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::{PATIENCE, both_restored, killed_and_restarted, own_queues};
use crate::endpoints::{next_event, publisher, subscriber};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        node filter_that_a_group_removed_stays_removed,
        node deleted_own_queue_is_an_error_and_declared_again,
        node subscribers_survive_a_killed_broker,
        node exchanges_and_queues_are_declared_again_at_a_reset_broker,
    ]
}

async fn filter_that_a_group_removed_stays_removed() {
    let node = Node::start().unwrap();
    let (one, other) =
        (Amqp::connect(&node.url()).await.unwrap(), Amqp::connect(&node.url()).await.unwrap());
    let join = async |amqp: &Amqp| {
        let group = Group::new("shared").unwrap().durable();
        let member = Subscriber::<u32>::bind(amqp, "filters", MessagePack).filter("x").filter("y");
        member.group(group).await.unwrap()
    };
    let (mut first, second) = (join(&one).await, join(&other).await);
    second.filters().remove("y").await.unwrap();
    drop(second);
    other.close().await.unwrap();
    let mut events = one.events();
    node.ctl(&["close_all_connections", "maintenance"]).unwrap();
    both_restored(&mut events).await;
    let publisher = publisher(&one, "filters").await;
    // The first event is delivered after the reconnect, so all bindings are declared by then.
    for (n, topic) in [(1, "x"), (2, "y"), (3, "x"), (4, "y"), (5, "x")] {
        publisher.publish(topic, &n).await.unwrap();
        if topic == "x" {
            let event = next_event(&mut first).await;
            assert_eq!(*event, n);
            event.ack();
        }
    }
}

async fn deleted_own_queue_is_an_error_and_declared_again() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let publisher = publisher(&amqp, "weather").await;
    let mut subscriber = subscriber(&amqp, "weather", &["a.#", "b.#"]).await;
    subscriber.filters().add("c.#").await.unwrap();
    subscriber.filters().remove("b.#").await.unwrap();
    let queue = own_queues(&node).pop().unwrap();
    node.ctl(&["delete_queue", &queue]).unwrap();
    missed_error(&mut subscriber).await;
    for (n, topic) in [(1, "a.x"), (2, "b.x"), (3, "c.x")] {
        publisher.publish(topic, &n).await.unwrap();
    }
    assert_eq!((*next_event(&mut subscriber).await, *next_event(&mut subscriber).await), (1, 3));
    // Filters can be changed on the new queue, too.
    subscriber.filters().add("b.#").await.unwrap();
    publisher.publish("b.x", &4).await.unwrap();
    assert_eq!(*next_event(&mut subscriber).await, 4);
}

async fn subscribers_survive_a_killed_broker() {
    let node = Node::start().unwrap();
    let amqp = Amqp::builder(&node.url()).unwrap().connect_timeout(PATIENCE).build().await.unwrap();
    let publisher = publisher(&amqp, "weather").await;
    let mut subscriber = subscriber(&amqp, "weather", &["a.#"]).await;
    let filters = subscriber.filters();
    let restarting = tokio::spawn(killed_and_restarted(node));
    // The filter is added now, or after the reconnect.
    filters.add("b.#").await.unwrap();
    let _node = restarting.await.unwrap();
    for (n, topic) in [(1, "a.x"), (2, "b.x")] {
        publisher.publish(topic, &n).await.unwrap();
    }
    // The queue has survived the broker, so no event was missed.
    assert_eq!((*next_event(&mut subscriber).await, *next_event(&mut subscriber).await), (1, 2));
}

async fn exchanges_and_queues_are_declared_again_at_a_reset_broker() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let (weather, news) = (publisher(&amqp, "weather").await, publisher(&amqp, "news").await);
    let mut subscriber = subscriber(&amqp, "weather", &["a.#"]).await;
    subscriber.filters().add("b.#").await.unwrap();
    for command in ["stop_app", "reset", "start_app"] {
        node.ctl(&[command]).unwrap();
    }
    missed_error(&mut subscriber).await;
    weather.publish("b.x", &1).await.unwrap();
    assert_eq!(*next_event(&mut subscriber).await, 1);
    // This exchange has no subscriber that would declare it.
    news.publish("x", &1).await.unwrap();
}

/// Receives the error that events may have been missed.
async fn missed_error(subscriber: &mut Subscriber<u32>) {
    let error =
        timeout(PATIENCE, subscriber.next()).await.expect("an error arrives").unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error:?}");
    assert!(error.to_string().contains("missed"), "{error}");
}
