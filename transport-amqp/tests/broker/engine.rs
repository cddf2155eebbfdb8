//! Raw AMQP operations, as another program would use them.

use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, QueueDeclareOptions,
    QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::time::timeout;

use crate::context::PATIENCE;

pub(crate) async fn channel(url: &str) -> Channel {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    connection.create_channel().await.unwrap()
}

/// Consumes a durable queue with the default arguments, and declares it.
pub(crate) async fn consume(channel: &Channel, queue: &str) -> lapin::Consumer {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(ShortString::from(queue), durable, FieldTable::default()).await.unwrap();
    let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
    channel.basic_consume(ShortString::from(queue), "".into(), options, arguments).await.unwrap()
}

/// Removes the next message from a queue, and returns its properties.
pub(crate) async fn consume_one(channel: &Channel, queue: &str) -> BasicProperties {
    let options = BasicGetOptions { no_ack: true };
    let looking = async {
        loop {
            if let Some(got) = channel.basic_get(queue.into(), options).await.unwrap() {
                return got.delivery.properties.clone();
            }
        }
    };
    timeout(PATIENCE, looking).await.expect("a message arrives")
}

/// Returns the number of messages in a queue that are not delivered to a consumer.
pub(crate) async fn ready_count(channel: &Channel, queue: &str) -> u32 {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare(ShortString::from(queue), passive, FieldTable::default());
    queue.await.unwrap().message_count()
}

/// Waits until all messages of a queue are delivered to consumers.
pub(crate) async fn until_delivered(channel: &Channel, queue: &str) {
    let looking = async { while ready_count(channel, queue).await > 0 {} };
    timeout(PATIENCE, looking).await.expect("all messages are delivered");
}

/// Waits until a queue is declared.
pub(crate) async fn until_declared(url: &str, queue: &str) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let looking = async {
        loop {
            // The broker closes the channel of a failed passive declaration.
            let channel = connection.create_channel().await.unwrap();
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await;
            if found.is_ok() {
                return;
            }
        }
    };
    timeout(PATIENCE, looking).await.expect("the queue is declared");
}

/// Publishes a reply of 1, with these headers, to the next request.
pub(crate) async fn reply(channel: &Channel, requests: &mut lapin::Consumer, headers: FieldTable) {
    let request = timeout(PATIENCE, requests.next()).await.unwrap().unwrap().unwrap().properties;
    let properties = BasicProperties::default()
        .with_correlation_id(request.correlation_id().clone().unwrap())
        .with_content_type("application/msgpack".into())
        .with_headers(headers);
    publish(channel, request.reply_to().as_ref().unwrap().as_str(), properties).await;
}

/// Returns headers with a value that is not UTF-8.
pub(crate) fn malformed_headers() -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert("note".into(), AMQPValue::LongString(b"\xff".to_vec().into()));
    headers
}

/// Publishes the number 1 to a queue.
pub(crate) async fn publish(channel: &Channel, queue: &str, properties: BasicProperties) {
    let options = BasicPublishOptions::default();
    channel
        .basic_publish("".into(), ShortString::from(queue), options, b"\x01", properties)
        .await
        .unwrap();
}

pub(crate) async fn delete_queue(url: &str, queue: &str) {
    let channel = channel(url).await;
    let options = QueueDeleteOptions::default();
    channel.queue_delete(ShortString::from(queue), options).await.unwrap();
}
