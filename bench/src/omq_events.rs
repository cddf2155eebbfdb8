//! Events over the ZeroMQ engine alone: PUB and SUB.
//!
//! The publisher waits for a subscriber whose queue is full, as polywire does. Otherwise the engine
//! drops events, and a faster publisher would only drop more.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use omq_tokio::{Message, Options, Socket, SocketType, TrySendError};
use tokio::task::JoinSet;

use crate::deliveries::{Sequence, Tally, measure, numbered};
use crate::figures::Figures;
use crate::omq_setup::OmqSetup;
use crate::trial::Order;

/// The first frame of each event.
const TOPIC: Bytes = Bytes::from_static(b"tick");
/// Events after which the publisher yields to other tasks.
const TURN: u64 = 256;

/// Binds to a free port, prints the endpoint, and publishes events of this size as fast as they are
/// taken.
///
/// Returns only by an error.
pub(crate) async fn publish(setup: OmqSetup, size: usize) -> Result<()> {
    let mut options = Options::default().linger(Duration::from_secs(1));
    options.xpub_nodrop = true;
    let publisher = setup.open(SocketType::Pub, options)?;
    println!("{}", publisher.bind("tcp://127.0.0.1:0").await?);
    std::io::stdout().flush()?;
    tokio::spawn(publish_all(publisher, size)).await?
}

/// Publishes events with numbers from 0. Returns only by an error.
///
/// An event that is queued at once awaits nothing: without the turns, the task would keep its
/// thread.
async fn publish_all(publisher: Socket, size: usize) -> Result<()> {
    for number in 0.. {
        match publisher.try_send(Message::multipart([TOPIC, numbered(number, size)])) {
            Ok(()) => {}
            Err(TrySendError::Full(event)) => publisher.send(event).await?,
            Err(error) => anyhow::bail!("cannot publish: {error}"),
        }
        if number.is_multiple_of(TURN) {
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Measures the events of as many subscribers as the order says, each with a socket of its own.
///
/// Events from before a subscription do not count as missed.
pub(crate) async fn subscribe(setup: OmqSetup, url: &str, order: &Order) -> Result<Figures> {
    let (tally, mut subscribers) = (Arc::new(Tally::default()), JoinSet::new());
    for _ in 0..order.trial.number {
        let socket = setup.open(SocketType::Sub, Options::default())?;
        socket.connect(url).await?;
        socket.subscribe(TOPIC).await?;
        subscribers.spawn(receive_all(socket, Sequence::new(tally.clone(), order.trial.body)));
    }
    measure(order, order.trial.number as u64, &tally, subscribers).await
}

/// Receives up to 256 events at once. Returns only by an error.
async fn receive_all(socket: Socket, mut sequence: Sequence) -> Result<()> {
    let mut batch = Vec::with_capacity(256);
    loop {
        socket.recv_many_into(256, &mut batch).await?;
        for mut event in batch.drain(..) {
            event.pop_front();
            sequence.accept(&event.pop_front().context("the event has no body")?)?;
        }
    }
}
