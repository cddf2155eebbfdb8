//! Other libraries as subjects of the side-by-side measurements, each as its users would write it.
//!
//! ```text
//! polywire-bench-peers --serve tarpc            prints the address, and echoes
//! polywire-bench-peers --call tarpc ADDRESS IN_FLIGHT BODY MILLISECONDS
//! ```
//!
//! The second form prints its figures as one line of JSON. `cargo xtask bench --peers` runs both.

mod address;
mod grpc;
#[path = "../../src/latency.rs"]
mod latency;
#[path = "../../src/load.rs"]
mod load;
mod nats;
mod tarpc_calls;

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::json;

use self::load::{Figures, Load};

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build()?;
    match *arguments {
        ["--serve", subject] => runtime.block_on(serve(subject)),
        ["--call", subject, address, in_flight, body, milliseconds] => {
            let load = Load { body: body.parse()?, in_flight: in_flight.parse()? };
            let duration = Duration::from_millis(milliseconds.parse()?);
            let figures = runtime.block_on(call(subject, address, load, duration))?;
            println!("{}", line(&figures));
            Ok(())
        }
        _ => {
            bail!("expected --serve SUBJECT, or --call SUBJECT ADDRESS IN_FLIGHT BODY MILLISECONDS")
        }
    }
}

async fn serve(subject: &str) -> Result<()> {
    match subject {
        "tarpc" => tarpc_calls::serve().await,
        "tonic" => grpc::serve().await,
        "nats" => nats::serve().await,
        _ => bail!("subjects: tarpc, tonic, nats"),
    }
}

async fn call(subject: &str, address: &str, load: Load, duration: Duration) -> Result<Figures> {
    match subject {
        "tarpc" => load.run(tarpc_calls::Caller::connect(address).await?, duration).await,
        "tonic" => load.run(grpc::Caller::connect(address).await?, duration).await,
        "nats" => load.run(nats::Caller::connect(address).await?, duration).await,
        _ => bail!("subjects: tarpc, tonic, nats"),
    }
}

/// Returns the figures as JSON, for the program that compares them.
fn line(figures: &Figures) -> serde_json::Value {
    json!({
        "calls": figures.calls,
        "took_us": figures.took.as_micros(),
        "latency_us": figures.latency.map(|latency| [latency.p50, latency.p99, latency.p999]),
    })
}
