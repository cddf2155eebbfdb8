//! Processes that stand in for amqprpc: a service, and a client that makes calls.

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::peer::Peer;
use crate::python;

/// A Python interpreter with the libraries of the peer, or the cause that there is none.
static PYTHON: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let requirements = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/amqprpc/requirements.txt");
    python::environment("amqprpc", "import pika, msgpack", requirements)
});

/// Returns a command that runs the peer. Without its libraries, writes that `test` is not run.
fn program(test: &str) -> Option<Command> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/amqprpc/peer.py");
    python::command(&PYTHON, program, "pika and msgpack", test)
}

/// The languages whose behavior the peer has.
pub(crate) const LANGUAGES: [&str; 2] = ["python", "go"];

impl Peer {
    /// Starts a service, and waits until it consumes. `None` if the test cannot run.
    pub(crate) async fn serve(
        test: &'static str,
        url: &str,
        service: &str,
        format: &str,
        language: &str,
    ) -> Option<Self> {
        let arguments = ["serve", url, service, format, language].map(ToOwned::to_owned);
        Self::start(test, program, arguments.to_vec()).await
    }

    /// Starts a client. `None` if the test cannot run.
    pub(crate) async fn client(
        test: &'static str,
        url: &str,
        format: &str,
        language: &str,
    ) -> Option<Self> {
        let arguments = ["call", url, format, language].map(ToOwned::to_owned);
        Self::start(test, program, arguments.to_vec()).await
    }

    /// Calls a method with each argument at once. Returns an answer for each.
    pub(crate) async fn calls(
        &mut self,
        service: &str,
        method: &str,
        arguments: &[Value],
    ) -> Vec<Value> {
        let order = json!({ "service": service, "method": method, "arguments": arguments });
        serde_json::from_value(self.ask(order).await).expect("a list of answers")
    }

    /// Calls a method. Returns the answer.
    pub(crate) async fn call(&mut self, service: &str, method: &str, argument: Value) -> Value {
        self.calls(service, method, &[argument]).await.remove(0)
    }
}
