//! Exchanges, queues and bindings of the program's own.

use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ExchangeDeleteOptions, QueueBindOptions};
use lapin::types::{AMQPValue, FieldTable};
use libtest_mimic::Trial;
use polywire_amqp::{
    Amqp, AmqpBuilder, BindingDeclaration, ExchangeDeclaration, ExchangeKind, QueueDeclaration,
    QueueOptions, Topology,
};
use polywire_core::{ErrorKind, Transport};
use polywire_rabbitmq_node::Node;

use crate::context::{both_restored, until};
use crate::endpoints::{
    builder, client, dead_letters, next_event, next_job, publisher, puller, push, serve, subscriber,
};
use crate::engine::{channel, delete_queue, ready_count, until_declared};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker topology_of_a_file_is_declared_and_used,
        broker each_kind_of_exchange_routes_by_its_rule,
        broker missing_and_different_parts_are_named,
        node options_of_declarations_reach_the_broker,
        node topology_is_declared_again,
        alone invalid_topologies_are_refused_by_name,
        broker names_that_polywire_uses_are_refused,
    ]
}

const FILE: &str = r##"{
    "exchanges": [
        { "name": "shop", "kind": "topic" },
        { "name": "shop.audit", "kind": "fanout", "durable": false, "auto_delete": true }
    ],
    "queues": [
        { "name": "shop.orders", "arguments": { "x-queue-type": "classic" } },
        { "name": "shop.stock", "arguments": { "x-max-length": 1000 } },
        { "name": "shop.log" }
    ],
    "bindings": [
        { "exchange": "shop", "queue": "shop.orders", "routing_key": "order.*" },
        { "exchange": "shop", "queue": "shop.orders", "routing_key": "return" },
        { "exchange": "shop", "to_exchange": "shop.audit", "routing_key": "#" },
        { "exchange": "shop.audit", "queue": "shop.log" }
    ]
}"##;

fn own(name: &str) -> QueueOptions {
    QueueOptions::new().named(name).passive()
}

fn shop(url: &str) -> AmqpBuilder {
    builder(url)
        .topology(serde_json::from_str(FILE).unwrap())
        .job_queue("orders", own("shop.orders"))
        .service_queue("stock", own("shop.stock"))
        .channel_exchange("shop", "shop")
}

/// Publishes the number 1 as another program does.
async fn publish_to(url: &str, exchange: &str, key: &str, properties: BasicProperties) {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let properties = properties.with_content_type("application/msgpack".into());
    let channel = channel(url).await;
    channel.confirm_select(Default::default()).await.unwrap();
    let publishing =
        channel.basic_publish(exchange.into(), key.into(), options, b"\x01", properties);
    let confirmed = publishing.await.unwrap().await.unwrap();
    assert!(confirmed.take_message().is_none(), "{exchange} {key} is unroutable");
}

async fn topology_of_a_file_is_declared_and_used(url: String) {
    let amqp = shop(&url).build().await.unwrap();
    let mut jobs = puller(&amqp, "orders", 1).await;
    for key in ["order.new", "return"] {
        publish_to(&url, "shop", key, BasicProperties::default()).await;
        let job = next_job(&mut jobs).await;
        job.retry_after(Duration::from_millis(64), "once").unwrap();
        let job = next_job(&mut jobs).await;
        assert_eq!((*job, job.context().attempt), (1, 2), "{key}");
        job.ack();
    }
    push(&amqp, "orders", [5]).await;
    next_job(&mut jobs).await.dead_letter("no").unwrap();
    dead_letters(&amqp, "orders", 1).await;
    let raw = channel(&url).await;
    until_declared(&url, "polywire.dead..shop.orders").await;
    assert_eq!(ready_count(&raw, "shop.log").await, 2, "by the exchange behind the exchange");

    let _server = serve(&amqp, "stock").await;
    assert_eq!(client(&amqp, "stock").await.call::<u32>("double", &2).await.unwrap(), 4);
    let mut events = subscriber(&amqp, "shop", &["price.#"]).await;
    publisher(&amqp, "shop").await.publish("price.eu", &7).await.unwrap();
    assert_eq!(*next_event(&mut events).await, 7);
    publish_to(&url, "shop", "price.us", BasicProperties::default()).await;
    let event = next_event(&mut events).await;
    assert_eq!((*event, event.topic().as_str()), (1, "price.us"));
    // The same again has no effect.
    shop(&url).build().await.unwrap().close().await.unwrap();
}

async fn each_kind_of_exchange_routes_by_its_rule(url: String) {
    let kinds = [
        ("direct", ExchangeKind::Direct),
        ("fanout", ExchangeKind::Fanout),
        ("headers", ExchangeKind::Headers),
    ];
    let mut topology = Topology::new();
    for (name, kind) in kinds {
        let name = format!("rule.{name}");
        topology = topology
            .exchange(ExchangeDeclaration::new(&name, kind))
            .queue(QueueDeclaration::new(&name));
        let binding = BindingDeclaration::queue(&name, &name).routing_key("key");
        topology = topology.binding(binding.argument("x-match", "all").argument("eu", true));
    }
    let amqp = builder(&url).topology(topology).build().await.unwrap();
    let mut headers = FieldTable::default();
    headers.insert("eu".into(), AMQPValue::Boolean(true));
    let headers = BasicProperties::default().with_headers(headers);
    publish_to(&url, "rule.direct", "key", BasicProperties::default()).await;
    publish_to(&url, "rule.fanout", "other", BasicProperties::default()).await;
    publish_to(&url, "rule.headers", "other", headers).await;
    let raw = channel(&url).await;
    for (name, _) in kinds {
        assert_eq!(ready_count(&raw, &format!("rule.{name}")).await, 1, "{name}");
    }
    amqp.close().await.unwrap();
}

async fn missing_and_different_parts_are_named(url: String) {
    let failing = async |topology: Topology| {
        let error = builder(&url).topology(topology).build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        error
    };
    let missing = ExchangeDeclaration::new("differs.missing", ExchangeKind::Topic).passive();
    let error = failing(Topology::new().exchange(missing)).await;
    assert!(error.to_string().contains("cannot find the exchange"), "{error}");
    assert_eq!(error.detail("exchange"), Some("differs.missing"));
    let missing = QueueDeclaration::new("differs.missing").passive();
    let error = failing(Topology::new().queue(missing)).await;
    assert!(error.to_string().contains("cannot find the queue"), "{error}");
    assert_eq!(error.detail("queue"), Some("differs.missing"));
    let missing = BindingDeclaration::queue("amq.topic", "differs.missing");
    let error = failing(Topology::new().binding(missing)).await;
    assert_eq!(
        (error.detail("exchange"), error.detail("to")),
        (Some("amq.topic"), Some("differs.missing"))
    );

    let exchange = |kind| ExchangeDeclaration::new("differs", kind);
    let queue = |bound| QueueDeclaration::new("differs").argument("x-max-length", bound);
    let first = Topology::new().exchange(exchange(ExchangeKind::Direct)).queue(queue(5));
    let _amqp = builder(&url).topology(first).build().await.unwrap();
    let details = |error: &polywire_core::Error| {
        ["argument", "ours", "theirs"].map(|name| error.detail(name).unwrap_or("").to_owned())
    };
    let error = failing(Topology::new().exchange(exchange(ExchangeKind::Fanout))).await;
    assert_eq!(details(&error), ["type", "fanout", "direct"], "{error:?}");
    let error = failing(Topology::new().queue(queue(6))).await;
    assert_eq!(details(&error), ["x-max-length", "6", "5"], "{error:?}");
    // A passive declaration takes what is there.
    let passive = Topology::new()
        .exchange(exchange(ExchangeKind::Fanout).passive())
        .queue(queue(6).passive());
    builder(&url).topology(passive).build().await.unwrap();
}

async fn options_of_declarations_reach_the_broker() {
    let node = Node::start().unwrap();
    let exchange = |name| ExchangeDeclaration::new(name, ExchangeKind::Topic);
    let mut topology = Topology::new()
        .exchange(exchange("lasting"))
        .exchange(exchange("brief").durable(false).auto_delete())
        .queue(QueueDeclaration::new("lasting").argument("x-max-length", 5))
        .queue(QueueDeclaration::new("brief").auto_delete());
    // Later versions may deny queues that are neither durable nor exclusive.
    let is_permitted = node.ctl(&["version"]).unwrap().starts_with("3.");
    if is_permitted {
        topology = topology.queue(QueueDeclaration::new("transient").durable(false));
    }
    let amqp = builder(&node.url()).topology(topology).build().await.unwrap();
    let list = node.ctl(&["list_exchanges", "name", "durable", "auto_delete"]).unwrap();
    for line in ["lasting\ttrue\tfalse", "brief\tfalse\ttrue"] {
        assert!(list.lines().any(|listed| listed == line), "{line}: {list}");
    }
    let list = node.ctl(&["list_queues", "name", "durable", "auto_delete", "arguments"]).unwrap();
    let mut expected = vec!["lasting\ttrue\tfalse\t", "brief\ttrue\ttrue\t"];
    if is_permitted {
        expected.push("transient\tfalse\tfalse\t");
    }
    for beginning in expected {
        assert!(list.lines().any(|line| line.starts_with(beginning)), "{beginning}: {list}");
    }
    assert!(list.contains("{\"x-max-length\",5}"), "{list}");
    amqp.close().await.unwrap();
}

async fn topology_is_declared_again() {
    let node = Node::start().unwrap();
    let url = node.url();
    let amqp = shop(&url).topology_check(Duration::from_secs(1)).build().await.unwrap();
    let _server = serve(&amqp, "stock").await;
    let raw = channel(&url).await;
    let is_routed = async || {
        let bind = raw.queue_bind(
            "shop.log".into(),
            "shop".into(),
            "never".into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        bind.await.unwrap();
    };
    is_routed().await;
    delete_queue(&url, "shop.orders").await;
    raw.exchange_delete("shop".into(), ExchangeDeleteOptions::default()).await.unwrap();
    // At the next check.
    until_declared(&url, "shop.orders").await;
    let bound = async || {
        let list = node.ctl(&["list_bindings", "source_name", "destination_name"]).unwrap();
        list.lines().filter(|line| line.starts_with("shop\tshop.orders")).count()
    };
    while bound().await < 2 {}
    publish_to(&url, "shop", "order.new", BasicProperties::default()).await;

    // After a reconnect, without an interval.
    let mut events = amqp.events();
    let slow = shop(&url).topology_check(Duration::from_secs(3600)).build().await.unwrap();
    amqp.close().await.unwrap();
    drop(events);
    events = slow.events();
    delete_queue(&url, "shop.log").await;
    node.ctl(&["close_all_connections", "maintenance"]).unwrap();
    both_restored(&mut events).await;
    until_declared(&url, "shop.log").await;
    until(|| slow.health().current().connection.to_string() == "connected").await;
}

async fn invalid_topologies_are_refused_by_name() {
    let long = "x".repeat(256);
    let two = r#"{ "bindings": [{ "exchange": "a", "queue": "b", "to_exchange": "c" }] }"#;
    let neither = r#"{ "bindings": [{ "exchange": "a" }] }"#;
    let of = |file: &str| serde_json::from_str::<Topology>(file).unwrap();
    let exchange = |name: &str| ExchangeDeclaration::new(name, ExchangeKind::Topic);
    for (topology, setting) in [
        (Topology::new().exchange(exchange("")), "exchange"),
        (Topology::new().exchange(exchange("amq.mine")), "exchange"),
        (Topology::new().queue(QueueDeclaration::new(&long)), "queue"),
        (Topology::new().queue(QueueDeclaration::new("a").argument(&long, 1)), "argument"),
        (of(two), "binding"),
        (of(neither), "binding"),
        (
            Topology::new().binding(BindingDeclaration::queue("a", "b").routing_key(&long)),
            "routing_key",
        ),
    ] {
        // Refused before the transport connects.
        let building = builder("amqp://localhost:1").topology(topology.clone()).build();
        let error = building.await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{topology:?}");
        assert_eq!(error.detail("setting"), Some(setting), "{topology:?}");
    }
    assert!(serde_json::from_str::<Topology>(r#"{ "queue": [] }"#).is_err(), "a misspelt key");
    assert!(
        serde_json::from_str::<Topology>(r#"{ "exchanges": [{ "name": "a", "kind": "x" }] }"#)
            .is_err()
    );
}

async fn names_that_polywire_uses_are_refused(url: String) {
    for refused in [
        builder(&url).job_queue("a", own("polywire.jobs.b")),
        builder(&url).channel_exchange("a", ""),
        builder(&url).queue_options(own("shop")),
    ] {
        let error = refused.build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    }
    let missing = builder(&url).channel_exchange("lost", "no.such.exchange").build().await.unwrap();
    let connecting =
        polywire_core::Publisher::connect(&missing, "lost", polywire_codec::MessagePack);
    let error = connecting.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert_eq!(error.detail("exchange"), Some("no.such.exchange"));
    let _: &Amqp = &missing;
}
