//! Exchanges and bindings that are removed while handles use them.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, ExchangeDeleteOptions};
use lapin::types::{FieldTable, ShortString};
use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::{ErrorKind, Group, Publisher, Subscriber};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::{PATIENCE, both_restored, own_queues};
use crate::endpoints::{builder, next_event, publisher, subscriber};
use crate::engine::{channel, delete_queue};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker events_arrive_after_their_exchange_was_deleted,
        broker subscribers_bind_again_when_a_new_publisher_declares_their_exchange,
        broker subscribers_bind_again_when_a_tool_declares_their_exchange,
        broker new_channel_is_declared_without_a_wait,
        broker deleted_exchange_of_a_channel_without_subscribers_is_declared_again,
        node exchange_that_stays_missing_is_no_loss_until_it_is_declared,
        node removed_binding_of_a_subscriber_is_added_again,
        broker removed_binding_of_a_group_is_added_again,
        broker filter_that_a_member_has_removed_stays_removed,
        alone interval_of_topology_checks_has_bounds,
    ]
}

const INTERVAL: Duration = Duration::from_secs(1);
/// The events of half a second, one each 100 ms: the time that a publisher leaves to subscribers
/// which are not the first to bind their queue again. On a machine that is not busy, none is lost.
const SETTLE_EVENTS: u32 = 5;
/// The events of an interval and of the check at its end.
const INTERVAL_EVENTS: u32 = 20;

async fn connected(url: &str) -> Amqp {
    builder(url).topology_check(INTERVAL).build().await.unwrap()
}

async fn delete_exchange(url: &str, name: &str) {
    let options = ExchangeDeleteOptions::default();
    channel(url).await.exchange_delete(ShortString::from(name), options).await.unwrap();
}

/// Publishes until the subscriber receives an event. Returns the number of events before that one
/// that were confirmed and not received, and `true` if the subscriber has got the error.
async fn publish_until_received(
    publisher: &Publisher<MessagePack>,
    subscriber: &mut Subscriber<u32>,
) -> (u32, bool) {
    let publishing = async {
        let mut is_notified = false;
        for n in 0.. {
            publisher.publish("a", &n).await.unwrap();
            let mut next = timeout(Duration::from_millis(100), subscriber.next()).await;
            if let Ok(Some(Err(error))) = &next {
                assert_eq!(error.kind(), ErrorKind::Disconnected, "{error:?}");
                is_notified = true;
                next = timeout(Duration::from_millis(100), subscriber.next()).await;
            }
            if let Ok(Some(event)) = next {
                let event = event.unwrap();
                let missed = *event;
                event.ack();
                return (missed, is_notified);
            }
        }
        unreachable!()
    };
    timeout(PATIENCE, publishing).await.expect("an event arrives")
}

/// Waits for the error of a loss, unless it has arrived already. An event may come first.
async fn until_notified(subscriber: &mut Subscriber<u32>, is_notified: bool) {
    if !is_notified {
        let telling = async { while subscriber.next().await.unwrap().is_ok() {} };
        timeout(PATIENCE, telling).await.expect("the subscriber is notified");
    }
}

async fn events_arrive_after_their_exchange_was_deleted(url: String) {
    let (own, members) = (connected(&url).await, connected(&url).await);
    let mut alone = subscriber(&own, "deleted", &["#"]).await;
    let group = Group::new("members").unwrap();
    let mut member =
        Subscriber::<u32>::bind(&members, "deleted", MessagePack).group(group).await.unwrap();
    let publishing = connected(&url).await;
    let publisher = publisher(&publishing, "deleted").await;
    publisher.publish("a", &1).await.unwrap();
    assert_eq!(*next_event(&mut alone).await, 1);
    next_event(&mut member).await.ack();
    for round in 0..2 {
        delete_exchange(&url, "polywire.events.deleted").await;
        let (missed, is_notified) = publish_until_received(&publisher, &mut alone).await;
        assert!(missed <= SETTLE_EVENTS, "round {round}: {missed} confirmed events are missing");
        until_notified(&mut alone, is_notified).await;
        let (missed, _) = publish_until_received(&publisher, &mut member).await;
        assert!(missed <= SETTLE_EVENTS, "round {round}: {missed} confirmed events are missing");
        while timeout(Duration::from_millis(300), alone.next()).await.is_ok() {}
        while let Ok(Some(Ok(event))) = timeout(Duration::from_millis(300), member.next()).await {
            event.ack();
        }
    }
}

/// Returns a subscriber without a group and a member of a group.
async fn two_subscribers(amqp: &Amqp, channel: &str) -> [Subscriber<u32>; 2] {
    let bound = Subscriber::<u32>::bind(amqp, channel, MessagePack);
    let member = bound.group(Group::new("members").unwrap()).await.unwrap();
    [subscriber(amqp, channel, &["#"]).await, member]
}

/// The interval is so long that only the notice of the publisher helps.
async fn subscribers_bind_again_when_a_new_publisher_declares_their_exchange(url: String) {
    let amqp = builder(&url).topology_check(Duration::from_mins(10)).build().await.unwrap();
    let subscribers = two_subscribers(&amqp, "redeclared").await;
    delete_exchange(&url, "polywire.events.redeclared").await;
    let publishing = Amqp::connect(&url).await.unwrap();
    let publisher = publisher(&publishing, "redeclared").await;
    for mut subscriber in subscribers {
        let (missed, is_notified) = publish_until_received(&publisher, &mut subscriber).await;
        assert!(missed <= SETTLE_EVENTS, "{missed} confirmed events are missing");
        until_notified(&mut subscriber, is_notified).await;
    }
}

async fn subscribers_bind_again_when_a_tool_declares_their_exchange(url: String) {
    let amqp = connected(&url).await;
    let subscribers = two_subscribers(&amqp, "tool").await;
    let publisher = publisher(&amqp, "tool").await;
    let name = ShortString::from("polywire.events.tool");
    let raw = channel(&url).await;
    raw.exchange_delete(name.clone(), ExchangeDeleteOptions::default()).await.unwrap();
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let declaring = raw.exchange_declare(name, ExchangeKind::Topic, durable, FieldTable::default());
    declaring.await.unwrap();
    for mut subscriber in subscribers {
        let (missed, is_notified) = publish_until_received(&publisher, &mut subscriber).await;
        assert!(missed <= INTERVAL_EVENTS, "{missed} confirmed events are missing");
        until_notified(&mut subscriber, is_notified).await;
    }
}

async fn new_channel_is_declared_without_a_wait(url: String) {
    let amqp = connected(&url).await;
    let begun = Instant::now();
    let mut publishers = Vec::new();
    for number in 0..10 {
        publishers.push(publisher(&amqp, &format!("new.{number}")).await);
    }
    // Each of them would wait for half a second or more.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

async fn deleted_exchange_of_a_channel_without_subscribers_is_declared_again(url: String) {
    let amqp = connected(&url).await;
    let publisher = publisher(&amqp, "unheard").await;
    delete_exchange(&url, "polywire.events.unheard").await;
    publisher.publish("a", &1).await.unwrap();
    let mut subscriber = subscriber(&amqp, "unheard", &["#"]).await;
    publisher.publish("a", &2).await.unwrap();
    assert_eq!(*next_event(&mut subscriber).await, 2);
}

/// The user may not declare the exchange, so that it stays missing.
async fn exchange_that_stays_missing_is_no_loss_until_it_is_declared() {
    let node = Node::start().unwrap();
    node.ctl(&["add_user", "alice", "secret"]).unwrap();
    let own = r"^polywire\.events\..*\.\.own\..*$";
    node.ctl(&["set_permissions", "alice", own, ".*", ".*"]).unwrap();
    let admin = connected(&node.url()).await;
    let first = publisher(&admin, "absent").await;
    let alice = connected(&format!("amqp://alice:secret@127.0.0.1:{}", node.port())).await;
    let mut events = subscriber(&alice, "absent", &["#"]).await;
    let publisher = publisher(&alice, "absent").await;
    delete_exchange(&node.url(), "polywire.events.absent").await;
    // The events share one wait for the subscribers.
    let begun = Instant::now();
    let numbers: Vec<u32> = (0..20).collect();
    let publishing = join_all(numbers.iter().map(|n| publisher.publish("a", n)));
    let (published, missed) = tokio::join!(publishing, timeout(INTERVAL * 3, events.next()));
    for refused in published {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Denied);
    }
    assert!(begun.elapsed() < INTERVAL * 10, "{:?}", begun.elapsed());
    assert!(missed.is_err(), "nothing can be published, and the subscriber got {missed:?}");
    // After the connect timeout, a change of the filters fails with its cause.
    let refused = events.filters().add("b").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config, "{refused:?}");
    assert!(format!("{refused:?}").contains("polywire.events.absent"), "{refused:?}");
    // A lost connection changes nothing.
    let mut changes = alice.events();
    node.ctl(&["close_all_connections", "maintenance"]).unwrap();
    both_restored(&mut changes).await;
    let missed = timeout(INTERVAL * 2, events.next()).await;
    assert!(missed.is_err(), "nothing can be published, and the subscriber got {missed:?}");
    // From now on, another program may publish before the subscriber has bound its queue again.
    let (missed, is_notified) = publish_until_received(&first, &mut events).await;
    assert!(missed <= SETTLE_EVENTS, "{missed} confirmed events are missing");
    assert!(is_notified);
}

async fn removed_binding_of_a_subscriber_is_added_again() {
    let node = Node::start().unwrap();
    let amqp = connected(&node.url()).await;
    let mut subscriber = subscriber(&amqp, "unbound", &["#"]).await;
    let publisher = publisher(&amqp, "unbound").await;
    let queue = own_queues(&node).pop().unwrap();
    let (exchange, arguments) =
        (ShortString::from("polywire.events.unbound"), FieldTable::default());
    let raw = channel(&node.url()).await;
    raw.queue_unbind(queue.as_str().into(), exchange, "#".into(), arguments).await.unwrap();
    let (missed, _) = publish_until_received(&publisher, &mut subscriber).await;
    assert!(missed <= INTERVAL_EVENTS, "{missed} confirmed events are missing");
}

async fn removed_binding_of_a_group_is_added_again(url: String) {
    let amqp = connected(&url).await;
    let group = Group::new("members").unwrap().durable();
    let bound = Subscriber::<u32>::bind(&amqp, "loosened", MessagePack);
    let mut member = bound.group(group).filter("a").filter("b").await.unwrap();
    let publisher = publisher(&amqp, "loosened").await;
    let raw = channel(&url).await;
    let (queue, exchange) = ("polywire.events.loosened..group.members", "polywire.events.loosened");
    for _ in 0..2 {
        let unbinding =
            raw.queue_unbind(queue.into(), exchange.into(), "a".into(), FieldTable::default());
        unbinding.await.unwrap();
        let (missed, _) = publish_until_received(&publisher, &mut member).await;
        assert!(missed <= INTERVAL_EVENTS, "{missed} confirmed events are missing");
        while let Ok(Some(event)) = timeout(Duration::from_millis(300), member.next()).await {
            event.unwrap().ack();
        }
    }
}

async fn filter_that_a_member_has_removed_stays_removed(url: String) {
    let (first, second) = (connected(&url).await, connected(&url).await);
    let mut members = Vec::new();
    for amqp in [&first, &second] {
        let bound = Subscriber::<u32>::bind(amqp, "shrunk", MessagePack);
        let group = Group::new("members").unwrap();
        members.push(bound.group(group).filter("a").filter("b").await.unwrap());
    }
    members[0].filters().remove("a").await.unwrap();
    let publisher = publisher(&first, "shrunk").await;
    // Both members check their bindings meanwhile.
    for n in 0..3 {
        publisher.publish("a", &n).await.unwrap();
        for member in &mut members {
            let received = timeout(INTERVAL, member.next()).await;
            assert!(received.is_err(), "the filter has returned: {received:?}");
        }
    }
    publisher.publish("b", &7).await.unwrap();
    let [one, other] = &mut members[..] else { unreachable!() };
    let receiving = async {
        tokio::select! { event = one.next() => event, event = other.next() => event }
    };
    let event = timeout(PATIENCE, receiving).await.unwrap().unwrap().unwrap();
    assert_eq!(*event, 7);
    event.ack();
    // The mark of the removal ends with the queue.
    drop(members);
    delete_queue(&url, "polywire.events.shrunk..group.members").await;
    let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
    let mark = "polywire.events.shrunk..group.members..removed".into();
    let raw = channel(&url).await;
    let found = raw.exchange_declare(mark, ExchangeKind::Topic, passive, FieldTable::default());
    assert!(found.await.is_err(), "the mark is left over");
}

async fn interval_of_topology_checks_has_bounds() {
    for interval in [Duration::ZERO, Duration::from_millis(999), Duration::MAX] {
        let building = builder("amqp://localhost:1").topology_check(interval).build();
        let error = building.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert_eq!(error.detail("setting"), Some("topology_check"));
    }
}
