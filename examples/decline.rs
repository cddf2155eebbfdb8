//! A handler that declines a request: another server gets the request. If no server takes it, the
//! client receives the reason.
//!
//! ```text
//! cargo run --example decline
//! cargo run --example decline -- mem://demo
//! cargo run --features amqp --example decline -- amqp://guest:guest@localhost
//! ```

use std::error::Error;

use polywire::{AnyTransport, Client, Fault, MessagePack, Router, Server, Transport};

/// Binds a server for the films of one genre.
async fn serve(url: &str, kind: &'static str) -> Result<AnyTransport, Box<dyn Error>> {
    let transport = polywire::connect(url).await?;
    let server = Server::bind(&transport, "render").await?;
    let router = Router::new(MessagePack).method("film", move |file: String| async move {
        if !file.ends_with(kind) {
            println!("the server for {kind} declines {file}");
            return Err(Fault::declined(format!("only {kind} is rendered here")));
        }
        Ok(format!("{file} was rendered by the server for {kind}"))
    });
    tokio::spawn(server.serve(router));
    Ok(transport)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let urls = match std::env::args().nth(1) {
        Some(url) => [url.clone(), url.clone(), url],
        // Over ZeroMQ each server has an endpoint of its own; the client names all of them.
        None => [
            "zmq+tcp://127.0.0.1:5571".to_owned(),
            "zmq+tcp://127.0.0.1:5572".to_owned(),
            "zmq+tcp://127.0.0.1:5571,127.0.0.1:5572".to_owned(),
        ],
    };
    let servers = [serve(&urls[0], "mov").await?, serve(&urls[1], "avi").await?];

    let transport = polywire::connect(&urls[2]).await?;
    let client = Client::connect(&transport, "render", MessagePack).await?;
    for file in ["cats.avi", "dogs.mov", "bees.avi"] {
        println!("{}", client.call::<String>("film", file).await?);
    }
    match client.call::<String>("film", "ants.gif").await {
        Err(error) if error.is_declined() => {
            println!("no server takes ants.gif: {:?}", error.fault());
        }
        other => return Err(format!("a server has taken ants.gif: {other:?}").into()),
    }
    for server in servers {
        server.close().await?;
    }
    Ok(())
}
