//! Arguments by position and by name in one call.

use std::sync::Mutex;

use polywire::rpc::Args;
use polywire::{
    CallError, Client, Code, Dialect, Fault, Json, Memory, MessagePack, Server, service,
};

/// A calculator.
#[service]
trait Calculator {
    /// Divides `a` by `b`.
    async fn divide(&self, a: i64, b: i64) -> Result<i64, Fault>;

    /// Stores a number with a note.
    async fn keep(&self, number: i64, note: Option<String>) -> Result<(), Fault>;

    /// Returns the latest of the stored numbers.
    async fn kept(&self, #[arg(default = 10)] last: usize) -> Result<Vec<i64>, Fault>;
}

#[derive(Default)]
struct Abacus {
    kept: Mutex<Vec<i64>>,
}

impl Calculator for Abacus {
    async fn divide(&self, a: i64, b: i64) -> Result<i64, Fault> {
        Ok(a / b)
    }

    async fn keep(&self, number: i64, _: Option<String>) -> Result<(), Fault> {
        self.kept.lock().unwrap().push(number);
        Ok(())
    }

    async fn kept(&self, last: usize) -> Result<Vec<i64>, Fault> {
        Ok(self.kept.lock().unwrap().iter().rev().take(last).copied().collect())
    }
}

/// Returns an untyped client of a calculator.
async fn calculator<D: Dialect>(dialect: D) -> Result<Client<D>, CallError> {
    let transport = Memory::new();
    let server = Server::bind(&transport, "calculator").await?;
    tokio::spawn(server.serve(CalculatorServer::new(Abacus::default(), dialect.clone())));
    Ok(Client::connect(&transport, "calculator", dialect).await?)
}

async fn arguments_are_taken_mixed<D: Dialect>(dialect: D) -> Result<(), CallError> {
    let untyped = calculator(dialect).await?;
    let mixed = Args::new().arg(7).named("b", 2);
    assert_eq!(untyped.call::<i64>("divide", &mixed).await?, 3);
    let named_first = Args::new().named("b", 2).arg(7);
    assert_eq!(untyped.call::<i64>("divide", &named_first).await?, 3);
    let positional = Args::new().arg(7).arg(2);
    assert_eq!(untyped.call::<i64>("divide", &positional).await?, 3);
    let named = Args::new().named("b", 2).named("a", 7);
    assert_eq!(untyped.call::<i64>("divide", &named).await?, 3);
    let left_out = Args::new().arg(5).named("unknown", "and of another type");
    untyped.call::<()>("keep", &left_out).await?;
    assert_eq!(untyped.call::<Vec<i64>>("kept", &Args::new()).await?, [5]);
    assert_eq!(untyped.call::<Vec<i64>>("kept", &Args::new().named("last", 0)).await?, [0; 0]);
    for (args, cause) in [
        (Args::new().arg(7).named("a", 2), "duplicate field `a`"),
        (Args::new().arg(7).named("c", 2), "missing field `b`"),
    ] {
        let error = untyped.call::<i64>("divide", &args).await.unwrap_err();
        let fault = error.fault().unwrap();
        assert_eq!(fault.code, Code::InvalidArguments);
        assert!(fault.message.contains(cause), "{fault}");
    }
    Ok(())
}

#[tokio::test]
async fn arguments_are_taken_mixed_in_json() -> Result<(), CallError> {
    arguments_are_taken_mixed(Json).await
}

#[tokio::test]
async fn arguments_are_taken_mixed_in_msgpack() -> Result<(), CallError> {
    arguments_are_taken_mixed(MessagePack).await
}

/// Methods and arguments whose joined names are equal.
#[service]
trait Joined {
    /// Returns its argument.
    async fn a(&self, #[arg(default = 1)] default_b: u32) -> Result<u32, Fault>;

    /// Returns its argument.
    async fn a_default(&self, #[arg(default = 2)] b: u32) -> Result<u32, Fault>;
}

struct Echo;

impl Joined for Echo {
    async fn a(&self, default_b: u32) -> Result<u32, Fault> {
        Ok(default_b)
    }

    async fn a_default(&self, b: u32) -> Result<u32, Fault> {
        Ok(b)
    }
}

#[tokio::test]
async fn each_argument_has_its_own_default() -> Result<(), CallError> {
    let client = Client::new(JoinedServer::new(Echo, Json), Json);
    assert_eq!(client.call::<u32>("a", &()).await?, 1);
    assert_eq!(client.call::<u32>("a", &Args::new()).await?, 1);
    assert_eq!(client.call::<u32>("a_default", &()).await?, 2);
    assert_eq!(client.call::<u32>("a_default", &Args::new()).await?, 2);
    Ok(())
}
