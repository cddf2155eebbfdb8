//! `polywire demo`: a service with one method for each kind of outcome.

use std::io::Write;
use std::time::Duration;

use polywire::app::shutdown_signal;
use polywire::{AnyTransport, Code, Dialect, Fault, Json, MessagePack, Server, Transport, service};
use serde_json::{Value, json};

use crate::command::DemoOptions;
use crate::dialect::{Wire, open};
use crate::failure::Failure;

/// A service to try a client with.
#[service]
trait Demo {
    /// Adds two numbers.
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;

    /// Returns the value.
    async fn echo(&self, value: Value) -> Result<Value, Fault>;

    /// Fails as `ValueError`, with the details `["boom", 42]`.
    async fn fail(&self) -> Result<(), Fault>;

    /// Returns after so many milliseconds.
    async fn sleep(&self, ms: u64) -> Result<(), Fault>;

    /// Returns the name and the process of the server.
    async fn whoami(&self) -> Result<String, Fault>;
}

struct Methods;

impl Demo for Methods {
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault> {
        a.checked_add(b).ok_or_else(|| {
            Fault::new(Code::Application, "the sum exceeds 64 bits").with_kind("OverflowError")
        })
    }

    async fn echo(&self, value: Value) -> Result<Value, Fault> {
        Ok(value)
    }

    async fn fail(&self) -> Result<(), Fault> {
        let fault = Fault::new(Code::Application, "('boom', 42)").with_kind("ValueError");
        Err(fault.with_value(json!(["boom", 42])))
    }

    async fn sleep(&self, ms: u64) -> Result<(), Fault> {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(())
    }

    async fn whoami(&self) -> Result<String, Fault> {
        Ok(format!("polywire {}, process {}", env!("CARGO_PKG_VERSION"), std::process::id()))
    }
}

/// Serves until a signal, and drains.
///
/// # Errors
///
/// Those of [`open`], and nothing if the broker refuses the service.
pub(crate) async fn run(options: &DemoOptions) -> Result<(), Failure> {
    // Before `ready` is printed: a program that reads it may send the signal at once.
    let stopping = tokio::spawn(shutdown_signal());
    tokio::task::yield_now().await;
    let (transport, wire) = open(&options.wire).await?;
    match wire {
        Wire::Json => serve(&transport, &options.service, Json, stopping).await,
        Wire::MessagePack => serve(&transport, &options.service, MessagePack, stopping).await,
        Wire::Nameko(nameko) => serve(&transport, &options.service, nameko, stopping).await,
    }
}

async fn serve<D: Dialect>(
    transport: &AnyTransport,
    service: &str,
    dialect: D,
    stopping: tokio::task::JoinHandle<()>,
) -> Result<(), Failure> {
    let server = Server::bind(transport, service).await?;
    // Without a reader the service runs all the same.
    let _ = writeln!(std::io::stdout(), "ready");
    let serving = server.serve(DemoServer::new(Methods, dialect));
    let stopped = async {
        // The task neither panics nor is aborted.
        let _ = stopping.await;
    };
    serving.with_graceful_shutdown(stopped).await?;
    transport.close().await?;
    Ok(())
}
