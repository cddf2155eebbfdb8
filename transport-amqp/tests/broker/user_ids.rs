//! User ids, by which the broker verifies the sender of a message.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, Credentials};
use polywire_codec::MessagePack;
use polywire_core::{
    Client, Context, DeadLetters, Fault, Identity, Publisher, Router, Server, Subscriber, Transport,
};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::context::{PATIENCE, blocked, clear_alarm, restored, set_alarm};
use crate::endpoints::{client, dead_letters, next_job, puller, pusher};
use crate::engine::{channel, ready_count};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        node handler_gets_the_user_of_the_sender,
        node forged_user_id_is_refused_by_the_broker,
        node republished_messages_have_no_user_id,
        node copies_name_the_user_that_sent_the_original_and_publishes_them,
        node changed_user_is_named_after_the_next_connect,
        node messages_buffered_under_an_alarm_name_their_sender,
        #[cfg(feature = "tls")]
        node refused_user_id_is_left_out,
    ]
}

async fn handler_gets_the_user_of_the_sender() {
    let node = with_users(&["alice", "bob"]);
    let serving = Amqp::connect(&node.url()).await.unwrap();
    assert!(serving.capabilities().security);
    serve(&serving, "whoami").await;
    let mut jobs = puller(&serving, "sent.jobs", 1).await;
    let mut events: Subscriber<u32> =
        Subscriber::bind(&serving, "sent.events", MessagePack).filter("#").await.unwrap();
    for user in ["alice", "bob"] {
        let amqp = Amqp::connect(&url_of(&node, user)).await.unwrap();
        assert_eq!(asked(&amqp, "whoami").await, user);
        push(&amqp, "sent.jobs").await;
        let job = next_job(&mut jobs).await;
        assert_eq!(sender(job.context()), user);
        job.ack();
        let publisher = Publisher::connect(&amqp, "sent.events", MessagePack).await.unwrap();
        publisher.publish("x", &1).await.unwrap();
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(sender(event.context()), user);
    }
    let anonymous =
        Amqp::builder(&url_of(&node, "alice")).unwrap().send_user_id(false).build().await.unwrap();
    assert!(!anonymous.capabilities().security);
    assert_eq!(asked(&anonymous, "whoami").await, "none");
}

/// The broker accepts the name of another program's own user, and refuses any other name.
async fn forged_user_id_is_refused_by_the_broker() {
    let node = with_users(&["alice", "bob"]);
    let serving = Amqp::connect(&node.url()).await.unwrap();
    let mut jobs = puller(&serving, "forged", 1).await;
    let bob = channel(&url_of(&node, "bob")).await;
    bob.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    publish_as(&bob, "forged", "bob").await.unwrap();
    let job = next_job(&mut jobs).await;
    assert_eq!(sender(job.context()), "bob");
    job.ack();
    let refused = publish_as(&bob, "forged", "alice").await.unwrap_err();
    assert!(
        refused.to_string().contains("406") || refused.to_string().contains("PRECONDITION"),
        "{refused}"
    );
    assert!(!bob.status().connected());
    drop(jobs);
    assert_eq!(ready_count(&channel(&node.url()).await, "polywire.jobs.forged").await, 0);
}

/// The publisher of the copy is not the sender of the message.
async fn republished_messages_have_no_user_id() {
    let node = with_users(&["alice"]);
    let serving = Amqp::connect(&node.url()).await.unwrap();
    let alice = Amqp::connect(&url_of(&node, "alice")).await.unwrap();
    let mut jobs = puller(&serving, "again", 1).await;
    push(&alice, "again").await;
    let job = next_job(&mut jobs).await;
    assert_eq!(sender(job.context()), "alice");
    job.retry_after(Duration::from_millis(64), "later").unwrap();
    let job = next_job(&mut jobs).await;
    assert_eq!((sender(job.context()).as_str(), job.context().attempt), ("none", 2));
    job.requeue().unwrap();
    let job = next_job(&mut jobs).await;
    assert_eq!((sender(job.context()).as_str(), job.context().attempt), ("none", 3));
    job.ack();
    push(&alice, "again").await;
    next_job(&mut jobs).await.dead_letter("bad").unwrap();
    dead_letters(&serving, "again", 1).await;
    assert_eq!(
        DeadLetters::of_queue(&serving, "again").unwrap().redrive(1, |_| true).await.unwrap(),
        1
    );
    let job = next_job(&mut jobs).await;
    assert_eq!((sender(job.context()).as_str(), job.context().redriven()), ("none", 1));
    job.ack();

    // Each server declines requests with a sender, so the other one gets the copy.
    for _ in 0..2 {
        let declining =
            Router::new(MessagePack).method("ask", |context: Context, (): ()| async move {
                if context.peer.is_some() {
                    Err(Fault::declined("has a sender"))
                } else {
                    Ok(sender(&context))
                }
            });
        let server = Server::bind(&serving, "declined").await.unwrap();
        tokio::spawn(server.serve(declining));
    }
    assert_eq!(asked(&alice, "declined").await, "none");
}

/// Here, the sender of a copy is the sender of the message.
async fn copies_name_the_user_that_sent_the_original_and_publishes_them() {
    let node = with_users(&[]);
    let amqp = Amqp::connect(&node.url()).await.unwrap();
    let mut jobs = puller(&amqp, "own", 1).await;
    push(&amqp, "own").await;
    next_job(&mut jobs).await.retry_after(Duration::from_millis(64), "later").unwrap();
    let job = next_job(&mut jobs).await;
    assert_eq!((sender(job.context()).as_str(), job.context().attempt), ("guest", 2));
    job.requeue().unwrap();
    let job = next_job(&mut jobs).await;
    assert_eq!((sender(job.context()).as_str(), job.context().attempt), ("guest", 3));
    job.dead_letter("bad").unwrap();
    dead_letters(&amqp, "own", 1).await;
    let redriven = DeadLetters::of_queue(&amqp, "own").unwrap().redrive(1, |_| true).await;
    assert_eq!(redriven.unwrap(), 1);
    let job = next_job(&mut jobs).await;
    assert_eq!(sender(job.context()), "guest");
    job.ack();
    // A message without a sender gets none.
    let anonymous = Amqp::builder(&node.url()).unwrap().send_user_id(false).build().await.unwrap();
    push(&anonymous, "own").await;
    next_job(&mut jobs).await.retry_after(Duration::from_millis(64), "later").unwrap();
    let job = next_job(&mut jobs).await;
    assert_eq!((sender(job.context()).as_str(), job.context().attempt), ("none", 2));
    job.ack();
}

async fn changed_user_is_named_after_the_next_connect() {
    let node = with_users(&["alice", "bob"]);
    let serving = Amqp::connect(&node.url()).await.unwrap();
    let mut jobs = puller(&serving, "changing", 1).await;
    let user = Arc::new(Mutex::new("alice"));
    let shared = user.clone();
    let builder = Amqp::builder(&url_of(&node, "nobody")).unwrap().credentials(move || {
        let user = *shared.lock().unwrap();
        async move { Ok(Credentials::new(user, "secret")) }
    });
    let amqp = builder.build().await.unwrap();
    let pusher = pusher(&amqp, "changing").await;
    pusher.push(&1).await.unwrap();
    let job = next_job(&mut jobs).await;
    assert_eq!(sender(job.context()), "alice");
    job.ack();
    *user.lock().unwrap() = "bob";
    let mut events = amqp.events();
    let connections = node.ctl(&["list_connections", "pid", "user"]).unwrap();
    for connection in connections.lines().filter(|line| line.ends_with("\talice")) {
        node.ctl(&["close_connection", connection.split('\t').next().unwrap(), "rotation"])
            .unwrap();
    }
    restored(&mut events).await;
    pusher.push(&2).await.unwrap();
    let job = next_job(&mut jobs).await;
    assert_eq!(sender(job.context()), "bob");
    job.ack();
}

/// The broker validates no user id under an alarm, and messages wait for that.
async fn messages_buffered_under_an_alarm_name_their_sender() {
    let node = with_users(&["alice"]);
    let serving = Amqp::connect(&node.url()).await.unwrap();
    let mut jobs = puller(&serving, "alarmed", 1).await;
    set_alarm(&node);
    let amqp = Amqp::connect(&url_of(&node, "alice")).await.unwrap();
    let mut events = amqp.events();
    let pusher = pusher(&amqp, "alarmed").await;
    let pushing = tokio::spawn(async move { pusher.push(&1).await });
    blocked(&mut events).await;
    clear_alarm(&node);
    timeout(PATIENCE, pushing).await.expect("the job is published").unwrap().unwrap();
    let job = next_job(&mut jobs).await;
    assert_eq!(sender(job.context()), "alice");
    job.ack();
}

/// With certificates, the broker takes the name of the user from there.
#[cfg(feature = "tls")]
async fn refused_user_id_is_left_out() {
    use crate::certificates::{certificate_folder, create_certificates};

    let folder = certificate_folder("identity");
    create_certificates(&folder);
    let at = folder.display();
    let node = polywire_rabbitmq_node::Setup::new()
        .certificates(&folder)
        .plugin("rabbitmq_auth_mechanism_ssl")
        .config("auth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\nssl_cert_login_from = common_name")
        .start()
        .unwrap();
    add_user(&node, "localhost");
    let serving = Amqp::connect(&node.url()).await.unwrap();
    serve(&serving, "certified").await;
    let port = node.tls_port().unwrap();
    for (named, expected) in [("localhost@", "localhost"), ("other@", "none"), ("", "none")] {
        let files =
            format!("cacertfile={at}/ca.pem&certfile={at}/server.pem&keyfile={at}/server.key");
        let url = format!("amqps://{named}localhost:{port}?auth_mechanism=external&{files}");
        let amqp = Amqp::connect(&url).await.unwrap();
        assert_eq!(asked(&amqp, "certified").await, expected, "{named:?}");
        amqp.close().await.unwrap();
    }
}

/// Starts a node with further users, whose passwords are `secret`.
fn with_users(users: &[&str]) -> Node {
    let node = Node::start().unwrap();
    for user in users {
        add_user(&node, user);
    }
    node
}

fn add_user(node: &Node, user: &str) {
    node.ctl(&["add_user", user, "secret"]).unwrap();
    node.ctl(&["set_permissions", user, ".*", ".*", ".*"]).unwrap();
}

fn url_of(node: &Node, user: &str) -> String {
    format!("amqp://{user}:secret@127.0.0.1:{}", node.port())
}

/// Returns the verified user of a sender, or `none`.
fn sender(context: &Context) -> String {
    match context.peer.as_deref() {
        None => "none".into(),
        Some(Identity::User(user)) => user.to_string(),
        Some(other) => panic!("{other:?}"),
    }
}

/// Starts a server that replies with the user of the sender.
async fn serve(amqp: &Amqp, service: &str) {
    let server = Server::bind(amqp, service).await.unwrap();
    let ask = |context: Context, (): ()| async move { Ok(sender(&context)) };
    tokio::spawn(server.serve(Router::new(MessagePack).method("ask", ask)));
}

/// Returns the user that a server sees in a call.
async fn asked(amqp: &Amqp, service: &str) -> String {
    let client: Client<MessagePack> = client(amqp, service).await;
    client.request("ask").timeout(PATIENCE).call(&()).await.unwrap()
}

async fn push(amqp: &Amqp, queue: &str) {
    pusher(amqp, queue).await.push(&1).await.unwrap();
}

/// Publishes a job with this user id, and waits for its confirm.
async fn publish_as(channel: &lapin::Channel, queue: &str, user: &str) -> lapin::Result<()> {
    let properties = BasicProperties::default()
        .with_content_type("application/msgpack".into())
        .with_user_id(ShortString::from(user));
    let (key, options) =
        (ShortString::from(format!("polywire.jobs.{queue}")), BasicPublishOptions::default());
    channel.basic_publish("".into(), key, options, b"\x01", properties).await?.await.map(drop)
}
