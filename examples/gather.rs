//! Broadcast and gather: the prices of all shops, of which one ends and one is slow.
//!
//! Over ZeroMQ, the shops and the caller connect to a proxy of events, which has an address for
//! those that publish and one for those that subscribe.
//!
//! ```text
//! cargo run --example gather
//! cargo run --example gather -- mem://demo
//! cargo run --features amqp --example gather -- amqp://guest:guest@localhost
//! ```

use std::error::Error;
use std::future::pending;
use std::time::Duration;

use polywire::broadcast::{Broadcaster, InstanceOutcome};
use polywire::zmq::proxy::{Pattern, Proxy, ProxyEndpoint};
use polywire::{AnyTransport, Code, Fault, Instance, MessagePack, Router, Server};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (network, _proxy) = Network::open(std::env::args().nth(1)).await?;

    // Memory by this name ends with its last transport.
    let _memory = network.subscribing().await?;
    let _north = network.shop("north", selling(700)).await?;
    let _south = network.shop("south", selling(500)).await?;
    let sold_out = async |_: String| Err::<u32, _>(Fault::new(Code::Application, "sold out"));
    let _west = network.shop("west", Router::new(MessagePack).method("price", sold_out)).await?;
    let slow = async |_: String| pending::<Result<u32, Fault>>().await;
    let _slow = network.shop("slow", Router::new(MessagePack).method("price", slow)).await?;
    // This shop ends as soon as it is asked.
    let (asked, mut is_asked) = mpsc::channel(1);
    let ending = Router::new(MessagePack).method("price", move |_: String| {
        let _ = asked.try_send(());
        pending::<Result<u32, Fault>>()
    });
    let ending = network.shop("ending", ending).await?;
    tokio::spawn(async move {
        is_asked.recv().await;
        ending.abort();
    });

    let shops = Broadcaster::connect(&network.subscribing().await?, "shops", MessagePack)
        .publish_on(&network.publishing().await?)
        .await?;
    let mut changes = shops.changes();
    while shops.instances().len() < 5 {
        changes.next().await.ok_or("the transport was closed")?;
    }

    let request = shops.request("price").timeout(Duration::from_secs(3));
    let (mut prices, end) = request.gather::<u32>("lamp").await?.all().await;
    prices.sort_by(|one, other| one.instance.name().cmp(other.instance.name()));
    for price in prices {
        let shop = price.instance.name();
        match price.outcome {
            InstanceOutcome::Reply(cents) => println!("{shop}: {cents} cents"),
            InstanceOutcome::Fault(fault) => println!("{shop}: {fault}"),
            InstanceOutcome::Gone => println!("{shop}: gone"),
            other => println!("{shop}: {other:?}"),
        }
    }
    let silent: Vec<_> = end.silent.iter().map(Instance::name).collect();
    println!("ended as {:?}, without {}", end.reason, silent.join(", "));
    Ok(())
}

/// A shop with this price.
fn selling(cents: u32) -> Router<MessagePack> {
    Router::new(MessagePack).method("price", move |_: String| async move { Ok(cents) })
}

/// The URLs by which programs meet: one for those that subscribe, one for those that publish.
struct Network {
    subscribing: String,
    publishing: String,
}

impl Network {
    /// Uses a broker or memory, or else starts a proxy for ZeroMQ.
    async fn open(url: Option<String>) -> Result<(Self, Option<Proxy>), Box<dyn Error>> {
        if let Some(url) = url {
            return Ok((Self { subscribing: url.clone(), publishing: url }, None));
        }
        let free_port = || ProxyEndpoint::bind("tcp://127.0.0.1:*");
        let proxy = Proxy::start(Pattern::PubSub, free_port(), free_port()).await?;
        let subscribing = format!("zmq+{}", proxy.backend());
        let publishing = format!("zmq+{}?serve=connect", proxy.frontend());
        Ok((Self { subscribing, publishing }, Some(proxy)))
    }

    async fn subscribing(&self) -> polywire::Result<AnyTransport> {
        polywire::connect(&self.subscribing).await
    }

    async fn publishing(&self) -> polywire::Result<AnyTransport> {
        polywire::connect(&self.publishing).await
    }

    /// Starts a shop, with connections of its own. Aborting the task ends the shop.
    async fn shop(
        &self,
        name: &str,
        router: Router<MessagePack>,
    ) -> polywire::Result<JoinHandle<polywire::Result<polywire::worker::Ended>>> {
        let server = Server::bind_broadcast(&self.subscribing().await?, "shops")
            .publish_on(&self.publishing().await?)
            .instance(Instance::new(name)?)
            .heartbeat(Duration::from_millis(500))
            .await?;
        Ok(tokio::spawn(server.serve(router)))
    }
}
