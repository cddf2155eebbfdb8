//! `polywire demo`: a service with one method for each kind of outcome.

use std::io::Write;

use polywire::app::shutdown_signal;
use polywire::{AnyTransport, Dialect, Json, MessagePack, Server, Service, Transport};

use crate::command::DemoOptions;
use crate::demo_methods::{DemoServer, Methods, of_object};
use crate::dialect::{Wire, open};
use crate::failure::Failure;

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
    let service = &options.service;
    match wire {
        Wire::Json => serve(&transport, service, methods(Json), stopping).await,
        Wire::MessagePack => serve(&transport, service, methods(MessagePack), stopping).await,
        Wire::Nameko(nameko) => serve(&transport, service, methods(nameko), stopping).await,
        Wire::Amqprpc(wire) => serve(&transport, service, of_object(&wire), stopping).await,
    }
}

fn methods<D: Dialect>(dialect: D) -> DemoServer<Methods, D> {
    DemoServer::new(Methods, dialect)
}

async fn serve(
    transport: &AnyTransport,
    service: &str,
    methods: impl Service,
    stopping: tokio::task::JoinHandle<()>,
) -> Result<(), Failure> {
    let server = Server::bind(transport, service).await?;
    // Without a reader the service runs all the same.
    let _ = writeln!(std::io::stdout(), "ready");
    let serving = server.serve(methods);
    let stopped = async {
        // The task neither panics nor is aborted.
        let _ = stopping.await;
    };
    serving.with_graceful_shutdown(stopped).await?;
    transport.close().await?;
    Ok(())
}
