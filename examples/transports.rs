//! One service over every transport that is named: memory, ZeroMQ, RabbitMQ.
//!
//! ```text
//! cargo run --example transports
//! cargo run --features amqp --example transports -- mem://demo amqp://guest:guest@localhost
//! ```

#[path = "shared/calculator.rs"]
mod calculator;

use std::error::Error;

use polywire::{CallError, Json, Server, Transport};

use self::calculator::{Abacus, CalculatorClient, CalculatorServer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let named: Vec<_> = std::env::args().skip(1).collect();
    let by_default =
        ["mem://demo", "zmq+tcp://127.0.0.1:5566", "zmq+ipc:///tmp/polywire-transports.sock"];
    let urls = if named.is_empty() { by_default.map(str::to_owned).to_vec() } else { named };
    for url in urls {
        let scheme = url.split(':').next().unwrap_or_default();
        calculate(&url).await?;
        println!("{scheme}: the same answers");
    }
    Ok(())
}

async fn calculate(url: &str) -> Result<(), Box<dyn Error>> {
    let serving = polywire::connect(url).await?;
    let server = Server::bind(&serving, "calculator").await?;
    let abacus = Abacus { name: "abacus".to_owned() };
    tokio::spawn(server.serve(CalculatorServer::new(abacus, Json)));

    let calling = polywire::connect(url).await?;
    let calculator = CalculatorClient::connect(&calling, "calculator", Json).await?;
    assert_eq!(calculator.add(2, 3).await?, 5);
    assert_eq!(calculator.divide(1.0, 4.0).await?, 0.25);
    assert_eq!(calculator.name().await?, "abacus");
    match calculator.divide(1.0, 0.0).await {
        Err(CallError::Fault(fault)) => assert_eq!(fault.kind, "DivisionByZero"),
        other => return Err(format!("it cannot be divided: {other:?}").into()),
    }
    calling.close().await?;
    serving.close().await?;
    Ok(())
}
