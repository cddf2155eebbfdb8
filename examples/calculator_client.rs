//! A client process: 200 concurrent calls over the transport of the URL, then the number of replies
//! from each server.
//!
//! ```text
//! cargo run --features full --example calculator_client -- zmq+tcp://127.0.0.1:5555,127.0.0.1:5556
//! cargo run --features full --example calculator_client -- amqp://guest:guest@localhost
//! ```

#[allow(dead_code, reason = "the implementation is the server's")]
#[path = "shared/calculator.rs"]
mod calculator;

use std::collections::BTreeMap;
use std::error::Error;

use polywire::{CallError, MessagePack, Transport};
use tokio::task::JoinSet;

use self::calculator::CalculatorClient;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let url = std::env::args().nth(1).ok_or("usage: calculator_client URL")?;
    let transport = polywire::connect(&url).await?;
    let calculator = CalculatorClient::connect(&transport, "calculator", MessagePack).await?;

    let mut calls = JoinSet::new();
    for n in 0..200 {
        let calculator = calculator.clone();
        calls.spawn(async move {
            let sum = calculator.add(n, n).await?;
            Ok::<_, CallError>((n, sum, calculator.name().await?))
        });
    }
    let mut answered = BTreeMap::<String, u32>::new();
    while let Some(call) = calls.join_next().await {
        let (n, sum, server) = call??;
        if sum != n + n {
            return Err(format!("{n} + {n} = {sum}?").into());
        }
        *answered.entry(server).or_default() += 1;
    }
    for (server, count) in answered {
        println!("{server} answered {count} calls");
    }
    transport.close().await?;
    Ok(())
}
