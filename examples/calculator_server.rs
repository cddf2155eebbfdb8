//! A server process over the transport of the URL. Prints `ready` when it is bound, and drains on
//! Ctrl-C.
//!
//! ```text
//! cargo run --features full --example calculator_server -- zmq+tcp://127.0.0.1:5555
//! cargo run --features full --example calculator_server -- amqp://guest:guest@localhost
//! ```

#[path = "shared/calculator.rs"]
mod calculator;

use std::error::Error;

use polywire::{MessagePack, Server, Transport};

use self::calculator::{Abacus, CalculatorServer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let url = std::env::args().nth(1).ok_or("usage: calculator_server URL")?;
    let transport = polywire::connect(&url).await?;
    let server = Server::bind(&transport, "calculator").await?;
    let handle = server.handle();
    let name = format!("process {}", std::process::id());
    let serving = tokio::spawn(server.serve(CalculatorServer::new(Abacus { name }, MessagePack)));
    println!("ready");

    tokio::signal::ctrl_c().await?;
    handle.drain().await;
    println!("drained: {} requests were answered", handle.stats().answered);
    serving.await??;
    transport.close().await?;
    Ok(())
}
