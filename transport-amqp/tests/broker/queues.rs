//! Queue options: declarations, mismatches, passive queues, priorities and invalid options.

use std::time::Duration;

use libtest_mimic::Trial;
use polywire_amqp::{Amqp, QueueDeclaration, QueueKind, QueueOptions, QueueOverflow, Topology};
use polywire_codec::MessagePack;
use polywire_core::{
    Address, Client, ErrorKind, Group, Puller, Pusher, Server, Subscriber, Transport, Window,
};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::{PATIENCE, version};
use crate::endpoints::{
    acked_job, builder, client, dead_letters, next_job, puller, push, serve, subscriber,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        node queues_are_declared_with_their_options,
        node classic_queues_stay_classic_where_quorum_is_the_default,
        broker argument_mismatch_names_both_values,
        broker passive_queue_is_found_or_missing_and_never_declared,
        broker urgent_jobs_and_requests_are_delivered_first,
        node quorum_queues_have_the_priorities_of_their_version,
        alone invalid_options_are_refused_before_connecting,
    ]
}

async fn queues_are_declared_with_their_options() {
    let node = Node::start().unwrap();
    let quorum = || QueueOptions::new().kind(QueueKind::Quorum);
    let builder = Amqp::builder(&node.url()).unwrap();
    let amqp = builder
        .queue_options(QueueOptions::new().lazy())
        .service_queue("quotes", QueueOptions::new().message_ttl(Duration::from_secs(5)))
        .job_queue("payments", quorum().delivery_limit(7))
        .group_queue(
            "orders",
            "billing",
            quorum().length(10, QueueOverflow::DropOldest).expires(Duration::from_secs(30)),
        )
        .build()
        .await
        .unwrap();
    let _server = Server::bind(&amqp, "quotes").await.unwrap();
    let _usual = Puller::<u32>::bind(&amqp, "usual", MessagePack).await.unwrap();
    let _jobs = Puller::<u32>::bind(&amqp, "payments", MessagePack).await.unwrap();
    let group = Group::new("billing").unwrap().durable();
    let _events = Subscriber::<u32>::bind(&amqp, "orders", MessagePack).group(group).await.unwrap();
    let queues = node.ctl(&["list_queues", "name", "durable", "exclusive", "arguments"]).unwrap();
    for (name, arguments) in [
        ("polywire.quotes", &["{\"x-message-ttl\",5000}"][..]),
        ("polywire.jobs.usual", &["{\"x-queue-mode\",\"lazy\"}"]),
        (
            "polywire.jobs.payments",
            &[
                "{\"x-queue-type\",\"quorum\"}",
                "{\"x-delivery-limit\",7}",
                "{\"x-dead-letter-routing-key\",\"polywire.dead.jobs.payments\"}",
                "{\"x-dead-letter-strategy\",\"at-least-once\"}",
            ],
        ),
        ("polywire.dead.jobs.payments", &["{\"x-queue-type\",\"quorum\"}"]),
        (
            "polywire.events.orders..group.billing",
            &["{\"x-max-length\",10}", "{\"x-overflow\",\"drop-head\"}", "{\"x-expires\",30000}"],
        ),
    ] {
        let line = queues.lines().find(|line| line.split('\t').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not declared: {queues}"));
        assert!(line.contains("\ttrue\t") && !line.contains("\ttrue\ttrue\t"), "{line}");
        assert!(arguments.iter().all(|argument| line.contains(argument)), "{line}");
    }
}

async fn classic_queues_stay_classic_where_quorum_is_the_default() {
    let node = Node::start().unwrap();
    if node.ctl(&["add_vhost", "quorum", "--default-queue-type", "quorum"]).is_err() {
        let name = "broker: classic_queues_stay_classic_where_quorum_is_the_default";
        eprintln!("not run: {name}: this RabbitMQ has no default kind of queue");
        return;
    }
    node.ctl(&["set_permissions", "--vhost", "quorum", "guest", ".*", ".*", ".*"]).unwrap();
    let builder = Amqp::builder(&node.url_of("quorum")).unwrap();
    let own = Topology::new().queue(QueueDeclaration::new("polywire.own"));
    let options = QueueOptions::new().priorities(5);
    let amqp = builder.topology(own).queue_options(options).build().await.unwrap();
    let _server = serve(&amqp, "typed").await;
    assert_eq!(client(&amqp, "typed").await.call::<u32>("double", &4).await.unwrap(), 8);
    push(&amqp, "typed", [1]).await;
    next_job(&mut puller(&amqp, "typed", 1).await).await.dead_letter("never").unwrap();
    dead_letters(&amqp, "typed", 1).await;
    let _subscriber = subscriber(&amqp, "typed", &["#"]).await;
    let queues = node.ctl(&["list_queues", "--vhost", "quorum", "name", "type"]).unwrap();
    let kinds: Vec<_> = queues.lines().filter(|line| line.starts_with("polywire.")).collect();
    assert!(kinds.len() >= 6, "{queues}");
    assert!(queues.contains("polywire.own"), "{queues}");
    assert!(kinds.iter().all(|line| line.ends_with("classic")), "{queues}");
}

async fn argument_mismatch_names_both_values(url: String) {
    let with =
        async |options| builder(&url).job_queue("mismatched", options).build().await.unwrap();
    let first = with(QueueOptions::new().priorities(5)).await;
    let _pusher = Pusher::connect(&first, "mismatched", MessagePack).await.unwrap();
    for (options, ours) in [(QueueOptions::new().priorities(9), "9"), (QueueOptions::new(), "none")]
    {
        let amqp = with(options).await;
        let error = Puller::<u32>::bind(&amqp, "mismatched", MessagePack).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let details = ["queue", "argument", "ours", "theirs"].map(|name| error.detail(name));
        let expected =
            [Some("polywire.jobs.mismatched"), Some("x-max-priority"), Some(ours), Some("5")];
        assert_eq!(details, expected, "{error:?}");
    }
}

async fn passive_queue_is_found_or_missing_and_never_declared(url: String) {
    let amqp = builder(&url).queue_options(QueueOptions::new().passive()).build().await.unwrap();
    for _ in 0..2 {
        let error = Pusher::connect(&amqp, "missing.passive", MessagePack).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert_eq!(error.detail("queue"), Some("polywire.jobs.missing.passive"));
    }
    assert_eq!(Server::bind(&amqp, "missing.passive").await.unwrap_err().kind(), ErrorKind::Config);
    // Declared by another transport, with other arguments.
    let other = builder(&url)
        .job_queue("made.passive", QueueOptions::new().priorities(3))
        .build()
        .await
        .unwrap();
    let _declared = Pusher::connect(&other, "made.passive", MessagePack).await.unwrap();
    let pusher = Pusher::connect(&amqp, "made.passive", MessagePack).await.unwrap();
    pusher.push(&1).await.unwrap();
    acked_job(&mut puller(&amqp, "made.passive", 1).await).await;
}

async fn urgent_jobs_and_requests_are_delivered_first(url: String) {
    let urgent = || QueueOptions::new().priorities(5);
    let amqp = builder(&url)
        .job_queue("urgent", urgent())
        .service_queue("urgent", urgent())
        .build()
        .await
        .unwrap();
    let pusher = Pusher::connect(&amqp, "urgent", MessagePack).await.unwrap();
    for (job, priority) in [(1, 0), (2, 5), (3, 1)] {
        pusher.with_priority(priority).push(&job).await.unwrap();
    }
    let mut jobs = puller(&amqp, "urgent", 1).await;
    for expected in [2, 3, 1] {
        assert_eq!(acked_job(&mut jobs).await, expected);
    }
    drop(Server::bind(&amqp, "urgent").window(Window::new(1)).await.unwrap());
    let client = Client::connect(&amqp, "urgent", MessagePack).await.unwrap();
    let mut calls = Vec::new();
    for (method, priority) in [("slow", 0), ("quick", 5)] {
        let mut call = client.request(method).priority(priority).start::<()>(&1).unwrap();
        call.sent().await;
        calls.push(call);
    }
    let name = Address::new("urgent").unwrap();
    let (_, mut requests) = amqp.responder(&name, Window::new(1)).await.unwrap();
    let first = timeout(PATIENCE, requests.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.message.method.as_ref().unwrap().as_str(), "quick");
    assert_eq!(first.message.priority, Some(5));
}

async fn quorum_queues_have_the_priorities_of_their_version() {
    let node = Node::start().unwrap();
    let version = version(&node);
    let urgent = QueueOptions::new().kind(QueueKind::Quorum).priorities(9);
    let amqp = builder(&node.url()).queue_options(urgent).build().await.unwrap();
    let connected = Pusher::connect(&amqp, "urgent", MessagePack).await;
    if version < (4, 0) {
        let error = connected.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        let stated = format!("{}.{}", version.0, version.1);
        let details = ["queue", "version", "needed"].map(|name| error.detail(name));
        assert_eq!(details, [Some("polywire.jobs.urgent"), Some(&stated), Some("4.0")]);
        return;
    }
    let pusher = connected.unwrap();
    // Before RabbitMQ 4.3 there are two levels, and one message in three is not urgent.
    let mut jobs = vec![(1, Some(0)), (2, Some(9)), (3, Some(9))];
    let mut expected = vec![2, 3, 1];
    if version >= (4, 3) {
        // The broker itself would take a job without a priority before one of priority 1.
        jobs.extend([(4, None), (5, Some(1))]);
        expected = vec![2, 3, 5, 1, 4];
    }
    for (job, priority) in jobs {
        let with = priority.map(|priority| pusher.with_priority(priority));
        with.as_ref().unwrap_or(&pusher).push(&job).await.unwrap();
    }
    let mut jobs = puller(&amqp, "urgent", 1).await;
    for job in expected {
        assert_eq!(acked_job(&mut jobs).await, job);
    }
}

async fn invalid_options_are_refused_before_connecting() {
    let builder = || Amqp::builder("amqp://localhost:1").unwrap();
    for invalid in [
        builder().queue_kind(QueueKind::Quorum).job_queue("fast", QueueOptions::new().lazy()),
        builder().service_queue("jobs.wrong", QueueOptions::new()),
        builder().job_queue("two words", QueueOptions::new()),
    ] {
        assert_eq!(invalid.build().await.unwrap_err().kind(), ErrorKind::Config);
    }
    let error = builder()
        .job_queue("fast", QueueOptions::new().delivery_limit(1))
        .build()
        .await
        .unwrap_err();
    assert_eq!(error.detail("queue"), Some("polywire.jobs.fast"));
}
