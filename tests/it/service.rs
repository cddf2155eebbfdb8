//! The items that `#[service]` generates, used over memory, ZeroMQ and RabbitMQ.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use polywire::{
    CallError, Client, Code, Context, Dialect, Fault, Json, MessagePack, Request, Router, Server,
    Service, service, service_fn,
};
use serde::{Deserialize, Serialize};

use crate::backends::Backend;

/// A calculator.
#[service]
trait Calculator {
    /// Adds two numbers.
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;

    /// Divides `a` by `b`.
    async fn divide(&self, a: i64, b: i64) -> Result<i64, Fault>;

    /// Returns the center of the points.
    #[method(name = "points.middle")]
    async fn middle(&self, points: Vec<Point>) -> Result<Option<Point>, Fault>;

    /// Stores a number with a note.
    async fn keep(&self, number: i64, note: Option<String>) -> Result<(), Fault>;

    /// Returns the stored numbers.
    async fn kept(&self) -> Result<Vec<i64>, Fault>;
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Point {
    x: f64,
    y: f64,
}

#[derive(Default)]
struct Abacus {
    kept: Mutex<Vec<i64>>,
}

impl Calculator for Abacus {
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault> {
        Ok(a + b)
    }

    async fn divide(&self, a: i64, b: i64) -> Result<i64, Fault> {
        tokio::task::yield_now().await;
        a.checked_div(b).ok_or_else(|| {
            Fault::new(Code::Application, "division by zero").with_kind("Arithmetic")
        })
    }

    async fn middle(&self, points: Vec<Point>) -> Result<Option<Point>, Fault> {
        let share = 1.0 / points.len() as f64;
        Ok(points
            .into_iter()
            .reduce(|a, b| Point { x: a.x + b.x, y: a.y + b.y })
            .map(|sum| Point { x: sum.x * share, y: sum.y * share }))
    }

    async fn keep(&self, number: i64, _: Option<String>) -> Result<(), Fault> {
        self.kept.lock().unwrap().push(number);
        Ok(())
    }

    async fn kept(&self) -> Result<Vec<i64>, Fault> {
        Ok(self.kept.lock().unwrap().clone())
    }
}

/// Returns a typed and an untyped client of one calculator in memory.
async fn calculator<D: Dialect>(dialect: D) -> Result<(CalculatorClient<D>, Client<D>), CallError> {
    calculator_on(&Backend::memory(), dialect).await
}

/// Returns a typed and an untyped client of one calculator.
async fn calculator_on<D: Dialect>(
    backend: &Backend,
    dialect: D,
) -> Result<(CalculatorClient<D>, Client<D>), CallError> {
    let (transport, name) = (backend.open("calculator").await?, backend.name("calculator"));
    let server = Server::bind(&transport, &*name).await?;
    tokio::spawn(server.serve(CalculatorServer::new(Abacus::default(), dialect.clone())));
    let typed = CalculatorClient::connect(&transport, &*name, dialect.clone()).await?;
    Ok((typed, Client::connect(&transport, &*name, dialect).await?))
}

/// Returns the fault of a failed call.
fn fault<T: std::fmt::Debug>(result: Result<T, CallError>) -> Fault {
    match result {
        Err(CallError::Fault(fault)) => fault,
        other => panic!("not a fault: {other:?}"),
    }
}

async fn calls_reach_the_implementation<D: Dialect>(dialect: D) -> Result<(), CallError> {
    for backend in Backend::all() {
        let (calculator, _) = calculator_on(&backend, dialect.clone()).await?;
        assert_eq!(calculator.add(2, 3).await?, 5);
        assert_eq!(calculator.divide(7, 2).await?, 3);
        let points = vec![Point { x: 1.0, y: 2.0 }, Point { x: 3.0, y: 4.0 }];
        assert_eq!(calculator.middle(points).await?, Some(Point { x: 2.0, y: 3.0 }));
        assert_eq!(calculator.middle(Vec::new()).await?, None);
        backend.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn calls_reach_the_implementation_in_json() -> Result<(), CallError> {
    calls_reach_the_implementation(Json).await
}

#[tokio::test]
async fn calls_reach_the_implementation_in_msgpack() -> Result<(), CallError> {
    calls_reach_the_implementation(MessagePack).await
}

#[tokio::test]
async fn calls_share_one_implementation() -> Result<(), CallError> {
    for backend in Backend::all() {
        let (calculator, _) = calculator_on(&backend, MessagePack).await?;
        calculator.keep(1, Some("first".into())).await?;
        calculator.clone().keep(2, None).await?;
        assert_eq!(calculator.kept().await?, [1, 2]);
        backend.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn clients_work_in_tasks_of_their_own() -> Result<(), CallError> {
    for backend in Backend::all() {
        let (transport, name) = (backend.open("calculator").await?, backend.name("calculator"));
        let server = Server::bind(&transport, &*name).await?;
        tokio::spawn(server.serve(CalculatorServer::new(Abacus::default(), MessagePack)));
        let sum = tokio::spawn(async move {
            CalculatorClient::connect(&transport, name, MessagePack).await?.add(2, 3).await
        });
        assert_eq!(sum.await.unwrap()?, 5);
        backend.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn faults_come_back_whole() -> Result<(), CallError> {
    let expected = Fault::new(Code::Application, "division by zero").with_kind("Arithmetic");
    for backend in Backend::all() {
        let (calculator, _) = calculator_on(&backend, Json).await?;
        assert_eq!(fault(calculator.divide(1, 0).await), expected);
        backend.close().await?;
    }
    Ok(())
}

async fn arguments_are_taken_by_name_and_by_position<D: Dialect>(
    dialect: D,
) -> Result<(), CallError> {
    for backend in Backend::all() {
        let (_, untyped) = calculator_on(&backend, dialect.clone()).await?;
        assert_eq!(untyped.call::<i64>("divide", &(7, 2)).await?, 3);
        assert_eq!(untyped.call::<i64>("divide", &BTreeMap::from([("b", 2), ("a", 7)])).await?, 3);
        let none: Option<Point> =
            untyped.call("points.middle", &BTreeMap::from([("points", [0; 0])])).await?;
        assert_eq!(none, None);
        backend.close().await?;
    }
    Ok(())
}

#[tokio::test]
async fn arguments_are_taken_by_name_and_by_position_in_json() -> Result<(), CallError> {
    arguments_are_taken_by_name_and_by_position(Json).await
}

#[tokio::test]
async fn arguments_are_taken_by_name_and_by_position_in_msgpack() -> Result<(), CallError> {
    arguments_are_taken_by_name_and_by_position(MessagePack).await
}

async fn no_arguments_are_taken_in_every_spelling<D: Dialect>(dialect: D) -> Result<(), CallError> {
    let (_, untyped) = calculator(dialect).await?;
    assert_eq!(untyped.call::<Vec<i64>>("kept", &()).await?, [0; 0]);
    assert_eq!(untyped.call::<Vec<i64>>("kept", &[0; 0]).await?, [0; 0]);
    assert_eq!(untyped.call::<Vec<i64>>("kept", &BTreeMap::<String, i64>::new()).await?, [0; 0]);
    assert_eq!(fault(untyped.call::<Vec<i64>>("kept", &7).await).code, Code::InvalidArguments);
    Ok(())
}

#[tokio::test]
async fn no_arguments_are_taken_in_every_spelling_in_json() -> Result<(), CallError> {
    no_arguments_are_taken_in_every_spelling(Json).await
}

#[tokio::test]
async fn no_arguments_are_taken_in_every_spelling_in_msgpack() -> Result<(), CallError> {
    no_arguments_are_taken_in_every_spelling(MessagePack).await
}

#[tokio::test]
async fn optional_arguments_may_be_missing_and_unknown_ones_are_ignored() -> Result<(), CallError> {
    let (_, untyped) = calculator(MessagePack).await?;
    untyped.call::<()>("keep", &BTreeMap::from([("number", 1)])).await?;
    untyped.call::<()>("keep", &BTreeMap::from([("number", 2), ("color", 3)])).await?;
    assert_eq!(untyped.call::<Vec<i64>>("kept", &BTreeMap::from([("since", 7)])).await?, [1, 2]);
    Ok(())
}

async fn bad_arguments_are_named<D: Dialect>(dialect: D) -> Result<(), CallError> {
    let (_, untyped) = calculator(dialect).await?;
    let bad =
        fault(untyped.call::<i64>("add", &BTreeMap::from([("a", "two"), ("b", "three")])).await);
    assert_eq!(bad.code, Code::InvalidArguments);
    assert!(bad.message.contains("path: a") && bad.message.contains("expected i64"), "{bad}");
    let missing = fault(untyped.call::<i64>("add", &BTreeMap::from([("a", 2)])).await);
    assert!(missing.message.contains("missing field `b`"), "{missing}");
    let too_few = fault(untyped.call::<i64>("add", &[2]).await);
    assert!(too_few.message.contains("expected the arguments (a, b)"), "{too_few}");
    Ok(())
}

#[tokio::test]
async fn bad_arguments_are_named_in_json() -> Result<(), CallError> {
    bad_arguments_are_named(Json).await
}

#[tokio::test]
async fn bad_arguments_are_named_in_msgpack() -> Result<(), CallError> {
    bad_arguments_are_named(MessagePack).await
}

#[tokio::test]
async fn renamed_methods_do_not_answer_to_their_old_name() -> Result<(), CallError> {
    let (_, untyped) = calculator(Json).await?;
    assert_eq!(fault(untyped.call::<()>("middle", &((),)).await).code, Code::MethodNotFound);
    Ok(())
}

#[tokio::test]
async fn clients_send_arguments_by_name() -> Result<(), CallError> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sum {
        a: i64,
        b: i64,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}
    let router = Router::new(Json)
        .method("add", |Sum { a, b }: Sum| async move { Ok(a + b) })
        .method("kept", |Nothing {}: Nothing| async move { Ok([7]) });
    let calculator = CalculatorClient::from(Client::new(router, Json));
    assert_eq!(calculator.add(2, 3).await?, 5);
    assert_eq!(calculator.kept().await?, [7]);
    Ok(())
}

#[tokio::test]
async fn clients_and_servers_go_through_middleware() -> Result<(), CallError> {
    let server = std::sync::Arc::new(CalculatorServer::new(Abacus::default(), Json));
    let layer = service_fn(move |request: Request| {
        let server = server.clone();
        async move { server.call(request).await }
    });
    let calculator = CalculatorClient::from(Client::new(layer, Json));
    assert_eq!(calculator.add(2, 3).await?, 5);
    assert_eq!(
        calculator.as_ref().request("add").header("trace", "abc").call::<i64>(&(2, 3)).await?,
        5
    );
    Ok(())
}

#[tokio::test]
async fn timeouts_are_those_of_the_client() -> Result<(), CallError> {
    let router =
        Router::new(Json).method("add", |context: Context, _: BTreeMap<String, i64>| async move {
            Ok(context.deadline.map_or(0, polywire::Deadline::remaining_ms))
        });
    let calculator = CalculatorClient::from(Client::new(std::sync::Arc::new(router), Json));
    assert!((7_001..=30_000).contains(&calculator.add(2, 3).await?));
    assert!(
        (1..=7_000).contains(&calculator.with_timeout(Duration::from_secs(7)).add(2, 3).await?)
    );
    Ok(())
}
