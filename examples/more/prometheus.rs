//! Metrics of a service and its clients for Prometheus, as text over HTTP.
//!
//! ```text
//! # Makes some calls, prints the text, and ends:
//! cargo run -p polywire-examples --example prometheus
//! # Goes on, and serves the text over HTTP:
//! cargo run -p polywire-examples --example prometheus -- 127.0.0.1:9464
//! ```

use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use polywire::middleware::{Layer, Metrics, Retry};
use polywire::rpc::ServerHandle;
use polywire::{CallError, Client, Code, Fault, Memory, MessagePack, Router, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Before everything else: counts made without a recorder are lost.
    let prometheus = PrometheusBuilder::new()
        .set_buckets(&[0.000_1, 0.001, 0.01, 0.1, 1.0, 10.0])?
        .install_recorder()?;

    let transport = Memory::new();
    let server = Server::bind(&transport, "calculator").await?;
    let handle = server.handle();
    tokio::spawn(server.serve(Metrics::server("calculator").layer(calculator())));
    let client = Client::connect(&transport, "calculator", MessagePack)
        .await?
        .layer(&Retry::new())
        .layer(&Metrics::client("calculator"));

    call_a_few_times(&client).await?;
    let Some(address) = std::env::args().nth(1) else {
        // A server counts a call after its reply has left.
        handle.drain().await;
        println!("{}", report(&prometheus, &handle));
        return Ok(());
    };
    let listener = TcpListener::bind(&address).await?;
    println!("http://{address}/metrics");
    loop {
        let (stream, _) = listener.accept().await?;
        // One connection at a time, each with a timeout: the port is for one reader.
        let answered = tokio::time::timeout(
            Duration::from_secs(5),
            answer(stream, report(&prometheus, &handle)),
        );
        if let Ok(Err(error)) | Err(error) = answered.await.map_err(std::io::Error::from) {
            eprintln!("a reader of the metrics went away: {error}");
        }
        call_a_few_times(&client).await?;
    }
}

fn calculator() -> Router<MessagePack> {
    Router::new(MessagePack).method("add", async |(a, b): (i64, i64)| Ok(a + b)).method(
        "divide",
        async |(a, b): (i64, i64)| {
            a.checked_div(b).ok_or_else(|| Fault::new(Code::Application, "division by zero"))
        },
    )
}

async fn call_a_few_times<S: polywire::Service>(
    client: &Client<MessagePack, S>,
) -> Result<(), CallError> {
    for n in 0..10 {
        client.call::<i64>("add", &(n, n)).await?;
        // Every tenth call fails, so that the error metrics show something.
        let _ = client.call::<i64>("divide", &(1, n)).await;
    }
    Ok(())
}

/// Returns the metrics text, including the server's own counts.
fn report(prometheus: &PrometheusHandle, server: &ServerHandle) -> String {
    server.stats().record("calculator");
    prometheus.run_upkeep();
    prometheus.render()
}

async fn answer(mut stream: TcpStream, text: String) -> std::io::Result<()> {
    // Every request gets the same answer. The request is read so that the connection closes
    // cleanly.
    let _ = stream.read(&mut [0; 4096]).await?;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await
}
