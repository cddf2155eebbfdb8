//! Middleware on both sides: a client with authentication, deadlines, retries and a circuit
//! breaker; a server with authentication, limits and a log of failures.
//!
//! ```text
//! cargo run -p polywire-examples --example layers
//! RUST_LOG=info,polywire=debug cargo run -p polywire-examples --example layers
//! ```

use std::time::Duration;

use polywire::middleware::{
    Authenticate, Backoff, CircuitBreaker, ConcurrencyLimit, Deadlines, FromTower, LogFailures,
    RateLimit, Retry, SetHeader, ToTower, Trace,
};
use polywire::testing::FlakyTransport;
use polywire::{
    CallError, Client, Code, Context, Fault, Headers, Memory, MessagePack, Router, Server,
};
use tower::ServiceBuilder;

const SECOND: Duration = Duration::from_secs(1);

/// The authenticated user.
struct User(String);

fn user(headers: &Headers) -> Result<User, Fault> {
    match headers.get("authorization") {
        Some("s3cret") => Ok(User("ada".to_owned())),
        _ => Err(Authenticate::refusal("no valid token")),
    }
}

fn shop() -> Router<MessagePack> {
    Router::new(MessagePack)
        .method("order", async |context: Context, item: String| {
            let user = context.extensions.get::<User>().map_or("nobody", |user| &user.0).to_owned();
            match item.as_str() {
                "moon" => {
                    Err(Fault::new(Code::Application, "there is only one").with_kind("OutOfStock"))
                }
                _ => Ok(format!("{user} gets a {item}")),
            }
        })
        .method("ponder", async |(): ()| {
            tokio::time::sleep(60 * SECOND).await;
            Ok(())
        })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let memory = Memory::new();

    // The outermost layer sees a request first.
    let service = ServiceBuilder::new()
        .layer(Trace::server("shop"))
        .layer(LogFailures::of("shop").expect_kind("OutOfStock"))
        .layer(Authenticate::new(user))
        .layer(RateLimit::new(1000, SECOND))
        .layer(ConcurrencyLimit::new(64))
        .service(shop());
    let server = Server::bind(&memory, "shop").await?;
    tokio::spawn(server.serve(service));

    // On a client, the layer that was added last sees a call first.
    let transport = FlakyTransport::over(memory.peer());
    let breaker = CircuitBreaker::new().failures(4).pause(SECOND / 5);
    let shop = Client::connect(&transport, "shop", MessagePack)
        .await?
        .layer(&SetHeader::new("authorization", "s3cret"))
        .layer(&Deadlines::new().method("ponder", SECOND / 10)?)
        .layer(&breaker)
        .layer(&Retry::new().attempts(4).backoff(Backoff::constant(SECOND / 100)))
        .layer(&Trace::client("shop"));

    println!("{}", shop.call::<String>("order", "pear").await?);
    println!("moon: {}", said(shop.call::<String>("order", "moon").await));
    println!("ponder: {}", said(shop.call::<()>("ponder", &()).await));

    transport.fail_next(2);
    println!("{}, at the third attempt", shop.call::<String>("order", "quince").await?);

    transport.fail_next(4);
    let refused = said(shop.call::<String>("order", "fig").await);
    println!("fig: {refused}; the circuit is open: {}", breaker.is_open());
    tokio::time::sleep(SECOND / 4).await;
    println!("{}, later", shop.call::<String>("order", "fig").await?);

    let stranger = Client::connect(&memory, "shop", MessagePack).await?;
    println!("stranger: {}", said(stranger.call::<String>("order", "pear").await));

    // tower's own layers fit, too.
    let requester = polywire::rpc::Requester::open(&memory, "shop".try_into()?, 1024).await?;
    let hurried =
        ServiceBuilder::new().load_shed().timeout(SECOND / 10).service(ToTower::new(requester));
    let hurried = Client::new(FromTower::new(hurried), MessagePack)
        .layer(&SetHeader::new("authorization", "s3cret"));
    println!("ponder, by tower's timeout: {}", said(hurried.call::<()>("ponder", &()).await));
    Ok(())
}

fn said<T>(outcome: Result<T, CallError>) -> String {
    match outcome {
        Ok(_) => "done".to_owned(),
        Err(CallError::Fault(fault)) => fault.to_string(),
        Err(CallError::Failed(error)) => error.to_string(),
        Err(error) => error.to_string(),
    }
}
