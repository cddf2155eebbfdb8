//! A typed service and its clients over ZeroMQ on loopback. Needs no installation and ends by
//! itself.
//!
//! ```text
//! cargo run --example quickstart
//! ```

#[path = "shared/calculator.rs"]
mod calculator;

use std::error::Error;
use std::time::{Duration, Instant};

use polywire::zmq::Zmq;
use polywire::{MessagePack, Server};

use self::calculator::{Abacus, CalculatorClient, CalculatorServer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A server, on any free port.
    let transport = Zmq::connect("zmq+tcp://127.0.0.1:*").await?;
    let server = Server::bind(&transport, "calculator").await?;
    let handle = server.handle();
    tokio::spawn(
        server.serve(CalculatorServer::new(Abacus { name: "abacus".into() }, MessagePack)),
    );
    let url = transport
        .local_endpoints()
        .first()
        .map(|endpoint| format!("zmq+{endpoint}"))
        .ok_or("bound to nothing")?;
    println!("calculator is served at {url}");

    // A client. In another process it needs the URL and nothing else.
    let transport = polywire::connect(&url).await?;
    let calculator = CalculatorClient::connect(&transport, "calculator", MessagePack).await?;
    println!("2 + 3 = {}", calculator.add(2, 3).await?);
    println!("1 / 8 = {}", calculator.divide(1.0, 8.0).await?);
    match calculator.divide(1.0, 0.0).await {
        Err(polywire::CallError::Fault(fault)) => println!("1 / 0 = {fault}"),
        other => println!("1 / 0 = {other:?}?"),
    }

    // Many concurrent calls by clients that share a connection. Each call has its deadline.
    let patient = calculator.with_timeout(Duration::from_secs(5));
    let start = Instant::now();
    let calls = (0..3).map(|client| {
        let calculator = patient.clone();
        tokio::spawn(async move {
            let mut sum = 0;
            for n in 1..=1000 {
                sum = calculator.add(sum, n).await?;
            }
            Ok::<_, polywire::CallError>((client, sum))
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let (client, sum) = call.await??;
        println!("client {client} added up 1 to 1000: {sum}");
    }
    println!("3000 calls took {} ms", start.elapsed().as_millis());

    handle.drain().await;
    println!("drained: {} requests were answered", handle.stats().answered);
    Ok(())
}
