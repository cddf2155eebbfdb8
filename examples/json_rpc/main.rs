//! A wire format of the program's own: JSON-RPC 2.0 over RabbitMQ, with a server and a client. It
//! uses the public seam alone, a `Dialect` and an `AmqpLayout`.
//!
//! ```text
//! cargo run --features amqp --example json_rpc -- amqp://guest:guest@localhost
//! ```

#[path = "../shared/calculator.rs"]
mod calculator;
mod dialect;
mod envelope;
mod layout;

use std::error::Error;

use polywire::amqp::{Amqp, AmqpLayout};
use polywire::message::CallId;
use polywire::{Address, CallError, Client, Dialect, ErrorKind, Message, Server, Transport};

use self::calculator::{Abacus, CalculatorClient, CalculatorServer};
use self::dialect::JsonRpc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: json_rpc URL")?;
    print_wire()?;
    let amqp = Amqp::connect(&url).await?;
    let transport = amqp.with_layout(JsonRpc);

    let server = Server::bind(&transport, "calculator").await?;
    let handle = server.handle();
    let abacus = Abacus { name: "abacus".to_owned() };
    let serving = tokio::spawn(server.serve(CalculatorServer::new(abacus, JsonRpc)));

    // Arguments by name.
    let calculator = CalculatorClient::connect(&transport, "calculator", JsonRpc).await?;
    println!("2 + 3 = {}", calculator.add(2, 3).await?);
    println!("the server is {}", calculator.name().await?);
    match calculator.divide(1.0, 0.0).await {
        Err(CallError::Fault(fault)) => println!("1 / 0: {fault}"),
        other => return Err(format!("it cannot be divided: {other:?}").into()),
    }
    // A notification, which is a request without an id. It is delivered before the next request.
    let client = Client::connect(&transport, "calculator", JsonRpc).await?;
    client.request("name").send(&()).await?;
    // Arguments by position, and a method that is not there.
    println!("4 + 5 = {}", client.call::<i64>("add", &(4, 5)).await?);
    match client.call::<i64>("subtract", &(4, 5)).await {
        Err(CallError::Fault(fault)) => println!("subtract: {fault}"),
        other => return Err(format!("there is no such method: {other:?}").into()),
    }

    let client = Client::connect(&transport, "abacist", JsonRpc).await?;
    let unknown = client.call::<i64>("add", &(1, 1)).await.err();
    let is_unroutable = unknown.and_then(|error| error.kind()) == Some(ErrorKind::Unroutable);
    println!("an unknown service is unroutable: {is_unroutable}");

    handle.drain().await;
    serving.await??;
    println!("drained: {} calls were answered", handle.stats().answered);
    amqp.close().await?;
    Ok(())
}

/// Prints a request and its reply as they are on the wire.
fn print_wire() -> polywire::Result<()> {
    let service = Address::new("calculator")?;
    let mut message = Message::default().with_method(Address::new("add")?).with_id(CallId(7));
    JsonRpc.encode_call(&(2, 3), &mut message)?;
    let request = JsonRpc.encode_request(&service, message, "unique")?;
    println!("{}", String::from_utf8_lossy(&request.body));
    let received = JsonRpc.decode_request(&service, request)?;
    let mut reply = Message::default();
    JsonRpc.encode_outcome(Ok(&5), &mut reply)?;
    let reply = JsonRpc.encode_reply(reply.with_reply_to(received.reply_to))?;
    println!("{}", String::from_utf8_lossy(&reply.body));
    Ok(())
}
