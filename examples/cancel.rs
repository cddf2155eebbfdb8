//! A client that stops waiting: the server drops the handler and cancels the calls that it made. On
//! a transport without cancellation the handler runs until the deadline of the call.
//!
//! ```text
//! cargo run --example cancel
//! cargo run --example cancel -- mem://demo
//! cargo run --features amqp --example cancel -- amqp://guest:guest@localhost
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use polywire::{Client, MessagePack, Router, Server, Transport};

/// A guard that prints a line when the handler is dropped.
struct Work;

impl Drop for Work {
    fn drop(&mut self) {
        println!("the search is dropped");
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "zmq+tcp://127.0.0.1:5574".to_owned());
    let transport = polywire::connect(&url).await?;
    let server = Server::bind(&transport, "library").await?;
    let handle = server.handle();
    tokio::spawn(server.serve(Router::new(MessagePack).method("search", async |_: String| {
        let _work = Work;
        std::future::pending::<()>().await;
        Ok(())
    })));

    let calling = polywire::connect(&url).await?;
    let can_tell = calling.capabilities().cancellation;
    println!(
        "a server {} that its caller has stopped waiting",
        if can_tell { "learns" } else { "does not learn" }
    );
    let client = Client::connect(&calling, "library", MessagePack).await?;
    let search =
        client.request("search").timeout(Duration::from_secs(3)).start::<()>("a needle")?;
    while handle.stats().running == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let since = Instant::now();
    drop(search);
    while handle.stats().running > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("the handler ended {:?} after its call was dropped", since.elapsed());
    transport.close().await?;
    Ok(())
}
