//! Other libraries as subjects of the side-by-side measurements, each as its users would write it.
//!
//! ```text
//! polywire-bench-peers --serve tarpc BROKER answer 0 0       prints the address, and echoes
//! polywire-bench-peers --call tarpc ADDRESS calls 64 512 0 500 2000 PID
//! ```
//!
//! The second form prints its figures as one line of JSON. `cargo xtask bench --peers` runs both.
//! The arguments after the subject are those of `src/mode.rs` and `src/trial.rs` of the benchmark,
//! which both programs share.
//!
//! The sources that the benchmark shares are compiled here again. So both programs load, time and
//! count in the same way.

mod address;
#[path = "../../src/calls.rs"]
mod calls;
#[path = "../../src/closed_loop.rs"]
mod closed_loop;
#[path = "../../src/echo.rs"]
mod echo;
#[path = "../../src/figures.rs"]
mod figures;
mod grpc;
#[path = "../../src/held_calls.rs"]
mod held_calls;
#[path = "../../src/idle.rs"]
mod idle;
mod in_flight_max;
#[path = "../../src/latency.rs"]
mod latency;
mod nats;
#[path = "../../src/observed.rs"]
mod observed;
#[path = "../../src/open_loop.rs"]
mod open_loop;
mod ruststream_calls;
mod tarpc_calls;
#[path = "../../src/trial.rs"]
mod trial;
#[path = "../../src/usage.rs"]
mod usage;

use anyhow::{Result, bail};

use self::calls::measure;
use self::figures::{Figures, Metric};
use self::trial::Order;

/// The runtime has two threads, as that of the benchmark has.
///
/// # Errors
///
/// If a role fails, or if the arguments are those of none.
fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build()?;
    match arguments.as_slice() {
        ["--serve", subject, broker, mode, ..] => {
            let (subject, broker) = (subject.to_string(), broker.to_string());
            let holds = *mode == "hold";
            // A worker runs the loop of the server, and not the main thread.
            runtime.block_on(async move {
                tokio::spawn(async move { serve(&subject, &broker, holds).await }).await?
            })
        }
        ["--call", subject, address, order @ ..] => {
            let order = Order::read(order)?;
            let mut figures = runtime.block_on(call(subject, address, &order))?;
            let peak = usage::peak_memory(std::process::id())?;
            figures.set(Metric::ClientMib, peak as f64 / f64::from(1 << 20));
            figures.print()
        }
        _ => bail!("expected --serve SUBJECT BROKER MODE, or --call SUBJECT ADDRESS ORDER"),
    }
}

/// `holds` keeps the calls of tarpc and tonic without an answer. The others answer in every mode.
async fn serve(subject: &str, broker: &str, holds: bool) -> Result<()> {
    match subject {
        "tarpc" => tarpc_calls::serve(holds).await,
        "tonic" => grpc::serve(holds).await,
        "nats" => nats::serve().await,
        "ruststream" => ruststream_calls::serve(broker).await,
        _ => bail!("subjects: tarpc, tonic, nats, ruststream"),
    }
}

/// The address is the line that the server printed.
async fn call(subject: &str, address: &str, order: &Order) -> Result<Figures> {
    match subject {
        "tarpc" => measure(order, tarpc_calls::Caller::connect(address)).await,
        "tonic" => measure(order, grpc::Caller::connect(address)).await,
        "nats" => measure(order, nats::Caller::connect(address)).await,
        "ruststream" => measure(order, ruststream_calls::Caller::connect(address)).await,
        _ => bail!("subjects: tarpc, tonic, nats, ruststream"),
    }
}
