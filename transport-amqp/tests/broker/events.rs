//! Events: durable groups, requeues, malformed events, long names, and queues of subscribers.

use lapin::ExchangeKind;
use lapin::options::ExchangeDeclareOptions;
use lapin::types::FieldTable;
use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::{ErrorKind, Group, Subscriber, Transport};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::{PATIENCE, own_queues};
use crate::endpoints::{KINDS, connected, next_event, publisher, subscriber};
use crate::engine::{channel, malformed_headers};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker durable_group_collects_events_without_members,
        broker requeued_event_keeps_its_topic_and_counts_attempts,
        broker malformed_events_are_errors,
        broker names_over_255_bytes_are_refused,
        node own_queue_is_deleted_with_its_subscriber,
    ]
}

async fn durable_group_collects_events_without_members(url: String) {
    for (channel, kind) in KINDS {
        let amqp = connected(&url, kind).await;
        let group = || Group::new("billing").unwrap().durable();
        let member =
            Subscriber::<u32>::bind(&amqp, channel, MessagePack).filter("*.paid").group(group());
        drop(member.await.unwrap());
        let publisher = publisher(&amqp, channel).await;
        for (n, topic) in [(1, "a.paid"), (2, "a.open"), (3, "b.paid")] {
            publisher.publish(topic, &n).await.unwrap();
        }
        let member =
            Subscriber::<u32>::bind(&amqp, channel, MessagePack).filter("*.paid").group(group());
        let mut member = member.await.unwrap();
        for n in [1, 3] {
            let event = next_event(&mut member).await;
            assert_eq!(*event, n);
            event.ack();
        }
    }
}

async fn requeued_event_keeps_its_topic_and_counts_attempts(url: String) {
    for (name, kind) in KINDS {
        let (amqp, channel) = (connected(&url, kind).await, &*format!("again.{name}"));
        let group = Group::new("workers").unwrap();
        let mut member =
            Subscriber::<u32>::bind(&amqp, channel, MessagePack).group(group).await.unwrap();
        publisher(&amqp, channel).await.publish("paris.größe", &1).await.unwrap();
        for attempt in 1..=3 {
            let event = next_event(&mut member).await;
            assert_eq!((event.topic().as_str(), event.context().attempt), ("paris.größe", attempt));
            event.requeue().unwrap();
        }
        next_event(&mut member).await.ack();
    }
}

async fn malformed_events_are_errors(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let mut subscriber = subscriber(&amqp, "malformed", &["#"]).await;
    let foreign = channel(&url).await;
    let bad = lapin::BasicProperties::default().with_headers(malformed_headers());
    for (topic, properties) in [("a", bad), ("two words", Default::default())] {
        let options = lapin::options::BasicPublishOptions::default();
        let exchange = "polywire.events.malformed";
        foreign
            .basic_publish(exchange.into(), topic.into(), options, b"\x01", properties)
            .await
            .unwrap();
        let error = timeout(PATIENCE, subscriber.next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec, "{error:?}");
    }
    publisher(&amqp, "malformed").await.publish("b", &2).await.unwrap();
    assert_eq!(*next_event(&mut subscriber).await, 2);
}

async fn names_over_255_bytes_are_refused(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let longest = "x".repeat(polywire_core::Address::MAX);
    let mut own = subscriber(&amqp, &longest, &[&longest]).await;
    publisher(&amqp, &longest).await.publish(longest.as_str(), &1).await.unwrap();
    assert_eq!(next_event(&mut own).await.topic().as_str(), longest);
    let group = Group::new(longest.as_str()).unwrap();
    let member = Subscriber::<u32>::bind(&amqp, longest.as_str(), MessagePack).group(group);
    assert_eq!(member.await.unwrap_err().kind(), ErrorKind::TooLarge);
}

async fn own_queue_is_deleted_with_its_subscriber() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let dropped = subscriber(&amqp, "weather", &["#"]).await;
    assert_eq!(own_queues(&node).len(), 1);
    let filters = dropped.filters();
    drop(dropped);
    until_no_own_queues(&node).await;
    assert_eq!(filters.add("a").await.unwrap_err().kind(), ErrorKind::Closed);
    // A subscriber that cannot open leaves no queue either. Here the exchange has another type.
    let foreign = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let (name, arguments) = ("polywire.events.foreign".into(), FieldTable::default());
    let raw = channel(&node.url()).await;
    raw.exchange_declare(name, ExchangeKind::Fanout, foreign, arguments).await.unwrap();
    let error = Subscriber::<u32>::bind(&amqp, "foreign", MessagePack).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    until_no_own_queues(&node).await;
    let _closed = subscriber(&amqp, "weather", &["#"]).await;
    amqp.close().await.unwrap();
    assert_eq!(own_queues(&node), [""; 0]);
}

async fn until_no_own_queues(node: &Node) {
    let looking = async {
        while !own_queues(node).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, looking).await.expect("the queue is deleted");
}
