//! Settings of broadcasts and of publishers to several destinations.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::broadcast::{BroadcastBuilder, Broadcaster};
use polywire_core::pubsub::{Destination, MultiPublisher};
use polywire_core::{Memory, Result, Server};

use super::extremes::{Row, any, row};
use super::served::router;

/// Gathers the outcomes of one instance, with the settings of each builder.
async fn gather(
    heartbeat: Option<Duration>,
    connect: impl FnOnce(Connect<'_>) -> Connect<'_>,
    request: impl FnOnce(BroadcastBuilder<'_, MessagePack>) -> BroadcastBuilder<'_, MessagePack>,
) -> Result<usize> {
    let memory = Memory::new();
    let bind = Server::bind_broadcast(&memory, "service");
    let server = match heartbeat {
        Some(heartbeat) => bind.heartbeat(heartbeat).await?,
        None => bind.await?,
    };
    // Ends with this function: heartbeats would keep the paused clock of later rows busy.
    let _serving = AbortOnDrop(tokio::spawn(async { drop(server.serve(router()).await) }));
    let broadcaster = connect(Broadcaster::connect(&memory, "service", MessagePack)).await?;
    let gathering = request(broadcaster.request("double")).gather::<i64>(&1).await?;
    Ok(gathering.all().await.0.len())
}

/// A task that ends with its handle.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Connect<'t> = polywire_core::broadcast::BroadcasterConnect<'t, Memory, MessagePack>;

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("broadcast::BroadcastBind::heartbeat", async |x| {
            any(gather(Some(x.time()), |connect| connect, |request| request).await)
        }),
        row("broadcast::BroadcasterConnect::timeout", async |x| {
            any(gather(None, |connect| connect.timeout(x.time()), |request| request).await)
        }),
        row("broadcast::BroadcasterConnect::discovery_time", async |x| {
            let timeout = Duration::from_secs(60);
            let request = gather(
                None,
                |connect| connect.discovery_time(x.time()),
                |request| request.timeout(timeout),
            );
            any(request.await)
        }),
        row("broadcast::BroadcastBuilder::timeout", async |x| {
            any(gather(None, |connect| connect, |request| request.timeout(x.time())).await)
        }),
        row("broadcast::BroadcastBuilder::gap", async |x| {
            any(gather(None, |connect| connect, |request| request.gap(x.time())).await)
        }),
        row("broadcast::BroadcastBuilder::count", async |x| {
            any(gather(None, |connect| connect, |request| request.count(x.usize())).await)
        }),
        row("broadcast::BroadcastBuilder::quorum", async |x| {
            any(gather(None, |connect| connect, |request| request.quorum(x.usize())).await)
        }),
        row("broadcast::BroadcastBuilder::ttl", async |x| {
            let memory = Memory::new();
            let broadcaster = Broadcaster::connect(&memory, "service", MessagePack).await.unwrap();
            any(broadcaster.request("double").ttl(x.time()).send(&1).await)
        }),
        row("pubsub::MultiPublisherConnect::timeout", async |x| {
            let to = Destination::new("channel", "topic").unwrap();
            let connecting = MultiPublisher::connect(&Memory::new(), [to], MessagePack);
            any(connecting.timeout(x.time()).await.unwrap().publish(&1).await)
        }),
    ]
}
