//! The costs of routers, contexts, macros and layers: calls over memory, one after the other,
//! through one of the subjects.
//!
//! ```text
//! cargo xtask costs    # all subjects, as a table
//! cargo build --release -p polywire-overhead
//! valgrind target/release/polywire-overhead router 1000    # allocations: "total heap usage"
//! valgrind --tool=callgrind target/release/polywire-overhead router 1000    # instructions
//! ```
//!
//! The difference between two runs with different numbers of calls is the cost of calls alone. The
//! figures are in `bench/README.md`.
//!
//! | subject | a call |
//! |---|---|
//! | `encode` | arguments and a result are written in MessagePack |
//! | `decode` | the same are read |
//! | `dispatch` | a `Client` of a `Router` of one function, in one process and without a transport |
//! | `bare` | a `Requester` and a `service_fn`, with bodies that exist already |
//! | `codec` | a `Client` and a `service_fn` that reads and writes MessagePack by hand |
//! | `router` | a `Client` and a `Router` of one function |
//! | `extract` | the same function asks for a state and the deadline |
//! | `context` | the same function asks for its context |
//! | `macro` | the code that `#[service]` generates |
//! | `trace` | the same, with the layer `Trace` on both sides, and no subscriber |
//! | `onward` | a function that calls another service, by the code that `#[service]` generates: two calls |
//! | `declared` | the same, with a method that declares an error and does not fail |

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use polywire::middleware::{Layer, Trace};
use polywire::rpc::Requester;
use polywire::{
    Address, CallError, Client, Context, Deadline, Dialect, Fault, Memory, Message, MessagePack,
    Reply, Request, Router, Server, Service, State, service, service_fn,
};

/// The service of `macro`, `trace`, `onward` and `declared`.
#[service]
trait Calculator {
    /// Adds two numbers. The method declares no error of its own.
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;
    /// Adds two numbers. The method declares an error, which no call here causes.
    async fn sum(&self, a: i64, b: i64) -> Result<i64, TooLarge>;
}

/// The declared error of `sum`.
#[derive(Debug, Fault)]
struct TooLarge;

impl std::fmt::Display for TooLarge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the sum is too large")
    }
}

impl std::error::Error for TooLarge {}

/// The implementation of the service.
struct Abacus;

impl Calculator for Abacus {
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault> {
        Ok(a + b)
    }

    async fn sum(&self, a: i64, b: i64) -> Result<i64, TooLarge> {
        a.checked_add(b).ok_or(TooLarge)
    }
}

/// Makes the calls of a subject, one after the other.
///
/// One thread runs client and server, so the counts depend on no scheduler of the system.
///
/// # Errors
///
/// If an argument is missing, the subject is unknown, or a call fails.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let subject = arguments.next().context("usage: polywire-overhead SUBJECT CALLS")?;
    let calls: u64 = arguments.next().context("usage: polywire-overhead SUBJECT CALLS")?.parse()?;
    let transport = Memory::new();
    match subject.as_str() {
        "encode" => (0..calls.cast_signed()).try_for_each(|n| encode(n).map(drop))?,
        "decode" => decode(&encode(7)?, calls)?,
        "dispatch" => {
            let add = async |(a, b): (i64, i64)| Ok(a + b);
            let router = Router::new(MessagePack).method("add", add);
            call(&Client::new(router, MessagePack), calls).await?;
        }
        "bare" => bare(&transport, calls).await?,
        "codec" => {
            let by_hand = |request: Request| async move {
                let (a, b): (i64, i64) = MessagePack.decode_call(&request.message)?;
                let mut reply = Message::default();
                MessagePack.encode_outcome(Ok(&(a + b)), &mut reply)?;
                Ok::<_, CallError>(Reply::from(reply))
            };
            untyped(&transport, calls, service_fn(by_hand)).await?;
        }
        "router" => {
            let add = async |(a, b): (i64, i64)| Ok(a + b);
            untyped(&transport, calls, Router::new(MessagePack).method("add", add)).await?;
        }
        "extract" => {
            let add =
                async |State(_): State<Arc<()>>, _: Option<Deadline>, (a, b): (i64, i64)| Ok(a + b);
            let router = Router::with_state(MessagePack, Arc::new(())).method("add", add);
            untyped(&transport, calls, router).await?;
        }
        "context" => {
            let add =
                async |context: Context, (a, b): (i64, i64)| Ok(a + b + i64::from(context.attempt));
            untyped(&transport, calls, Router::new(MessagePack).method("add", add)).await?;
        }
        "macro" => add(&typed(&transport).await?, calls).await?,
        "trace" => {
            let server = Server::bind(&transport, "calculator").await?;
            let service = CalculatorServer::new(Abacus, MessagePack);
            tokio::spawn(server.serve(Trace::server("calculator").layer(service)));
            let client = Client::connect(&transport, "calculator", MessagePack).await?;
            add(&CalculatorClient::from(client.layer(&Trace::client("calculator"))), calls).await?;
        }
        "onward" => {
            let calculator = typed(&transport).await?;
            let add = move |(a, b): (i64, i64)| {
                let calculator = calculator.clone();
                async move { Ok(calculator.add(a, b).await?) }
            };
            let onward = Router::new(MessagePack).method("add", add);
            tokio::spawn(Server::bind(&transport, "onward").await?.serve(onward));
            call(&Client::connect(&transport, "onward", MessagePack).await?, calls).await?;
        }
        "declared" => {
            let calculator = typed(&transport).await?;
            for n in 0..calls.cast_signed() {
                calculator.sum(n, n).await?;
            }
        }
        other => bail!("no subject {other:?}"),
    }
    Ok(())
}

/// Makes calls without a client or a router. The handler returns the body of the request.
///
/// The body is static, so no call allocates one.
async fn bare(transport: &Memory, calls: u64) -> Result<()> {
    let body = Bytes::from_static(b"\x92\x02\x03");
    let echo = service_fn(|request: Request| async move {
        Ok::<_, CallError>(Reply::new(request.message.body))
    });
    tokio::spawn(Server::bind(transport, "calculator").await?.serve(echo));
    let requester =
        Requester::open(transport, "calculator".try_into()?, Requester::DEFAULT_PENDING_MAX)
            .await?;
    for _ in 0..calls {
        let deadline = Deadline::after(std::time::Duration::from_secs(30));
        let mut message = Message::request(Address::from_static("add")?, deadline);
        message.body = body.clone().into();
        requester.call(Request::new(message)).await?;
    }
    Ok(())
}

/// Calls `add` of a service that no macro has generated.
async fn untyped(transport: &Memory, calls: u64, service: impl Service) -> Result<()> {
    tokio::spawn(Server::bind(transport, "calculator").await?.serve(service));
    call(&Client::connect(transport, "calculator", MessagePack).await?, calls).await
}

/// Writes a call and its result.
fn encode(n: i64) -> Result<(Message, Message)> {
    let (mut call, mut reply) = (Message::default(), Message::default());
    MessagePack.encode_call(&(n, n), &mut call)?;
    MessagePack.encode_outcome(Ok(&n), &mut reply)?;
    Ok((call, reply))
}

/// Reads a call and its result many times.
///
/// The reply is cloned for each call, since decoding an outcome changes the message.
///
/// # Errors
///
/// If the decoded values differ from those that were written.
fn decode((call, reply): &(Message, Message), calls: u64) -> Result<()> {
    for _ in 0..calls {
        let (a, b): (i64, i64) = MessagePack.decode_call(call)?;
        let sum: Result<i64, Fault> = MessagePack.decode_outcome(&mut reply.clone())?;
        anyhow::ensure!(sum.is_ok_and(|sum| sum == a && a == b), "cannot read the reply");
    }
    Ok(())
}

/// Calls the method `add` by its name, and drops the results.
async fn call<S: Service>(client: &Client<MessagePack, S>, calls: u64) -> Result<()> {
    for n in 0..calls.cast_signed() {
        let _: i64 = client.call(Address::from_static("add")?, &(n, n)).await?;
    }
    Ok(())
}

/// Calls the method `add` by the generated client, and drops the results.
async fn add<S: Service>(calculator: &CalculatorClient<MessagePack, S>, calls: u64) -> Result<()> {
    for n in 0..calls.cast_signed() {
        calculator.add(n, n).await?;
    }
    Ok(())
}

/// Starts the generated server in a task, and connects the generated client.
async fn typed(transport: &Memory) -> Result<CalculatorClient<MessagePack>> {
    let server = Server::bind(transport, "calculator").await?;
    tokio::spawn(server.serve(CalculatorServer::new(Abacus, MessagePack)));
    Ok(CalculatorClient::connect(transport, "calculator", MessagePack).await?)
}
