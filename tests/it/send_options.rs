//! Options of all that a typed pusher or publisher sends.

use std::time::Duration;

use polywire::{
    Context, DeadLetters, Error, Fault, Listener, Memory, MessagePack, Puller, Router, Worker,
    service,
};
use serde::de::IgnoredAny;
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::timeout;

/// What happens in a shop.
#[service(push, publish)]
trait Orders {
    /// An order was placed.
    async fn placed(&self, number: u32) -> Result<(), Fault>;
}

/// Returns a router that tells the header `region` of each message.
fn router() -> (Router<MessagePack>, mpsc::UnboundedReceiver<String>) {
    let (tell, told) = mpsc::unbounded_channel();
    let router =
        Router::new(MessagePack).method("placed", move |context: Context, _: IgnoredAny| {
            let region = context.headers.get("region").map(ToString::to_string);
            let sent = tell.send(region.unwrap_or_default());
            async { sent.map_err(|_| Fault::declined("the test has ended")) }
        });
    (router, told)
}

#[tokio::test]
async fn headers_of_a_typed_handle_reach_the_handler() -> Result<(), Error> {
    let transport = Memory::new();
    let (router, mut told) = router();
    tokio::spawn(Worker::bind(&transport, "orders", MessagePack).await?.serve(router.clone()));
    tokio::spawn(Listener::bind(&transport, "orders", MessagePack).await?.serve(router));
    let pusher = OrdersPusher::connect(&transport, "orders", MessagePack).await?;
    pusher.with_header("region", "north").with_transient().placed(1).await?;
    assert_eq!(told.recv().await.unwrap(), "north");
    let publisher = OrdersPublisher::connect(&transport, "orders", MessagePack).await?;
    publisher.with_header("region", "south").placed(2).await?;
    assert_eq!(told.recv().await.unwrap(), "south");
    publisher.placed(3).await?;
    assert_eq!(told.recv().await.unwrap(), "", "the option is that of the other handle");
    Ok(())
}

#[tokio::test]
async fn jobs_of_a_typed_pusher_have_its_priority() -> Result<(), Error> {
    let transport = Memory::new();
    let mut jobs: Puller<(u32,)> = Puller::bind(&transport, "orders", MessagePack).await?;
    let pusher = OrdersPusher::connect(&transport, "orders", MessagePack).await?;
    pusher.placed(1).await?;
    pusher.with_priority(9).placed(2).await?;
    let mut numbers = Vec::new();
    for _ in 0..2 {
        let job = jobs.next().await.unwrap()?;
        numbers.push(job.0);
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
    let (router, _told) = router();
    tokio::spawn(Worker::bind(&transport, "orders", MessagePack).await?.serve(router));
    let dead = DeadLetters::of_queue(&transport, "orders")?;
    let kept = async {
        while dead.look(1).await?.is_empty() {
            yield_now().await;
        }
        Ok(())
    };
    timeout(Duration::from_secs(60), kept).await.expect("the job is kept")
}
