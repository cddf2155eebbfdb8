//! A handler that replies early and goes on working, as a function and as a method of a service.
//!
//! ```text
//! cargo run --example early_reply
//! cargo run --example early_reply -- mem://demo
//! cargo run --features amqp --example early_reply -- amqp://guest:guest@localhost
//! ```

use std::error::Error;
use std::time::Duration;

use polywire::{Client, Fault, MessagePack, Replier, Router, Server, Transport, service};

#[service]
trait Kitchen {
    /// Accepts an order and returns its number.
    async fn order(&self, dish: String) -> Result<u32, Fault>;
}

struct Stove;

impl Kitchen for Stove {
    async fn order(&self, dish: String) -> Result<u32, Fault> {
        let number = 7;
        Replier::current().reply(&number).await?;
        cook(&dish).await;
        // The client has the reply already; this value is not sent.
        Ok(number)
    }
}

/// The same without a trait. The return value is not sent, so its type may differ.
async fn order(replier: Replier<u32>, dish: String) -> Result<(), Fault> {
    replier.reply(&8).await?;
    cook(&dish).await;
    Ok(())
}

async fn cook(dish: &str) {
    // After the early reply the deadline of the call no longer applies.
    tokio::time::sleep(Duration::from_millis(300)).await;
    println!("{dish} is served");
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "zmq+tcp://127.0.0.1:5573".to_owned());
    let transport = polywire::connect(&url).await?;
    let server = Server::bind(&transport, "kitchen").await?;
    let handle = server.handle();
    let grill = Router::new(MessagePack).method("order", order);
    tokio::spawn(
        server.serve(KitchenServer::new(Stove, MessagePack).into_router().nest("grill", grill)),
    );

    let calling = polywire::connect(&url).await?;
    let client = Client::connect(&calling, "kitchen", MessagePack).await?;
    println!("order {}", KitchenClient::from(client.clone()).order("soup".to_owned()).await?);
    println!("order {}", client.call::<u32>("grill.order", "fish").await?);
    println!("{} dishes are being cooked", handle.stats().running);
    // Waits for handlers, also for those that have replied early.
    handle.drain().await;
    println!("{} callers were answered early", handle.stats().answered_early);
    transport.close().await?;
    Ok(())
}
