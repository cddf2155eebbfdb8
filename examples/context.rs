//! The context that a handler's calls inherit: deadline, trace, baggage, and the stack of calls. A
//! shop calls a bank, which calls a vault.
//!
//! ```text
//! cargo run --example context
//! cargo run --example context -- mem://demo
//! cargo run --features amqp --example context -- amqp://guest:guest@localhost
//! ```

use std::error::Error;
use std::time::Duration;

use polywire::middleware::TraceContext;
use polywire::{Client, Context, Fault, MessagePack, Router, Server, Transport};

/// The context as the last service sees it.
async fn open(context: Context, (): ()) -> Result<String, Fault> {
    let trace = TraceContext::current().map(|trace| trace.trace_id()).unwrap_or_default();
    let calls: Vec<_> = context.call_stack().iter().map(without_number).collect();
    println!("{} came here, for {:?}", calls.join(" → "), context.baggage().get("tenant"));
    println!("{:?} are left of five seconds", context.remaining().unwrap_or_default());
    Ok(trace)
}

/// Removes the call id from an entry of the call stack.
fn without_number(call: &str) -> String {
    call.rsplit_once('.').map_or(call, |(call, _)| call).to_owned()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "zmq+tcp://127.0.0.1:5565".to_owned());
    let (serving, calling) = (polywire::connect(&url).await?, polywire::connect(&url).await?);

    let vault = Router::new(MessagePack).method("open", open);
    tokio::spawn(Server::bind(&serving, "vault").await?.serve(vault));

    // The handlers in between do nothing for it; the context is inherited.
    let vault = Client::connect(&calling, "vault", MessagePack).await?;
    let bank = Router::new(MessagePack).method("pay", move |(): ()| {
        let vault = vault.clone();
        async move { Ok(vault.call::<String>("open", &()).await?) }
    });
    tokio::spawn(Server::bind(&serving, "bank").await?.serve(bank));

    let bank = Client::connect(&calling, "bank", MessagePack).await?;
    let shop = Router::new(MessagePack).method("order", move |(): ()| {
        let bank = bank.clone();
        async move { Ok(bank.call::<String>("pay", &()).await?) }
    });
    tokio::spawn(Server::bind(&serving, "shop").await?.serve(shop));

    // The client gives the whole chain five seconds and adds a tenant to the baggage.
    let shop = Client::connect(&calling, "shop", MessagePack).await?;
    let order =
        shop.request("order").timeout(Duration::from_secs(5)).baggage("tenant", "ada & sons");
    let trace = TraceContext::begin();
    let seen: String = trace.scope(order.call(&())).await?;
    println!("one trace: {}", seen == trace.trace_id());

    calling.close().await?;
    serving.close().await?;
    Ok(())
}
