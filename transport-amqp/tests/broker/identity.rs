//! Which user sent what arrives, as the broker has verified it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::ShortString;
use libtest_mimic::Trial;
use polywire_amqp::{Amqp, Credentials};
use polywire_codec::MessagePack;
use polywire_core::{
    Client, Context, DeadLetters, Fault, Identity, Job, Publisher, Puller, Pusher, Router, Server,
    Subscriber, Transport, Window,
};
use polywire_rabbitmq_node::Node;
use tokio::time::timeout;

use crate::flow::{alarm, blocked, calm};
use crate::node;
use crate::outbound::restored;
use crate::stage::{PATIENCE, channel, client, until_dead, waiting};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        node("handler_is_told_which_user_sent_it", handler_is_told_which_user_sent_it),
        node("forged_user_is_refused_by_the_broker", forged_user_is_refused_by_the_broker),
        node("what_is_published_again_is_from_nobody", what_is_published_again_is_from_nobody),
        node("changed_user_is_told_from_the_next_connection_on", changed_user_is_told),
        node(
            "what_is_held_under_an_alarm_says_who_sent_it",
            what_is_held_under_an_alarm_says_who_sent_it,
        ),
        #[cfg(feature = "tls")]
        node("name_that_the_broker_does_not_know_us_by_is_left_out", unknown_name_is_left_out),
    ]
}

async fn handler_is_told_which_user_sent_it() {
    let node = with_users(&["alice", "bob"]);
    let serving = Amqp::connect(&node.url()).await.unwrap();
    assert!(serving.capabilities().security);
    serve(&serving, "whoami").await;
    let mut jobs = puller(&serving, "whose").await;
    let mut events: Subscriber<u32> =
        Subscriber::bind(&serving, "theirs", MessagePack).filter("#").await.unwrap();
    for user in ["alice", "bob"] {
        let amqp = Amqp::connect(&url_of(&node, user)).await.unwrap();
        assert_eq!(asked(&amqp, "whoami").await, user);
        push(&amqp, "whose").await;
        let job = next(&mut jobs).await;
        assert_eq!(sender(job.context()), user);
        job.ack();
        let publisher = Publisher::connect(&amqp, "theirs", MessagePack).await.unwrap();
        publisher.publish("x", &1).await.unwrap();
        let event = timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(sender(event.context()), user);
    }
    let silent =
        Amqp::builder(&url_of(&node, "alice")).unwrap().send_user_id(false).build().await.unwrap();
    assert!(!silent.capabilities().security);
    assert_eq!(asked(&silent, "whoami").await, "nobody");
}

/// A program that is not ours says a name: its own is as good as ours, and another one is refused.
async fn forged_user_is_refused_by_the_broker() {
    let node = with_users(&["alice", "bob"]);
    let serving = Amqp::connect(&node.url()).await.unwrap();
    let mut jobs = puller(&serving, "forged").await;
    let bob = channel(&url_of(&node, "bob")).await;
    bob.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    publish_as(&bob, "forged", "bob").await.unwrap();
    let job = next(&mut jobs).await;
    assert_eq!(sender(job.context()), "bob");
    job.ack();
    let refused = publish_as(&bob, "forged", "alice").await.unwrap_err();
    assert!(
        refused.to_string().contains("406") || refused.to_string().contains("PRECONDITION"),
        "{refused}"
    );
    assert!(!bob.status().connected());
    drop(jobs);
    assert_eq!(waiting(&channel(&node.url()).await, "polywire.jobs.forged").await, 0);
}

/// It is published by whoever gave it back, who is somebody else.
async fn what_is_published_again_is_from_nobody() {
    let node = with_users(&["alice"]);
    let serving = Amqp::connect(&node.url()).await.unwrap();
    let alice = Amqp::connect(&url_of(&node, "alice")).await.unwrap();
    let mut jobs = puller(&serving, "again").await;
    push(&alice, "again").await;
    let job = next(&mut jobs).await;
    assert_eq!(sender(job.context()), "alice");
    job.retry_after(Duration::from_millis(64), "later").unwrap();
    let job = next(&mut jobs).await;
    assert_eq!((sender(job.context()).as_str(), job.context().attempt), ("nobody", 2));
    job.requeue().unwrap();
    let job = next(&mut jobs).await;
    assert_eq!((sender(job.context()).as_str(), job.context().attempt), ("nobody", 3));
    job.ack();
    push(&alice, "again").await;
    next(&mut jobs).await.dead_letter("bad").unwrap();
    until_dead(&serving, "again", 1).await;
    assert_eq!(
        DeadLetters::of_queue(&serving, "again").unwrap().redrive(1, |_| true).await.unwrap(),
        1
    );
    let job = next(&mut jobs).await;
    assert_eq!((sender(job.context()).as_str(), job.context().redriven()), ("nobody", 1));
    job.ack();

    // Either server declines what has a sender, and so the other one gets it.
    for _ in 0..2 {
        let declining =
            Router::new(MessagePack).method("ask", |context: Context, (): ()| async move {
                if context.peer.is_some() {
                    Err(Fault::declined("signed"))
                } else {
                    Ok(sender(&context))
                }
            });
        let server = Server::bind(&serving, "declined").await.unwrap();
        tokio::spawn(server.serve(declining));
    }
    assert_eq!(asked(&alice, "declined").await, "nobody");
}

async fn changed_user_is_told() {
    let node = with_users(&["alice", "bob"]);
    let serving = Amqp::connect(&node.url()).await.unwrap();
    let mut jobs = puller(&serving, "changing").await;
    let user = Arc::new(Mutex::new("alice"));
    let shared = user.clone();
    let builder = Amqp::builder(&url_of(&node, "nobody")).unwrap().credentials(move || {
        let user = *shared.lock().unwrap();
        async move { Ok(Credentials::new(user, "secret")) }
    });
    let amqp = builder.build().await.unwrap();
    let pusher = pusher(&amqp, "changing").await;
    pusher.push(&1).await.unwrap();
    let job = next(&mut jobs).await;
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
    let job = next(&mut jobs).await;
    assert_eq!(sender(job.context()), "bob");
    job.ack();
}

/// The broker answers nothing until the alarm is over, and what is sent waits to be told from whom
/// it is.
async fn what_is_held_under_an_alarm_says_who_sent_it() {
    let node = with_users(&["alice"]);
    let serving = Amqp::connect(&node.url()).await.unwrap();
    let mut jobs = puller(&serving, "alarmed").await;
    alarm(&node);
    let amqp = Amqp::connect(&url_of(&node, "alice")).await.unwrap();
    let mut events = amqp.events();
    let pusher = pusher(&amqp, "alarmed").await;
    let pushing = tokio::spawn(async move { pusher.push(&1).await });
    blocked(&mut events).await;
    calm(&node);
    timeout(PATIENCE, pushing).await.expect("it goes out").unwrap().unwrap();
    let job = next(&mut jobs).await;
    assert_eq!(sender(job.context()), "alice");
    job.ack();
}

/// Where certificates say who somebody is, the broker takes the name from there.
#[cfg(feature = "tls")]
async fn unknown_name_is_left_out() {
    use crate::connecting::{certificate_folder, certificates};

    let folder = certificate_folder("identity");
    certificates(&folder);
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
    for (named, expected) in [("localhost@", "localhost"), ("somebody@", "nobody"), ("", "nobody")]
    {
        let files =
            format!("cacertfile={at}/ca.pem&certfile={at}/server.pem&keyfile={at}/server.key");
        let url = format!("amqps://{named}localhost:{port}?auth_mechanism=external&{files}");
        let amqp = Amqp::connect(&url).await.unwrap();
        assert_eq!(asked(&amqp, "certified").await, expected, "{named:?}");
        amqp.close().await.unwrap();
    }
}

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

fn sender(context: &Context) -> String {
    match context.peer.as_deref() {
        None => "nobody".into(),
        Some(Identity::User(user)) => user.to_string(),
        Some(other) => panic!("{other:?}"),
    }
}

async fn serve(amqp: &Amqp, service: &str) {
    let server = Server::bind(amqp, service).await.unwrap();
    let ask = |context: Context, (): ()| async move { Ok(sender(&context)) };
    tokio::spawn(server.serve(Router::new(MessagePack).method("ask", ask)));
}

async fn asked(amqp: &Amqp, service: &str) -> String {
    let client: Client<MessagePack> = client(amqp, service).await;
    client.request("ask").timeout(PATIENCE).call(&()).await.unwrap()
}

async fn pusher(amqp: &Amqp, queue: &str) -> Pusher<MessagePack> {
    Pusher::connect(amqp, queue, MessagePack).timeout(PATIENCE).await.unwrap()
}

async fn push(amqp: &Amqp, queue: &str) {
    pusher(amqp, queue).await.push(&1).await.unwrap();
}

async fn puller(amqp: &Amqp, queue: &str) -> Puller<u32> {
    Puller::bind(amqp, queue, MessagePack).window(Window::new(1)).await.unwrap()
}

async fn next(jobs: &mut Puller<u32>) -> Job<u32> {
    timeout(PATIENCE, jobs.next()).await.expect("a job comes").unwrap().unwrap()
}

/// A job that says that this user sends it, confirmed.
async fn publish_as(channel: &lapin::Channel, queue: &str, user: &str) -> lapin::Result<()> {
    let properties = BasicProperties::default()
        .with_content_type("application/msgpack".into())
        .with_user_id(ShortString::from(user));
    let (key, options) =
        (ShortString::from(format!("polywire.jobs.{queue}")), BasicPublishOptions::default());
    channel.basic_publish("".into(), key, options, b"\x01", properties).await?.await.map(drop)
}
