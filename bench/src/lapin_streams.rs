//! Jobs and events over the bare client of RabbitMQ, with the protocol of polywire: durable queues,
//! persistent messages, confirms, and acknowledgements.
//!
//! A producer keeps a number of messages unconfirmed, and a consumer acknowledges many deliveries
//! at once.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;
use std::task::Poll;

use anyhow::{Context, Result};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Consumer, ExchangeKind};
use tokio::task::JoinSet;

use crate::deliveries::{Sequence, Tally, measure, numbered};
use crate::figures::Figures;
use crate::lapin_publisher::{
    Acks, OnConfirm, PREFETCH, connect, consume, is_confirmed, next, open_publisher, open_queue,
    poll_once,
};
use crate::trial::Order;

/// Unconfirmed events of a publisher.
///
/// The publisher of polywire has as many.
const UNCONFIRMED_EVENTS: usize = 256;
/// The routing key of each event.
const TOPIC: &str = "tick";

/// Declares a queue, prints the URL and the queue, and pushes jobs of this size with a number of
/// unconfirmed ones.
///
/// Returns only by an error.
pub(crate) async fn push(url: &str, size: usize, unconfirmed: usize) -> Result<()> {
    let queue = format!("bench.jobs.{}", std::process::id());
    let _channel = open_queue(url, &queue).await?;
    produce(url, &queue, ("", &queue), size, unconfirmed).await
}

/// Declares an exchange, prints the URL and the exchange, and publishes events of this size.
///
/// Returns only by an error.
pub(crate) async fn publish(url: &str, size: usize) -> Result<()> {
    let exchange = format!("bench.events.{}", std::process::id());
    let channel = connect(url).await?.create_channel().await?;
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let (kind, arguments) = (ExchangeKind::Topic, FieldTable::default());
    channel.exchange_declare(exchange.as_str().into(), kind, options, arguments).await?;
    produce(url, &exchange, (&exchange, TOPIC), size, UNCONFIRMED_EVENTS).await
}

/// Publishes numbered messages to an exchange with a routing key. The URL and `name` are printed
/// before.
///
/// The oldest message is awaited, and all confirmed ones after it are removed. Events are not
/// mandatory: the broker confirms and drops an event without a queue.
///
/// # Errors
///
/// If the broker rejects a message or returns a job, or if the connection is lost.
async fn produce(
    url: &str,
    name: &str,
    (exchange, routing_key): (&str, &str),
    size: usize,
    unconfirmed: usize,
) -> Result<()> {
    let publisher = open_publisher(url).await?;
    println!("{url} {name}");
    std::io::stdout().flush()?;
    let mut waiting = VecDeque::with_capacity(unconfirmed);
    for number in 0.. {
        let properties = BasicProperties::default().with_delivery_mode(2);
        let body = numbered(number, size).to_vec();
        waiting.push_back(publisher.publish(exchange.into(), routing_key.into(), body, properties));
        if waiting.len() < unconfirmed {
            continue;
        }
        if let Some(oldest) = waiting.pop_front() {
            is_confirmed(&oldest.await?)?;
        }
        while let Some(Poll::Ready(confirmation)) =
            waiting.front_mut().map(|publishing| poll_once(publishing.as_mut()))
        {
            is_confirmed(&confirmation?)?;
            waiting.pop_front();
        }
    }
    Ok(())
}

/// Measures the jobs of one consumer, which acknowledges each.
///
/// The consumer declares the queue with the arguments of the producer. RabbitMQ refuses others.
pub(crate) async fn work(at: &str, order: &Order) -> Result<Figures> {
    let (url, queue) = at.split_once(' ').context("the address has no queue")?;
    let channel = open_queue(url, queue).await?;
    let jobs = consume(&channel, queue, PREFETCH).await?;
    let (tally, mut consumers) = (Arc::new(Tally::default()), JoinSet::new());
    consumers.spawn(receive_all(jobs, channel, Sequence::new(tally.clone(), order.trial.body)));
    measure(order, 1, &tally, consumers).await
}

/// Measures the events of as many subscribers as the order says, each with a channel and a durable
/// queue of its own.
///
/// All channels share one connection. The broker removes a queue after a minute without use.
pub(crate) async fn subscribe(at: &str, order: &Order) -> Result<Figures> {
    let (url, exchange) = at.split_once(' ').context("the address has no exchange")?;
    let connection = connect(url).await?;
    let (tally, mut consumers) = (Arc::new(Tally::default()), JoinSet::new());
    for number in 0..order.trial.number {
        let channel = Arc::new(connection.create_channel().await?);
        let queue = format!("{exchange}.{number}");
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongInt(60_000));
        channel.queue_declare(queue.as_str().into(), durable, arguments).await?;
        let (options, arguments) = (QueueBindOptions::default(), FieldTable::default());
        channel
            .queue_bind(queue.as_str().into(), exchange.into(), TOPIC.into(), options, arguments)
            .await?;
        let events = consume(&channel, &queue, PREFETCH).await?;
        let sequence = Sequence::new(tally.clone(), order.trial.body);
        consumers.spawn(receive_all(events, channel, sequence));
    }
    measure(order, order.trial.number as u64, &tally, consumers).await
}

/// Receives and acknowledges deliveries, until the consumer ends.
async fn receive_all(
    mut consumer: Consumer,
    channel: Arc<Channel>,
    mut sequence: Sequence,
) -> Result<()> {
    let mut acks = Acks::new(channel);
    while let Some(delivery) = next(&mut consumer, &mut acks).await {
        let delivery = delivery?;
        sequence.accept(&delivery.data)?;
        acks.confirmed(delivery.delivery_tag);
    }
    Ok(())
}
