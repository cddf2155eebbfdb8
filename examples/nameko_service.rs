//! A service for callers of nameko and for native ones at once, over RabbitMQ. Prints `ready` when
//! it is bound, and drains on Ctrl-C.
//!
//! ```text
//! cargo run --features nameko --example nameko_service -- amqp://guest:guest@localhost
//! python -c 'from nameko.standalone.rpc import ClusterRpcProxy
//! with ClusterRpcProxy({"AMQP_URI": "amqp://guest:guest@localhost"}) as rpc:
//!     print(rpc.calculator.add(2, 3))'
//! ```

#[path = "shared/calculator.rs"]
mod calculator;

use std::error::Error;

use polywire::amqp::Amqp;
use polywire::nameko::Nameko;
use polywire::{MessagePack, Server, Transport};

use self::calculator::{Abacus, CalculatorServer};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let url = std::env::args().nth(1).ok_or("usage: nameko_service URL")?;
    let amqp = Amqp::connect(&url).await?;
    let abacus = || Abacus { name: format!("process {}", std::process::id()) };

    let native = Server::bind(&amqp, "calculator").await?;
    let nameko = Server::bind(&amqp.with_layout(Nameko::new()), "calculator").await?;
    let handles = [native.handle(), nameko.handle()];
    let native = tokio::spawn(native.serve(CalculatorServer::new(abacus(), MessagePack)));
    let nameko = tokio::spawn(nameko.serve(CalculatorServer::new(abacus(), Nameko::new())));
    println!("ready");

    tokio::signal::ctrl_c().await?;
    let [for_native, for_nameko] = &handles;
    tokio::join!(for_native.drain(), for_nameko.drain());
    println!("drained: nameko made {} of the calls", for_nameko.stats().answered);
    native.await??;
    nameko.await??;
    amqp.close().await?;
    Ok(())
}
