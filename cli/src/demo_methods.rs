//! The methods of `polywire demo`, one for each kind of outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use polywire::{Code, Dialect, Fault, Router, service};
use serde_json::{Value, json};

/// A service to try a client with.
#[service]
pub(crate) trait Demo {
    /// Adds two numbers.
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault>;

    /// Returns the value.
    async fn echo(&self, value: Value) -> Result<Value, Fault>;

    /// Fails as `ValueError`, with the details `["boom", 42]`.
    async fn fail(&self) -> Result<(), Fault>;

    /// Returns after so many milliseconds.
    async fn sleep(&self, ms: u64) -> Result<(), Fault>;

    /// Returns the name and the process of the server.
    async fn whoami(&self) -> Result<String, Fault>;
}

/// The implementation of the methods.
pub(crate) struct Methods;

impl Demo for Methods {
    async fn add(&self, a: i64, b: i64) -> Result<i64, Fault> {
        a.checked_add(b).ok_or_else(|| {
            Fault::new(Code::Application, "the sum exceeds 64 bits").with_kind("OverflowError")
        })
    }

    async fn echo(&self, value: Value) -> Result<Value, Fault> {
        Ok(value)
    }

    async fn fail(&self) -> Result<(), Fault> {
        let fault = Fault::new(Code::Application, "('boom', 42)").with_kind("ValueError");
        Err(fault.with_value(json!(["boom", 42])))
    }

    async fn sleep(&self, ms: u64) -> Result<(), Fault> {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Ok(())
    }

    async fn whoami(&self) -> Result<String, Fault> {
        Ok(format!("polywire {}, process {}", env!("CARGO_PKG_VERSION"), std::process::id()))
    }
}

/// The object of the methods on the wire of amqprpc, unless a setting names another.
const OBJECT: &str = "Demo";

/// Returns the methods as amqprpc has them: names with capitals, and one argument. They are those
/// of the object `Demo`, and those of the object that the dialect has.
pub(crate) fn of_object<D: Dialect>(dialect: &D) -> Router<D> {
    functions(dialect).nest(OBJECT, functions(dialect))
}

fn functions<D: Dialect>(dialect: &D) -> Router<D> {
    Router::new(dialect.clone())
        .method("Add", |numbers: BTreeMap<String, i64>| async move {
            // A number that is missing is 0, as in Go.
            let number = |name: &str| numbers.get(name).copied().unwrap_or_default();
            Methods.add(number("A"), number("B")).await
        })
        .method("Echo", |value: Value| async move { Methods.echo(value).await })
        .method("Fail", |(): ()| async move { Methods.fail().await })
        .method("Sleep", |ms: u64| async move { Methods.sleep(ms).await })
        .method("Whoami", |(): ()| async move { Methods.whoami().await })
}
