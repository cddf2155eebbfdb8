//! Users with few permissions: refusals that reach their cause alone, and queues that exist
//! already.

use futures_util::future::join_all;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ReplyMode};
use polywire_codec::MessagePack;
use polywire_core::{ErrorKind, Group, Publisher, Puller, Router, Server, Subscriber};
use polywire_rabbitmq_node::Node;

use crate::context::PATIENCE;
use crate::endpoints::{
    acked_job, client, next_event, publisher, puller, push, pusher, serve, subscriber,
};
use crate::engine::{channel, consume};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        node refused_exchange_fails_no_other_message,
        node refused_topic_fails_no_other_event,
        node oversized_message_fails_no_other_message,
        node named_size_limit_is_learned,
        node user_without_configure_uses_what_exists,
        node worker_that_could_keep_no_dead_letters_is_refused,
        node more_exchanges_than_channels_are_refused,
        node more_consumers_than_channels_are_refused,
    ]
}

/// Starts a node with the user `alice`, who has these permissions: configure, write, read.
fn with_alice(permissions: [&str; 3]) -> (Node, String) {
    let node = Node::start().unwrap();
    node.ctl(&["add_user", "alice", "secret"]).unwrap();
    let [configure, write, read] = permissions;
    node.ctl(&["set_permissions", "alice", configure, write, read]).unwrap();
    let url = format!("amqp://alice:secret@127.0.0.1:{}", node.port());
    (node, url)
}

async fn refused_exchange_fails_no_other_message() {
    let write = r"^(amq\..*|polywire\.(control|reply).*|polywire\.events\.allowed)$";
    let (_node, url) = with_alice([".*", write, ".*"]);
    let amqp = Amqp::connect(&url).await.unwrap();
    let _server = serve(&amqp, "neighbor").await;
    let client = client(&amqp, "neighbor").await;
    let forbidden = publisher(&amqp, "forbidden").await;
    let allowed = publisher(&amqp, "allowed").await;
    let numbers: Vec<u32> = (0..50).collect();
    for round in 0..20 {
        let calls = numbers.iter().map(|n| client.call::<u32>("double", n));
        let events = numbers.iter().map(|n| allowed.publish("a", n));
        let refused = numbers[..3].iter().map(|n| forbidden.publish("a", n));
        let calls = calls.collect::<Vec<_>>();
        let (calls, events, refused) =
            tokio::join!(join_all(calls), join_all(events), join_all(refused));
        for (n, call) in (0..).zip(calls) {
            assert_eq!(call.unwrap(), 2 * n, "round {round}");
        }
        for event in events {
            event.unwrap();
        }
        for refused in refused {
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
            assert_eq!(error.detail("exchange"), Some("polywire.events.forbidden"));
        }
    }
}

async fn refused_topic_fails_no_other_event() {
    let (node, url) = with_alice([".*", ".*", ".*"]);
    let amqp = Amqp::connect(&url).await.unwrap();
    let publisher = publisher(&amqp, "topics").await;
    // RabbitMQ 4.3 takes permissions for an exchange that exists alone.
    node.ctl(&["set_topic_permissions", "alice", "polywire.events.topics", "^good", ".*"]).unwrap();
    let numbers: Vec<u32> = (0..50).collect();
    for _ in 0..5 {
        let good = numbers.iter().map(|n| publisher.publish("good.a", n));
        let (good, bad) = tokio::join!(join_all(good), publisher.publish("bad.a", &1));
        good.into_iter().for_each(|event| event.unwrap());
        let error = bad.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    }
}

async fn oversized_message_fails_no_other_message() {
    let node = Node::start_with("max_message_size = 1048576").unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let server = Server::bind(&amqp, "sized").await.unwrap();
    let router = Router::new(MessagePack)
        .method("double", |n: u32| async move { Ok(2 * n) })
        .method("measure", |text: String| async move { Ok(text.len()) });
    tokio::spawn(server.serve(router));
    let client = client(&amqp, "sized").await;
    let numbers: Vec<u32> = (0..50).collect();
    let large = "x".repeat(2 << 20);
    for _ in 0..5 {
        let calls = numbers.iter().map(|n| client.call::<u32>("double", n));
        let measuring = client.request("measure").timeout(PATIENCE).call::<usize>(&large);
        let (calls, refused) = tokio::join!(join_all(calls.collect::<Vec<_>>()), measuring);
        for call in calls {
            call.unwrap();
        }
        assert_eq!(refused.unwrap_err().kind(), Some(ErrorKind::TooLarge));
    }
    let fits = "x".repeat(1_000_000);
    assert_eq!(client.call::<usize>("measure", &fits).await.unwrap(), 1_000_000);
}

/// A broker with a limit below 1 MiB, under both modes of replies.
async fn named_size_limit_is_learned() {
    let node = Node::start_with("max_message_size = 262144").unwrap();
    let servers = Amqp::connect(&node.url()).await.unwrap();
    let _server = serve(&servers, "learned").await;
    let numbers: Vec<u32> = (0..50).collect();
    let large = "x".repeat(300_000);
    for mode in [ReplyMode::Queue, ReplyMode::Direct] {
        let amqp = Amqp::builder(&node.url()).unwrap().reply_mode(mode).build().await.unwrap();
        let client = client(&amqp, "learned").await;
        let too_large = || client.request("double").timeout(PATIENCE).call::<u32>(&large);
        // The broker names its limit, and closes the channel of all: with direct replies, the call
        // may fail by the lost channel first.
        while too_large().await.unwrap_err().kind() != Some(ErrorKind::TooLarge) {
            assert_eq!(mode, ReplyMode::Direct);
        }
        // An answer proves that no loss of the channel is left to be reported.
        while client.call::<u32>("double", &1).await.is_err() {}
        for _ in 0..5 {
            let calls = numbers.iter().map(|n| client.call::<u32>("double", n));
            let (calls, refused) = tokio::join!(join_all(calls.collect::<Vec<_>>()), too_large());
            for call in calls {
                call.unwrap();
            }
            let error = refused.unwrap_err();
            assert_eq!(error.kind(), Some(ErrorKind::TooLarge), "{mode:?}: {error:?}");
            assert!(error.to_string().contains("262144"), "{error}");
        }
    }
}

async fn user_without_configure_uses_what_exists() {
    // A subscriber without a group and the replies need queues of their own.
    let own = r"^polywire\.(reply\..*|control\..*|events\..*\.\.own\..*)$";
    let (node, url) = with_alice([own, ".*", ".*"]);
    let admin = Amqp::connect(&node.url()).await.unwrap();
    let _server = serve(&admin, "existing").await;
    drop((pusher(&admin, "existing").await, publisher(&admin, "existing").await));
    // The operator declares it beforehand, too.
    consume(&channel(&node.url()).await, "polywire.dead.jobs.existing").await;
    let alice = Amqp::connect(&url).await.unwrap();
    push(&alice, "existing", [1]).await;
    assert_eq!(acked_job(&mut puller(&alice, "existing", 1).await).await, 1);
    let _second = serve(&alice, "existing").await;
    let client = client(&alice, "existing").await;
    assert_eq!(client.call::<u32>("double", &4).await.unwrap(), 8);
    let mut events = subscriber(&alice, "existing", &["#"]).await;
    publisher(&alice, "existing").await.publish("a", &3).await.unwrap();
    assert_eq!(*next_event(&mut events).await, 3);
    let missing = polywire_core::Pusher::connect(&alice, "missing", MessagePack).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::Denied);
}

async fn worker_that_could_keep_no_dead_letters_is_refused() {
    let configure = r"^polywire\.(jobs|retry|events|control|lost).*$";
    let (node, url) = with_alice([configure, ".*", ".*"]);
    let alice = Amqp::connect(&url).await.unwrap();
    let bound = Puller::<u32>::bind(&alice, "lost", MessagePack).await;
    let error = bound.expect_err("dead letters could not be kept");
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert_eq!(error.detail("queue"), Some("polywire.dead.jobs.lost"));
    assert_eq!(error.detail("dead_letters_of"), Some("polywire.jobs.lost"));
    let group = Group::new("members").unwrap();
    let bound = Subscriber::<u32>::bind(&alice, "lost", MessagePack).group(group).await;
    assert_eq!(bound.err().map(|error| error.kind()), Some(ErrorKind::Denied));
    // A server works without, and so does a subscriber that has no dead letters.
    let _server = serve(&alice, "lost").await;
    let _subscriber = subscriber(&alice, "lost", &["#"]).await;
    // The check has declared nothing.
    let queues = node.ctl(&["list_queues", "name"]).unwrap();
    assert!(!queues.contains("polywire.dead"), "{queues}");
    // A queue that exists needs no right.
    consume(&channel(&node.url()).await, "polywire.dead.jobs.lost").await;
    Puller::<u32>::bind(&alice, "lost", MessagePack).await.unwrap();
}

async fn more_exchanges_than_channels_are_refused() {
    let node = Node::start_with("channel_max = 64").unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let (mut publishers, mut refused) = (Vec::new(), None);
    for n in 0..70 {
        match Publisher::connect(&amqp, format!("many.{n}").as_str(), MessagePack).await {
            Ok(publisher) => {
                publisher.publish("a", &n).await.unwrap();
                publishers.push(publisher);
            }
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let error = refused.expect("a publisher is refused");
    assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::Config, true), "{error:?}");
    assert_eq!(error.detail("channel_max"), Some("64"));
    let exchange = format!("polywire.events.many.{}", publishers.len());
    assert_eq!(error.detail("exchange"), Some(exchange.as_str()));
    assert_eq!(publishers.len(), 16);
    // Another publisher of the same exchange needs no channel, and a closed one leaves room.
    Publisher::connect(&amqp, "many.0", MessagePack).await.unwrap();
    drop(publishers.pop());
    let again = Publisher::connect(&amqp, "again", MessagePack).await.unwrap();
    again.publish("a", &1).await.unwrap();
}

async fn more_consumers_than_channels_are_refused() {
    let node = Node::start_with("channel_max = 64").unwrap();
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let (mut servers, mut refused) = (Vec::new(), None);
    for n in 0..40 {
        let name = polywire_core::Address::new(format!("many.{n}")).unwrap();
        match Server::bind(&amqp, name).await {
            Ok(server) => servers.push(server),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let error = refused.expect("a server is refused");
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert_eq!(error.detail("channel_max"), Some("64"));
    assert!(format!("{error:?}").contains(&format!("many.{}", servers.len())), "{error:?}");
    assert_eq!(servers.len(), 16);
    // The others work, and a closed one leaves room.
    drop(servers.pop());
    let binding = async {
        while Server::bind(&amqp, "again").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, binding).await.expect("a closed server leaves its channels");
    let _server = serve(&Amqp::connect(&node.url()).await.unwrap(), "other").await;
    assert_eq!(client(&amqp, "other").await.call::<u32>("double", &1).await.unwrap(), 2);
}
