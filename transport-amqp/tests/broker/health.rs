//! Health of a transport, and canaries that go through the broker to the very queue.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use polywire_amqp::{Amqp, QueueKind, QueueOptions};
use polywire_codec::MessagePack;
use polywire_conformance::Direction;
use polywire_core::health::{CanaryReceiver, EndpointState, Health, HealthChanges};
use polywire_core::{
    DeadLetters, ErrorKind, Group, Listener, Publisher, Pusher, Router, Server, Subscriber,
    Transport, Window, Worker,
};
use polywire_rabbitmq_node::Node;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::context::{PATIENCE, clear_alarm, set_alarm, through_proxy};
use crate::endpoints::{KINDS, builder, client, connected, serve};
use crate::engine::{channel, ready_count};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker canaries_come_back_through_each_kind_of_queue,
        broker canary_of_one_of_several_servers_finds_its_own_consumer,
        broker canary_that_another_consumer_takes_names_it,
        broker canary_is_removed_by_the_broker_if_nothing_consumes,
        broker canary_that_nothing_consumes_does_not_become_a_dead_letter,
        broker server_that_is_never_served_returns_no_canary,
        broker handlers_that_hang_hold_canaries_back_until_they_end,
        broker poison_job_leaves_its_worker_ready,
        broker deleted_queue_is_off_and_on_within_two_heartbeats,
        node refused_password_shows_at_the_first_refusal,
        node refused_permission_shows_at_the_endpoint,
        node memory_alarm_is_blocked_until_it_ends,
        node canary_finds_the_alarm_for_a_program_that_only_consumes,
        node silent_link_is_off_and_on_within_two_heartbeats,
    ]
}

/// Waits for a state of the health, and returns it.
async fn until(changes: &mut HealthChanges, holds: impl Fn(&Health) -> bool) -> Health {
    let waiting = async {
        loop {
            let health = changes.next().await.expect("the transport is open");
            if holds(&health) {
                return health;
            }
        }
    };
    timeout(PATIENCE, waiting).await.expect("the health changes")
}

/// The heartbeat of the tests in which readiness must turn in time.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Connects to a node with this heartbeat.
async fn beating(url: &str) -> Amqp {
    Amqp::builder(url).unwrap().heartbeat(HEARTBEAT).build().await.unwrap()
}

/// Waits for a state of the health, which must be reached within twice the heartbeat.
async fn in_time(changes: &mut HealthChanges, holds: impl Fn(&Health) -> bool) -> Health {
    let began = Instant::now();
    let health = until(changes, holds).await;
    assert!(began.elapsed() <= 2 * HEARTBEAT, "{health} after {:?}", began.elapsed());
    health
}

async fn canaries_come_back_through_each_kind_of_queue(url: String) {
    for (kind_name, kind) in KINDS {
        let amqp = connected(&url, kind).await;
        let name =
            |what| polywire_core::Address::new(format!("canaries.{what}.{kind_name}")).unwrap();
        let (service, jobs, channel) = (name("service"), name("jobs"), name("channel"));
        let server = serve(&amqp, service.as_str()).await;
        let worker = Worker::bind(&amqp, jobs, MessagePack).await.unwrap();
        let group = Group::new(name("group")).unwrap();
        let bound = Listener::bind(&amqp, channel.clone(), MessagePack).filter("#").group(group);
        let listener = bound.await.unwrap();
        let subscriber = Subscriber::<u32>::bind(&amqp, channel, MessagePack).filter("#");
        let mut subscriber = subscriber.await.unwrap();
        let work = [worker.handle(), listener.handle()];
        tokio::spawn(worker.work(async |_: u32| Ok(())));
        tokio::spawn(listener.listen(async |_: u32| Ok(())));
        let subscribing = tokio::spawn(async move { subscriber.next().await.map(drop) });
        let health = amqp.health();
        assert_eq!(health.current().to_string(), "connected, consuming 4 of 4");
        let report = health.canary(PATIENCE).await;
        assert!(report.is_own() && report.endpoints.len() == 4, "{report:?}");
        assert!(!subscribing.is_finished(), "the subscriber received a canary");
        let (stats, work) = (server.stats(), work.map(|handle| handle.stats()));
        assert_eq!((stats.answered, stats.rejected), (0, 0), "{stats:?}");
        assert!(work.iter().all(|work| (work.done, work.rejected) == (0, 0)), "{work:?}");
        amqp.close().await.unwrap();
        assert_eq!(health.current().connection.as_str(), "closed");
    }
}

async fn canary_of_one_of_several_servers_finds_its_own_consumer(url: String) {
    let mut transports = Vec::new();
    for _ in 0..3 {
        let amqp = Amqp::connect(&url).await.unwrap();
        serve(&amqp, "canaries.several").await;
        transports.push(amqp);
    }
    for amqp in &transports {
        let report = amqp.health().canary(PATIENCE).await;
        assert!(report.is_own(), "{report:?}");
    }
}

/// The server does not receive, but a server of another process consumes the same queue.
async fn canary_that_another_consumer_takes_names_it(url: String) {
    let (idle, busy) = (Amqp::connect(&url).await.unwrap(), Amqp::connect(&url).await.unwrap());
    let _server = Server::bind(&idle, "canaries.other").await.unwrap();
    serve(&busy, "canaries.other").await;
    let limit = Duration::from_secs(4);
    // The broker may give the first canary to the server that does not receive.
    let echo = loop {
        let report = idle.health().canary(limit).await;
        assert!(!report.is_own(), "{report:?}");
        if let Ok(echo) = &report.endpoints[0].outcome {
            break echo.clone();
        }
    };
    let CanaryReceiver::Other { instance } = &echo.receiver else { panic!("{echo:?}") };
    assert!(instance.contains("process") && echo.round_trip < limit, "{echo:?}");
    assert_eq!(idle.health().current().endpoints[0].received(), 0);
}

async fn canary_is_removed_by_the_broker_if_nothing_consumes(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let server = Server::bind(&amqp, "canaries.expiring").await.unwrap();
    let limit = Duration::from_millis(200);
    for _ in 0..3 {
        let report = amqp.health().canary(limit).await;
        let error = report.endpoints[0].outcome.as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    }
    drop(server);
    let channel = channel(&url).await;
    let emptied = async { while ready_count(&channel, "polywire.canaries.expiring").await > 0 {} };
    timeout(PATIENCE, emptied).await.expect("the broker removes the canaries");
}

async fn canary_that_nothing_consumes_does_not_become_a_dead_letter(url: String) {
    let queue = "canaries.kept";
    let options = QueueOptions::new().dead_letters();
    let amqp = Amqp::builder(&url).unwrap().job_queue(queue, options).build().await.unwrap();
    let worker = Worker::bind(&amqp, queue, MessagePack).window(Window::new(1)).await.unwrap();
    let health = amqp.health();
    for _ in 0..3 {
        assert!(!health.canary(Duration::from_millis(200)).await.is_ok());
    }
    // The worker starts, and gets the one canary that waits.
    let waiting = tokio::spawn(async move { health.canary(PATIENCE).await });
    let working = tokio::spawn(worker.work(async |_: u32| Ok(())));
    assert!(waiting.await.unwrap().is_own());
    assert!(amqp.health().canary(PATIENCE).await.is_own());
    let dead_letters = DeadLetters::of_queue(&amqp, queue).unwrap();
    assert_eq!(dead_letters.count().await.unwrap(), 0);
    working.abort();
    let channel = channel(&url).await;
    assert_eq!(ready_count(&channel, "polywire.jobs.canaries.kept").await, 0);
}

async fn handlers_that_hang_hold_canaries_back_until_they_end(url: String) {
    let amqp = Amqp::connect(&url).await.unwrap();
    let (release, held) = watch::channel(false);
    let (begin, mut begun) = watch::channel(false);
    let router = Router::new(MessagePack).method("hang", move |(): ()| {
        let mut held = held.clone();
        begin.send_replace(true);
        async move {
            // An error is the end of the test.
            let _ = held.wait_for(|released| *released).await;
            Ok(())
        }
    });
    let server = Server::bind(&amqp, "canaries.slow").window(Window::new(1)).await.unwrap();
    tokio::spawn(server.serve(router));
    let client = client(&amqp, "canaries.slow").await;
    let call = tokio::spawn(async move { client.call::<()>("hang", &()).await });
    let health = amqp.health();
    timeout(PATIENCE, begun.wait_for(|begun| *begun)).await.unwrap().unwrap();
    // Connected and consuming: the canary alone detects the wait.
    assert!(health.current().is_ready());
    assert!(!health.canary(Duration::from_millis(500)).await.is_ok());
    release.send_replace(true);
    call.await.unwrap().unwrap();
    assert!(health.canary(PATIENCE).await.is_own());
}

async fn poison_job_leaves_its_worker_ready(url: String) {
    let (amqp, queue) = (Amqp::connect(&url).await.unwrap(), "canaries.poisoned");
    let worker = Worker::bind(&amqp, queue, MessagePack).attempts(2).await.unwrap();
    let work = async |poison: bool| if poison { panic!("out of cheese") } else { Ok(()) };
    tokio::spawn(worker.work(work));
    let pusher = Pusher::connect(&amqp, queue, MessagePack).await.unwrap();
    pusher.push(&true).await.unwrap();
    let dead_letters = DeadLetters::of_queue(&amqp, queue).unwrap();
    let dead = async { while dead_letters.count().await.ok() != Some(1) {} };
    timeout(PATIENCE, dead).await.expect("the job is dead-lettered");
    assert!(amqp.health().current().is_ready());
    assert!(amqp.health().canary(PATIENCE).await.is_own());
}

async fn deleted_queue_is_off_and_on_within_two_heartbeats(url: String) {
    let (proxy, builder) = through_proxy(&url).await;
    let amqp = builder.heartbeat(HEARTBEAT).build().await.unwrap();
    let _server = serve(&amqp, "canaries.deleted").await;
    let health = amqp.health();
    assert!(health.canary(PATIENCE).await.is_own());
    let mut changes = health.changes();
    until(&mut changes, Health::is_ready).await;
    let channel = channel(&url).await;
    // The consumer is registered again after some round trips, so the test sees it interrupted.
    proxy.delay(Duration::from_millis(100));
    let deleting = channel.queue_delete("polywire.canaries.deleted".into(), Default::default());
    deleting.await.unwrap();
    let deleted = Instant::now();
    let off = in_time(&mut changes, |health| !health.is_ready()).await;
    assert!(off.connection.is_connected() && off.consuming() == 0, "{off}");
    proxy.delay(Duration::ZERO);
    in_time(&mut changes, Health::is_ready).await;
    // A canary without a queue fails, and so does one to a queue without a consumer.
    while !health.canary(Duration::from_secs(1)).await.is_own() {
        assert!(deleted.elapsed() <= 2 * HEARTBEAT, "not after {:?}", deleted.elapsed());
    }
    assert!(health.current().is_ready());
}

async fn server_that_is_never_served_returns_no_canary(url: String) {
    let amqp = builder(&url).queue_kind(QueueKind::Classic).build().await.unwrap();
    let server = Server::bind(&amqp, "canaries.unserved").await.unwrap();
    let health = amqp.health();
    assert!(health.current().is_ready());
    assert!(!health.canary(Duration::from_millis(500)).await.is_ok());
    tokio::spawn(server.serve(Router::new(MessagePack)));
    assert!(health.canary(PATIENCE).await.is_own());
}

async fn refused_password_shows_at_the_first_refusal() {
    let node = Node::start().unwrap();
    // The transport gives up after two minutes. The refusal shows long before.
    let amqp = beating(&node.url()).await;
    let _server = serve(&amqp, "refused").await;
    let mut changes = amqp.health().changes();
    until(&mut changes, Health::is_ready).await;
    node.ctl(&["change_password", "guest", "changed"]).unwrap();
    node.ctl(&["close_all_connections", "rotation"]).unwrap();
    let refused = in_time(&mut changes, |health| health.connection.as_str() == "refused").await;
    let error = refused.connection.error().unwrap();
    assert_eq!((error.kind(), error.is_fatal()), (ErrorKind::Denied, false), "{error:?}");
    assert_eq!(error.detail("port"), Some(node.port().to_string().as_str()));
    assert!(!refused.is_ready());
    node.ctl(&["change_password", "guest", "guest"]).unwrap();
    in_time(&mut changes, Health::is_ready).await;
}

async fn refused_permission_shows_at_the_endpoint() {
    let node = Node::start().unwrap();
    node.ctl(&["add_user", "alice", "secret"]).unwrap();
    node.ctl(&["set_permissions", "alice", ".*", ".*", ".*"]).unwrap();
    let url = format!("amqp://alice:secret@127.0.0.1:{}", node.port());
    let amqp = beating(&url).await;
    let _server = serve(&amqp, "forbidden").await;
    let mut changes = amqp.health().changes();
    until(&mut changes, Health::is_ready).await;
    node.ctl(&["set_permissions", "alice", ".*", ".*", "^nothing$"]).unwrap();
    node.ctl(&["close_all_connections", "rotation"]).unwrap();
    let is_refused = |health: &Health| {
        let state = &health.endpoints[0].state;
        health.connection.is_connected() && matches!(state, EndpointState::Refused { .. })
    };
    let refused = in_time(&mut changes, is_refused).await;
    assert!(!refused.is_ready() && refused.consuming() == 0);
    let report = amqp.health().canary(PATIENCE).await;
    assert_eq!(report.endpoints[0].outcome.as_ref().unwrap_err().kind(), ErrorKind::Denied);
    node.ctl(&["set_permissions", "alice", ".*", ".*", ".*"]).unwrap();
    in_time(&mut changes, Health::is_ready).await;
}

async fn memory_alarm_is_blocked_until_it_ends() {
    let node = Node::start().unwrap();
    let amqp = beating(&node.url()).await;
    let _server = serve(&amqp, "alarmed").await;
    let news = Publisher::connect(&amqp, "alarm", MessagePack).timeout(PATIENCE).await.unwrap();
    let mut changes = amqp.health().changes();
    until(&mut changes, Health::is_ready).await;
    set_alarm(&node);
    // The broker blocks a connection at its next message.
    let publishing = tokio::spawn(async move { news.publish("x", &1).await });
    let blocked = in_time(&mut changes, |health| health.connection.as_str() == "blocked").await;
    assert!(blocked.connection.to_string().contains("memory"), "{blocked}");
    assert!(!blocked.is_ready() && blocked.consuming() == 1);
    clear_alarm(&node);
    in_time(&mut changes, Health::is_ready).await;
    publishing.await.unwrap().unwrap();
}

async fn canary_finds_the_alarm_for_a_program_that_only_consumes() {
    let node = Node::start().unwrap();
    let amqp = beating(&node.url()).await;
    let worker = Worker::bind(&amqp, "alarmed", MessagePack).await.unwrap();
    tokio::spawn(worker.work(async |_: u32| Ok(())));
    let health = amqp.health();
    let mut changes = health.changes();
    until(&mut changes, Health::is_ready).await;
    set_alarm(&node);
    // The broker may take the very message by which it learns that the connection publishes.
    health.canary(Duration::from_secs(1)).await;
    let blocked = in_time(&mut changes, |health| health.connection.as_str() == "blocked").await;
    assert!(blocked.connection.to_string().contains("memory"), "{blocked}");
    assert!(!blocked.is_ready() && blocked.consuming() == 1);
    assert!(!health.canary(Duration::from_secs(1)).await.is_ok());
    clear_alarm(&node);
    in_time(&mut changes, Health::is_ready).await;
    assert!(health.canary(PATIENCE).await.is_own());
}

async fn silent_link_is_off_and_on_within_two_heartbeats() {
    let node = Node::start().unwrap();
    let heartbeat = Duration::from_secs(3);
    let (proxy, builder) = through_proxy(&node.url()).await;
    let amqp = builder.heartbeat(heartbeat).build().await.unwrap();
    let _server = serve(&amqp, "silent").await;
    let client = client(&amqp, "silent").await;
    let mut changes = amqp.health().changes();
    until(&mut changes, Health::is_ready).await;
    let cut = Instant::now();
    proxy.black_hole(Direction::ToClient);
    proxy.black_hole(Direction::ToServer);
    let off = until(&mut changes, |health| !health.is_ready()).await;
    assert!(cut.elapsed() <= 2 * heartbeat, "off after {:?}: {off}", cut.elapsed());
    let healed = Instant::now();
    proxy.heal();
    proxy.sever();
    until(&mut changes, Health::is_ready).await;
    assert!(healed.elapsed() <= 2 * heartbeat, "on after {:?}", healed.elapsed());
    assert!(amqp.health().canary(PATIENCE).await.is_own());
    drop(client);
}
