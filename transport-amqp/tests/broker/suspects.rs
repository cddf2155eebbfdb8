//! Queues of suspects: their arguments, the identity of a suspect, and copies under way.

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::{AMQPValue, FieldTable, ShortString};
use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::{Client, Context, Identity, Router, Server, Transport};
use polywire_rabbitmq_node::Node;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::context::{PATIENCE, through_proxy};
use crate::endpoints::{acked_job, next_job, puller, push};
use crate::engine::{channel, delete_queue, ready_count};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        node isolated_request_names_its_sender_if_that_is_our_user,
        broker suspects_with_other_arguments_keep_no_consumer_from_its_work,
        broker job_outlives_a_channel_that_is_given_up_during_its_copy,
        node suspects_of_a_user_that_may_not_read_them_are_not_isolated,
    ]
}

/// A server that never replies is closed, and another one gets its requests isolated.
async fn isolated_request_names_its_sender_if_that_is_our_user() {
    let node = Node::start().unwrap();
    node.ctl(&["add_user", "alice", "secret"]).unwrap();
    node.ctl(&["set_permissions", "alice", ".*", ".*", ".*"]).unwrap();
    let alice = format!("amqp://alice:secret@127.0.0.1:{}", node.port());
    let alice = Amqp::connect(&alice).await.unwrap();
    let guest = Amqp::connect(&node.url()).await.unwrap();
    let dying = Amqp::connect(&node.url()).await.unwrap();
    let other = Amqp::connect(&node.url()).await.unwrap();
    let (begun, mut begins) = mpsc::unbounded_channel();
    serve(&dying, move |_| {
        begun.send(()).unwrap();
        true
    })
    .await;
    let mut calls = Vec::new();
    for amqp in [&alice, &guest] {
        let client = Client::connect(amqp, "named", MessagePack).await.unwrap();
        calls.push(client.request("ask").timeout(PATIENCE).start::<String>(&()).unwrap());
        timeout(PATIENCE, begins.recv()).await.unwrap().unwrap();
    }
    serve(&other, |context| !context.is_redelivered()).await;
    dying.close().await.unwrap();
    let [by_alice, by_guest] = calls.try_into().unwrap();
    // The copy of a message of alice must not name the server's user as its sender.
    assert_eq!(by_alice.await.unwrap(), "none");
    assert_eq!(by_guest.await.unwrap(), "guest");
}

/// Starts a server that replies with the sender, or never if `waits`.
async fn serve(amqp: &Amqp, waits: impl Fn(&Context) -> bool + Clone + Send + Sync + 'static) {
    let server = Server::bind(amqp, "named").await.unwrap();
    let router = Router::new(MessagePack).method("ask", move |context: Context, (): ()| {
        let waits = waits(&context);
        async move {
            if waits {
                std::future::pending::<()>().await;
            }
            Ok(match context.peer.as_deref() {
                None => "none".to_owned(),
                Some(Identity::User(user)) => user.to_string(),
                Some(other) => format!("{other:?}"),
            })
        }
    });
    tokio::spawn(server.serve(router));
}

async fn declare_with_ttl(url: &str, queue: &str) {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let mut arguments = FieldTable::default();
    arguments.insert("x-message-ttl".into(), AMQPValue::LongInt(600_000));
    let channel = channel(url).await;
    channel.queue_declare(ShortString::from(queue), durable, arguments).await.unwrap();
}

async fn suspects_with_other_arguments_keep_no_consumer_from_its_work(url: String) {
    let suspects = "polywire.jobs.differing..suspects";
    declare_with_ttl(&url, suspects).await;
    let [dying, amqp] = [(); 2].map(|()| Amqp::connect(&url));
    let (dying, amqp) = (dying.await.unwrap(), amqp.await.unwrap());
    push(&amqp, "differing", [1]).await;
    let mut jobs = puller(&dying, "differing", 1).await;
    let held = next_job(&mut jobs).await;
    let mut jobs = puller(&amqp, "differing", 1).await;
    dying.close().await.unwrap();
    drop(held);
    let job = next_job(&mut jobs).await;
    assert!(job.context().is_redelivered() && job.context().attempt == 1, "{:?}", job.context());
    job.ack();
    // The broker cancels the consumer of a deleted queue, and both consumers come back.
    delete_queue(&url, suspects).await;
    push(&amqp, "differing", [2]).await;
    assert_eq!(acked_job(&mut jobs).await, 2);
}

/// A copy is under way when the broker cancels a consumer, so that its channel is given up.
async fn job_outlives_a_channel_that_is_given_up_during_its_copy(url: String) {
    let (proxy, builder) = through_proxy(&url).await;
    let amqp = builder.build().await.unwrap();
    push(&amqp, "given.up", [1]).await;
    let mut jobs = puller(&amqp, "given.up", 1).await;
    let job = next_job(&mut jobs).await;
    // The copy takes some round trips, and the cancellation half of one.
    proxy.delay(Duration::from_millis(60));
    job.retry_after(Duration::from_millis(64), "again").unwrap();
    delete_queue(&url, "polywire.jobs.given.up..suspects").await;
    let job = next_job(&mut jobs).await;
    assert_eq!((*job, job.context().attempt), (1, 2));
    job.ack();
    proxy.delay(Duration::ZERO);
    push(&amqp, "given.up", [2]).await;
    assert_eq!(acked_job(&mut jobs).await, 2);
    amqp.close().await.unwrap();
    let counting = channel(&url).await;
    for queue in ["polywire.jobs.given.up", "polywire.jobs.given.up..suspects"] {
        assert_eq!(ready_count(&counting, queue).await, 0, "{queue}");
    }
}

async fn suspects_of_a_user_that_may_not_read_them_are_not_isolated() {
    let node = Node::start().unwrap();
    node.ctl(&["add_user", "alice", "secret"]).unwrap();
    let read = r"^.*([^s]|[^t]s|[^c]ts)$";
    node.ctl(&["set_permissions", "alice", ".*", ".*", read]).unwrap();
    let alice = format!("amqp://alice:secret@127.0.0.1:{}", node.port());
    let amqp = Amqp::connect(&alice).await.unwrap();
    push(&amqp, "unread", [1]).await;
    let mut jobs = puller(&amqp, "unread", 1).await;
    let job = next_job(&mut jobs).await;
    // The refused consumer of the suspects has cost no attempt.
    assert_eq!((*job, job.context().attempt), (1, 1));
    job.ack();
}
