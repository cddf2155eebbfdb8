//! Clients that keep their name.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use polywire_amqp::{Amqp, ReplyMode};
use polywire_codec::MessagePack;
use polywire_core::{Address, Client, ErrorKind, Transport};
use polywire_rabbitmq_node::Node;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::context::{PATIENCE, both_restored, until};
use crate::endpoints::{builder, client, eventually_answered, serve, serve_gated};
use crate::engine::{channel, ready_count};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker restarted_client_finds_its_queue_and_drops_the_replies_in_it,
        broker second_client_of_a_name_is_refused,
        node named_client_reconnects_to_its_queue,
        broker client_name_that_cannot_be_used_is_refused_by_name,
    ]
}

async fn named(url: &str, name: &str) -> Amqp {
    builder(url).client_name(name).build().await.unwrap()
}

async fn restarted_client_finds_its_queue_and_drops_the_replies_in_it(url: String) {
    const QUEUE: &str = "polywire.reply.ask..billing-1";
    let (servers, gate) = (Amqp::connect(&url).await.unwrap(), Arc::new(Semaphore::new(0)));
    let handle = serve_gated(&servers, "named", &gate).await;
    let first = named(&url, "billing-1").await;
    let waiting = client(&first, "named").await;
    // The calls of both processes would have the same numbers, if those began at 0.
    let call = waiting.request("wait").timeout(PATIENCE).start::<u32>(&1).unwrap();
    until(|| handle.stats().running == 1).await;
    // Without a cancel, which would stop the handler.
    first.close().await.unwrap();
    drop(call);
    gate.add_permits(1);
    let raw = channel(&url).await;
    let late = async { while ready_count(&raw, QUEUE).await == 0 {} };
    timeout(PATIENCE, late).await.expect("the reply waits in the queue of the name");

    let second = named(&url, "billing-1").await;
    let again = client(&second, "named").await;
    assert_eq!(again.call::<u32>("double", &2).await.unwrap(), 4);
    let empty = async { while ready_count(&raw, QUEUE).await > 0 {} };
    timeout(PATIENCE, empty).await.expect("the old reply is taken");
    let stats = again.stats();
    assert_eq!((stats.late_replies, stats.bad_replies), (0, 0), "of an earlier process");
}

async fn second_client_of_a_name_is_refused(url: String) {
    let (one, other) = (named(&url, "twin").await, named(&url, "twin").await);
    let _server = serve(&one, "twins").await;
    let first = client(&one, "twins").await;
    let error = Client::connect(&other, "twins", MessagePack).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.to_string().contains("another client has it"), "{error}");
    assert_eq!(error.detail("queue"), Some("polywire.reply.ask..twin"));
    assert_eq!(first.call::<u32>("double", &2).await.unwrap(), 4);
    // The name is free again.
    one.close().await.unwrap();
    let _server = serve(&other, "twins").await;
    let second = client(&other, "twins").await;
    assert_eq!(second.call::<u32>("double", &3).await.unwrap(), 6);
}

async fn named_client_reconnects_to_its_queue() {
    let node = Node::start().unwrap();
    let amqp = named(&node.url(), "steady").await;
    let mut events = amqp.events();
    let _server = serve(&amqp, "steady").await;
    let client = client(&amqp, "steady").await;
    assert_eq!(client.call::<u32>("double", &2).await.unwrap(), 4);
    node.ctl(&["close_all_connections", "maintenance"]).unwrap();
    both_restored(&mut events).await;
    eventually_answered(&client).await;
}

async fn client_name_that_cannot_be_used_is_refused_by_name(url: String) {
    for refused in [
        builder(&url).client_name("two words"),
        builder(&url).client_name("").reply_mode(ReplyMode::Queue),
        builder(&url).client_name("direct").reply_mode(ReplyMode::Direct),
        builder(&format!("{url}?client_name=a..b")),
    ] {
        let error = timeout(Duration::from_secs(20), refused.build()).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert_eq!(error.detail("setting"), Some("client_name"), "{error:?}");
    }
    let name = Address::new("of.url").unwrap();
    let amqp = builder(&format!("{url}?client_name={name}")).build().await.unwrap();
    let _server = serve(&amqp, "url").await;
    assert_eq!(client(&amqp, "url").await.call::<u32>("double", &1).await.unwrap(), 2);
    assert_eq!(ready_count(&channel(&url).await, "polywire.reply.ask..of.url").await, 0);
}
