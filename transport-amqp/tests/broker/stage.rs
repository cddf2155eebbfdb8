//! What the tests work with.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::pipeline::DeadLetter;
use polywire_core::rpc::ServerHandle;
use polywire_core::{Address, Client, Context, DeadLetters, Puller, Router, Server, Window};
use polywire_rabbitmq_node::Node;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Longer than anything takes that does not hang.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Kills a node, and starts it again with its data, also what it was told a moment ago.
pub(crate) async fn killed_and_restarted(mut node: Node) -> Node {
    let restarting = tokio::task::spawn_blocking(move || {
        node.remember_queues().unwrap();
        node.kill().unwrap();
        node.restart().unwrap();
        node
    });
    restarting.await.unwrap()
}

pub(crate) async fn serve(amqp: &Amqp, service: &str) -> ServerHandle {
    let server = Server::bind(amqp, Address::new(service).unwrap()).await.unwrap();
    let handle = server.handle();
    let router = Router::new(MessagePack)
        .method("double", |n: u32| async move { Ok(2 * n) })
        .method("again", |context: Context, _: u32| async move { Ok(context.is_redelivered()) });
    tokio::spawn(server.serve(router));
    handle
}

/// A server of one request at a time, which waits for a permit.
pub(crate) async fn serve_gated(amqp: &Amqp, service: &str, gate: &Arc<Semaphore>) -> ServerHandle {
    let server =
        Server::bind(amqp, Address::new(service).unwrap()).window(Window::new(1)).await.unwrap();
    let handle = server.handle();
    let gate = gate.clone();
    let router = Router::new(MessagePack)
        .method("wait", move |n: u32| {
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                Ok(n)
            }
        })
        .method("double", |n: u32| async move { Ok(2 * n) });
    tokio::spawn(server.serve(router));
    handle
}

pub(crate) async fn client(amqp: &Amqp, service: &str) -> Client<MessagePack> {
    Client::connect(amqp, Address::new(service).unwrap(), MessagePack).await.unwrap()
}

/// The next job, acknowledged.
pub(crate) async fn next_job(jobs: &mut Puller<u32>) -> u32 {
    let job = timeout(PATIENCE, jobs.next()).await.expect("a job comes").unwrap().unwrap();
    let number = *job;
    job.ack();
    number
}

/// Calls until a call is answered.
pub(crate) async fn eventually_answered(client: &Client<MessagePack>) {
    let calling = async {
        while client.request("double").timeout(Duration::from_secs(2)).call::<u32>(&1).await.ok()
            != Some(2)
        {}
    };
    timeout(PATIENCE, calling).await.expect("a call is answered again");
}

pub(crate) async fn until(holds: impl Fn() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, looking).await.expect("it comes to be so");
}

/// The dead letters of a queue of jobs, once there are so many.
pub(crate) async fn until_dead(amqp: &Amqp, queue: &str, count: usize) -> Vec<DeadLetter> {
    let dead = DeadLetters::of_queue(amqp, queue).unwrap();
    let looking = async {
        loop {
            let letters = dead.look(count + 1).await.unwrap();
            if letters.len() >= count {
                return letters;
            }
        }
    };
    let letters = timeout(PATIENCE, looking).await.expect("they die");
    assert_eq!(letters.len(), count);
    letters
}

pub(crate) async fn channel(url: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    connection.create_channel().await.unwrap()
}

/// Consumes a durable queue of the default arguments, which is made if it is not there.
pub(crate) async fn consume(channel: &Channel, queue: &str) -> lapin::Consumer {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(ShortString::from(queue), durable, FieldTable::default()).await.unwrap();
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    channel.basic_consume(ShortString::from(queue), "".into(), options, arguments).await.unwrap()
}

/// How many messages of a queue nobody has been given.
pub(crate) async fn waiting(channel: &Channel, queue: &str) -> u32 {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare(ShortString::from(queue), passive, FieldTable::default());
    queue.await.unwrap().message_count()
}

/// Answers the next request with 1, and these headers.
pub(crate) async fn reply(channel: &Channel, requests: &mut lapin::Consumer, headers: FieldTable) {
    let request = timeout(PATIENCE, requests.next()).await.unwrap().unwrap().unwrap().properties;
    let properties = BasicProperties::default()
        .with_correlation_id(request.correlation_id().clone().unwrap())
        .with_content_type("application/msgpack".into())
        .with_headers(headers);
    publish(channel, request.reply_to().as_ref().unwrap().as_str(), properties).await;
}

/// Headers of which one is not UTF-8.
pub(crate) fn bad_text() -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert("note".into(), AMQPValue::LongString(b"\xff".to_vec().into()));
    headers
}

pub(crate) async fn publish(channel: &Channel, queue: &str, properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    channel
        .basic_publish("".into(), ShortString::from(queue), options, b"\x01", properties)
        .await
        .unwrap();
}

pub(crate) async fn delete(url: &str, queue: &str) {
    let channel = channel(url).await;
    channel
        .queue_delete(ShortString::from(queue), lapin::options::QueueDeleteOptions::default())
        .await
        .unwrap();
}
