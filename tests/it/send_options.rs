//! Options of all that a typed pusher or publisher sends.

use std::time::Duration;

use polywire::{
    Context, DeadLetters, Error, Fault, Memory, MessagePack, Puller, Subscriber, Worker, service,
};
use serde::Deserialize;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::backends::Backend;

/// Orders of a shop.
#[service(push, publish)]
trait Orders {
    /// An order was placed.
    async fn placed(&self, number: u32) -> Result<(), Fault>;
}

/// The arguments of `placed`.
#[derive(Deserialize)]
struct Placed {
    number: u32,
}

#[tokio::test]
async fn headers_of_a_typed_handle_reach_the_receiver() -> Result<(), Error> {
    for backend in Backend::all() {
        headers_reach_the_receiver(&backend).await?;
        backend.close().await?;
    }
    Ok(())
}

async fn headers_reach_the_receiver(backend: &Backend) -> Result<(), Error> {
    let (queue, channel) = (backend.open("jobs").await?, backend.open("events").await?);
    let name = &*backend.name("orders");
    let region = |context: &Context| context.headers.get("region").map(ToString::to_string);
    let mut jobs: Puller<Placed> = Puller::bind(&queue, name, MessagePack).await?;
    let pusher = OrdersPusher::connect(&queue, name, MessagePack).await?;
    pusher.with_header("region", "north").with_transient().placed(1).await?;
    pusher.placed(2).await?;
    // First: over ZeroMQ, a subscriber connects to the publishers that are there.
    let publisher = OrdersPublisher::connect(&channel, name, MessagePack).await?;
    let events = Subscriber::<Placed>::bind(&channel, name, MessagePack);
    let mut events = events.filter("placed").await?;
    publisher.with_header("region", "south").placed(3).await?;
    for (number, sent) in [(1, Some("north")), (2, None)] {
        let job = jobs.next().await.unwrap()?;
        assert_eq!((job.number, region(job.context()).as_deref()), (number, sent));
        job.ack();
    }
    let event = events.next().await.unwrap()?;
    assert_eq!((event.number, region(event.context()).as_deref()), (3, Some("south")));
    Ok(())
}

#[tokio::test]
async fn jobs_of_a_typed_pusher_have_its_priority() -> Result<(), Error> {
    let transport = Memory::new();
    let mut jobs: Puller<Placed> = Puller::bind(&transport, "orders", MessagePack).await?;
    let pusher = OrdersPusher::connect(&transport, "orders", MessagePack).await?;
    pusher.placed(1).await?;
    pusher.with_priority(9).placed(2).await?;
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let job = jobs.next().await.unwrap()?;
        numbers.push(job.number);
        job.ack();
    }
    assert_eq!(numbers, [2, 1]);
    Ok(())
}

#[tokio::test]
async fn expired_job_of_a_typed_pusher_is_kept_if_asked() -> Result<(), Error> {
    let transport = Memory::new();
    let pusher = OrdersPusher::connect(&transport, "orders", MessagePack).await?;
    pusher.with_ttl(Duration::ZERO).with_keep_expired().placed(1).await?;
    let worker = Worker::bind(&transport, "orders", MessagePack).await?;
    tokio::spawn(worker.work(async |_: Placed| Ok(())));
    let dead = DeadLetters::of_queue(&transport, "orders")?;
    let kept = async {
        while dead.look(1).await?.is_empty() {
            yield_now().await;
        }
        Ok(())
    };
    timeout(Duration::from_secs(60), kept).await.expect("the job is kept")
}
