//! Jobs and events over polywire.

use std::future::ready;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use polywire::{MessagePack, Publisher, Pusher, Subscriber, Window, Worker};
use serde_bytes::{ByteBuf, Bytes};
use tokio::task::JoinSet;

use crate::deliveries::{Sequence, Tally, measure, numbered};
use crate::figures::Figures;
use crate::idle;
use crate::polywire_serving::Serving;
use crate::trial::Order;

/// Unconfirmed events of a publisher, where a broker confirms.
///
/// The publisher over the bare client of RabbitMQ has as many.
const UNCONFIRMED_EVENTS: usize = 256;
/// Events after which a publisher without a broker yields to other tasks.
const TURN: u64 = 256;
/// Messages that a consumer may hold.
///
/// The prefetch of the bare client of RabbitMQ is the same.
const WINDOW: Window = Window::new(1024);
/// The topic of each event.
const TOPIC: &str = "tick";

/// Prints the address, and pushes jobs of this size with a number of unconfirmed ones.
///
/// Returns only by an error.
pub(crate) async fn push(url: &str, size: usize, unconfirmed: usize) -> Result<()> {
    let serving = Serving::open(url).await?;
    let pusher = Pusher::connect(&serving.transport, serving.name.as_str(), MessagePack).await?;
    serving.print_address()?;
    let pushing = stream::iter(0..).map(|number| {
        let pusher = &pusher;
        async move { pusher.push(Bytes::new(&numbered(number, size))).await }
    });
    Ok(pushing.buffered(unconfirmed).try_for_each(|()| ready(Ok(()))).await?)
}

/// Prints the address, and publishes events of this size. Publishes none if there is no size.
///
/// Returns only by an error.
///
/// Without a broker, one event is sent after the other. With one, up to 256 wait for their
/// confirms.
pub(crate) async fn publish(url: &str, size: Option<usize>) -> Result<()> {
    let serving = Serving::open(url).await?;
    let name = serving.name.as_str();
    let publisher = Publisher::connect(&serving.transport, name, MessagePack).await?;
    serving.print_address()?;
    let Some(size) = size else { std::future::pending().await };
    let event = |number| {
        let publisher = &publisher;
        async move { publisher.publish(TOPIC, Bytes::new(&numbered(number, size))).await }
    };
    if !serving.is_zmq() {
        let publishing = stream::iter(0..).map(event).buffered(UNCONFIRMED_EVENTS);
        return Ok(publishing.try_for_each(|()| ready(Ok(()))).await?);
    }
    for number in 0.. {
        event(number).await?;
        if number.is_multiple_of(TURN) {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Measures the jobs of one worker.
///
/// A job counts when its handler is called, and not when it is acknowledged.
pub(crate) async fn work(at: &str, order: &Order) -> Result<Figures> {
    let (url, name) = at.split_once(' ').context("the address has no queue")?;
    let transport = polywire::connect(url).await?;
    let worker = Worker::bind(&transport, name, MessagePack).window(WINDOW).await?;
    let (tally, size) = (Arc::new(Tally::default()), order.trial.body);
    let counting = tally.clone();
    let serving = worker.work(move |job: ByteBuf| {
        counting.accept(&job, size);
        async move { Ok(()) }
    });
    let mut consumers = JoinSet::new();
    consumers.spawn(async move {
        serving.await?;
        Ok(())
    });
    measure(order, 1, &tally, consumers).await
}

/// Measures the events of as many subscribers as the order says.
pub(crate) async fn subscribe(at: &str, order: &Order) -> Result<Figures> {
    let tally = Arc::new(Tally::default());
    let consumers = subscribe_all(at, order, &tally).await?;
    measure(order, order.trial.number as u64, &tally, consumers).await
}

/// Returns the processor time of as many subscriptions as the order says, to a publisher without
/// events.
pub(crate) async fn idle_subscriptions(at: &str, order: &Order) -> Result<Figures> {
    let mut consumers = subscribe_all(at, order, &Arc::default()).await?;
    let figures = idle::observe(order).await?;
    anyhow::ensure!(consumers.try_join_next().is_none(), "a subscriber has ended");
    Ok(figures)
}

/// Opens subscribers on one transport, each with a task that receives.
///
/// A task receives before the next subscriber is opened. Without a broker, the publisher waits for
/// a subscriber that does not receive, and does not answer a new one meanwhile.
async fn subscribe_all(at: &str, order: &Order, tally: &Arc<Tally>) -> Result<JoinSet<Result<()>>> {
    let (url, name) = at.split_once(' ').context("the address has no channel")?;
    let transport = polywire::connect(url).await?;
    let mut consumers = JoinSet::new();
    for _ in 0..order.trial.number {
        let subscriber = Subscriber::bind(&transport, name, MessagePack).window(WINDOW).await?;
        let sequence = Sequence::new(tally.clone(), order.trial.body);
        consumers.spawn(receive_all(subscriber, sequence));
    }
    Ok(consumers)
}

/// Receives events, until the stream ends.
async fn receive_all(mut subscriber: Subscriber<ByteBuf>, mut sequence: Sequence) -> Result<()> {
    while let Some(event) = subscriber.next().await {
        sequence.accept(&event?)?;
    }
    Ok(())
}
