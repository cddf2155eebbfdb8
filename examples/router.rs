//! A service of plain functions, without a trait: extractors, shared state, nesting. And a router
//! of events with several handlers for one topic.
//!
//! ```text
//! cargo run --example router
//! cargo run --example router -- mem://demo
//! cargo run --features amqp --example router -- amqp://guest:guest@localhost
//! ```

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use polywire::rpc::{Extract, FromState};
use polywire::{
    CallError, Client, Code, Context, Fault, Headers, Listener, MessagePack, Publisher, Request,
    Router, Server, State, Transport,
};

/// The state that the handlers share.
#[derive(Clone)]
struct Shop {
    name: &'static str,
    stock: Arc<AtomicU32>,
}

/// A handler may extract a part of the state.
impl FromState<Shop> for Arc<AtomicU32> {
    fn from_state(shop: &Shop) -> Self {
        shop.stock.clone()
    }
}

/// The caller's identity. A handler that extracts it is not run for unauthenticated clients.
struct User(String);

impl<S> Extract<S> for User {
    fn extract(request: &Request, _: &S) -> Result<Self, Fault> {
        let user = request.message.headers.get("user");
        let user = user
            .ok_or_else(|| Fault::new(Code::Application, "who are you?").with_kind("Stranger"))?;
        Ok(Self(user.to_owned()))
    }
}

/// The arguments of the call are the last parameter, as one value.
async fn order(
    User(user): User,
    State(stock): State<Arc<AtomicU32>>,
    (article, count): (String, u32),
) -> Result<String, Fault> {
    let taken =
        stock.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |stock| stock.checked_sub(count));
    match taken {
        Ok(_) => Ok(format!("{count} {article} for {user}")),
        Err(left) => {
            Err(Fault::new(Code::Application, format!("only {left} left")).with_kind("OutOfStock"))
        }
    }
}

async fn about(
    State(shop): State<Shop>,
    headers: Headers,
    context: Context,
    (): (),
) -> Result<String, Fault> {
    let language = headers.get("language").unwrap_or("en");
    Ok(format!("{} in {language}, asked by {:?}", shop.name, context.method))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Over ZeroMQ, a port serves one pattern.
    let url = std::env::args().nth(1);
    let calls_url = url.clone().unwrap_or_else(|| "zmq+tcp://127.0.0.1:5564".to_owned());
    let events_url = url.unwrap_or_else(|| "zmq+tcp://127.0.0.1:5565".to_owned());
    calls(&calls_url).await?;
    events(&events_url).await
}

async fn calls(url: &str) -> Result<(), Box<dyn Error>> {
    let transport = polywire::connect(url).await?;
    let server = Server::bind(&transport, "shop").await?;
    let shop = Shop { name: "the corner shop", stock: Arc::new(AtomicU32::new(3)) };
    let counter = Router::new(MessagePack).method("is_open", async |(): ()| Ok(true));
    let router = Router::with_state(MessagePack, shop)
        .method("about", about)
        .method("order", order)
        .nest("counter", counter);
    tokio::spawn(server.serve(router));

    let client_transport = polywire::connect(url).await?;
    let client = Client::connect(&client_transport, "shop", MessagePack).await?;
    let about: String = client.request("about").header("language", "fr").call(&()).await?;
    println!("{about}");
    let is_open: bool = client.call("counter.is_open", &()).await?;
    println!("open: {is_open}");
    let ordered: String = client.request("order").header("user", "ada").call(&("hats", 2)).await?;
    println!("{ordered}");
    for (request, count) in
        [(client.request("order").header("user", "bob"), 2), (client.request("order"), 1)]
    {
        match request.call::<String>(&("hats", count)).await {
            Err(CallError::Fault(fault)) => println!("{fault}"),
            other => return Err(format!("it was refused: {other:?}").into()),
        }
    }
    transport.close().await?;
    Ok(())
}

async fn events(url: &str) -> Result<(), Box<dyn Error>> {
    let publishing = polywire::connect(url).await?;
    let orders = Publisher::connect(&publishing, "orders", MessagePack).await?;

    let transport = polywire::connect(url).await?;
    let listener = Listener::bind(&transport, "orders", MessagePack).filter("hats.*").await?;
    let handle = listener.handle();
    let router = Router::new(MessagePack)
        .on("*.paid", async |amount: f64| {
            println!("{amount} more in the till");
            Ok(())
        })
        .on("#", async |context: Context, amount: f64| {
            println!("{:?}: {amount}", context.topic);
            Ok(())
        });
    tokio::spawn(listener.serve(router));

    orders.publish("hats.paid", &19.9).await?;
    orders.publish("hats.sent", &19.9).await?;
    orders.publish("scarves.paid", &5.0).await?;
    while handle.stats().done < 2 {
        tokio::task::yield_now().await;
    }
    handle.drain().await;
    println!("{} events were dealt with", handle.stats().done);
    Ok(())
}
