//! Events: what collects, what is bound again, what is told when something was missed.

use lapin::ExchangeKind;
use lapin::options::ExchangeDeclareOptions;
use lapin::types::FieldTable;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ConnectionChange, QueueKind};
use polywire_codec::MessagePack;
use polywire_core::{ErrorKind, Event, Group, Publisher, Subscriber, Transport};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::stage::{PATIENCE, bad_text, channel, killed_and_restarted};
use crate::{broker, node};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        broker("durable_group_collects_while_away", durable_group_collects_while_away),
        broker(
            "event_given_back_keeps_its_topic_and_counts",
            event_given_back_keeps_its_topic_and_counts,
        ),
        broker(
            "unreadable_events_are_discarded_and_told",
            unreadable_events_are_discarded_and_told,
        ),
        broker("names_without_room_are_refused", names_without_room_are_refused),
        node(
            "filter_that_a_group_dropped_stays_dropped",
            filter_that_a_group_dropped_stays_dropped,
        ),
        node("own_queues_go_with_their_subscribers", own_queues_go_with_their_subscribers),
        node("deleted_own_queue_is_told_and_made_again", deleted_own_queue_is_told_and_made_again),
        node("subscribers_outlive_a_killed_broker", subscribers_outlive_a_killed_broker),
        node(
            "broker_that_forgot_everything_is_told_again",
            broker_that_forgot_everything_is_told_again,
        ),
    ]
}

async fn durable_group_collects_while_away(url: String) {
    for (channel, kind) in [("classic", QueueKind::Classic), ("quorum", QueueKind::Quorum)] {
        let amqp = Amqp::builder(&url).unwrap().queue_kind(kind).build().await.unwrap();
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
            let event = next(&mut member).await;
            assert_eq!(*event, n);
            event.ack();
        }
    }
}

async fn filter_that_a_group_dropped_stays_dropped() {
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
    let mut restored = 0;
    while restored < 2 {
        let change = timeout(PATIENCE, events.next()).await.unwrap().unwrap().change;
        restored += u32::from(matches!(change, ConnectionChange::Restored { .. }));
    }
    let publisher = publisher(&one, "filters").await;
    // One event at least is given after the reconnect, so that the queue is bound again by then, if
    // it is.
    for (n, topic) in [(1, "x"), (2, "y"), (3, "x"), (4, "y"), (5, "x")] {
        publisher.publish(topic, &n).await.unwrap();
        if topic == "x" {
            let event = next(&mut first).await;
            assert_eq!(*event, n);
            event.ack();
        }
    }
}

async fn event_given_back_keeps_its_topic_and_counts(url: String) {
    for (channel, kind) in
        [("again.classic", QueueKind::Classic), ("again.quorum", QueueKind::Quorum)]
    {
        let amqp = Amqp::builder(&url).unwrap().queue_kind(kind).build().await.unwrap();
        let group = Group::new("workers").unwrap();
        let mut member =
            Subscriber::<u32>::bind(&amqp, channel, MessagePack).group(group).await.unwrap();
        publisher(&amqp, channel).await.publish("paris.größe", &1).await.unwrap();
        for attempt in 1..=3 {
            let event = next(&mut member).await;
            assert_eq!((event.topic().as_str(), event.context().attempt), ("paris.größe", attempt));
            event.requeue().unwrap();
        }
        next(&mut member).await.ack();
    }
}

async fn unreadable_events_are_discarded_and_told(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let mut subscriber = subscriber(&amqp, "garbled", &["#"]).await;
    let stranger = channel(&url).await;
    let bad = lapin::BasicProperties::default().with_headers(bad_text());
    for (topic, properties) in [("a", bad), ("two words", Default::default())] {
        let options = lapin::options::BasicPublishOptions::default();
        let exchange = "polywire.events.garbled";
        stranger
            .basic_publish(exchange.into(), topic.into(), options, b"\x01", properties)
            .await
            .unwrap();
        let error = timeout(PATIENCE, subscriber.next()).await.unwrap().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec, "{error:?}");
    }
    publisher(&amqp, "garbled").await.publish("b", &2).await.unwrap();
    assert_eq!(*next(&mut subscriber).await, 2);
}

async fn names_without_room_are_refused(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let longest = "x".repeat(polywire_core::Address::MAX);
    let mut own = subscriber(&amqp, &longest, &[&longest]).await;
    publisher(&amqp, &longest).await.publish(longest.as_str(), &1).await.unwrap();
    assert_eq!(next(&mut own).await.topic().as_str(), longest);
    let group = Group::new(longest.as_str()).unwrap();
    let member = Subscriber::<u32>::bind(&amqp, longest.as_str(), MessagePack).group(group);
    assert_eq!(member.await.unwrap_err().kind(), ErrorKind::TooLarge);
}

async fn own_queues_go_with_their_subscribers() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let dropped = subscriber(&amqp, "weather", &["#"]).await;
    assert_eq!(own_queues(&node).len(), 1);
    let filters = dropped.filters();
    drop(dropped);
    until_gone(&node).await;
    assert_eq!(filters.add("a").await.unwrap_err().kind(), ErrorKind::Closed);
    // One that cannot be opened, because its exchange is there and of another kind, leaves nothing
    // either.
    let foreign = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let (name, arguments) = ("polywire.events.foreign".into(), FieldTable::default());
    let raw = channel(&node.url()).await;
    raw.exchange_declare(name, ExchangeKind::Fanout, foreign, arguments).await.unwrap();
    let error = Subscriber::<u32>::bind(&amqp, "foreign", MessagePack).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    until_gone(&node).await;
    let _closed = subscriber(&amqp, "weather", &["#"]).await;
    amqp.close().await.unwrap();
    assert_eq!(own_queues(&node), [""; 0]);
}

async fn deleted_own_queue_is_told_and_made_again() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let publisher = publisher(&amqp, "weather").await;
    let mut subscriber = subscriber(&amqp, "weather", &["a.#", "b.#"]).await;
    subscriber.filters().add("c.#").await.unwrap();
    subscriber.filters().remove("b.#").await.unwrap();
    let queue = own_queues(&node).pop().unwrap();
    node.ctl(&["delete_queue", &queue]).unwrap();
    told(&mut subscriber).await;
    for (n, topic) in [(1, "a.x"), (2, "b.x"), (3, "c.x")] {
        publisher.publish(topic, &n).await.unwrap();
    }
    assert_eq!((*next(&mut subscriber).await, *next(&mut subscriber).await), (1, 3));
    // It can change its mind on the new queue.
    subscriber.filters().add("b.#").await.unwrap();
    publisher.publish("b.x", &4).await.unwrap();
    assert_eq!(*next(&mut subscriber).await, 4);
}

async fn subscribers_outlive_a_killed_broker() {
    let node = Node::start().unwrap();
    let amqp = Amqp::builder(&node.url()).unwrap().connect_timeout(PATIENCE).build().await.unwrap();
    let publisher = publisher(&amqp, "weather").await;
    let mut subscriber = subscriber(&amqp, "weather", &["a.#"]).await;
    let filters = subscriber.filters();
    let restarting = tokio::spawn(killed_and_restarted(node));
    // Whenever the connection is lost, it is told in the end.
    filters.add("b.#").await.unwrap();
    let _node = restarting.await.unwrap();
    for (n, topic) in [(1, "a.x"), (2, "b.x")] {
        publisher.publish(topic, &n).await.unwrap();
    }
    // Its queue has outlived the broker, so that nothing was missed.
    assert_eq!((*next(&mut subscriber).await, *next(&mut subscriber).await), (1, 2));
}

async fn broker_that_forgot_everything_is_told_again() {
    let node = Node::start().unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let (weather, news) = (publisher(&amqp, "weather").await, publisher(&amqp, "news").await);
    let mut subscriber = subscriber(&amqp, "weather", &["a.#"]).await;
    subscriber.filters().add("b.#").await.unwrap();
    for command in ["stop_app", "reset", "start_app"] {
        node.ctl(&[command]).unwrap();
    }
    told(&mut subscriber).await;
    weather.publish("b.x", &1).await.unwrap();
    assert_eq!(*next(&mut subscriber).await, 1);
    // This exchange has nobody but its publisher.
    news.publish("x", &1).await.unwrap();
}

async fn publisher(amqp: &Amqp, channel: &str) -> Publisher<MessagePack> {
    Publisher::connect(amqp, channel, MessagePack).timeout(PATIENCE).await.unwrap()
}

async fn subscriber(amqp: &Amqp, channel: &str, filters: &[&str]) -> Subscriber<u32> {
    let binding = Subscriber::bind(amqp, channel, MessagePack);
    filters.iter().fold(binding, |binding, filter| binding.filter(*filter)).await.unwrap()
}

async fn next(subscriber: &mut Subscriber<u32>) -> Event<u32> {
    timeout(PATIENCE, subscriber.next()).await.expect("an event comes").unwrap().unwrap()
}

/// The subscriber is told that it may have missed something.
async fn told(subscriber: &mut Subscriber<u32>) {
    let error =
        timeout(PATIENCE, subscriber.next()).await.expect("it is told").unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Disconnected, "{error:?}");
    assert!(error.to_string().contains("missed"), "{error}");
}

fn own_queues(node: &Node) -> Vec<String> {
    let all = node.ctl(&["list_queues", "name"]).unwrap();
    all.lines().filter(|name| name.contains("..own.")).map(str::to_owned).collect()
}

async fn until_gone(node: &Node) {
    let looking = async {
        while !own_queues(node).is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, looking).await.expect("the queue goes");
}
