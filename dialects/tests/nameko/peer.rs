//! Processes of nameko: a service, and a client that makes calls.
//!
//! Each wait has a limit, and none holds a thread: a test that fails leaves nothing that its
//! runtime would wait for.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::environment::peer;
use crate::patience::PATIENCE;

/// A process of nameko, which is killed when the value is dropped.
pub(crate) struct Peer {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts a service, and waits until it consumes. `None` without nameko.
    pub(crate) async fn serve(
        test: &'static str,
        url: &str,
        service: &str,
        serializer: &str,
    ) -> Option<Self> {
        Self::start(test, &["serve", url, service, serializer]).await
    }

    /// Starts a client. `None` without nameko.
    pub(crate) async fn client(test: &'static str, url: &str, serializer: &str) -> Option<Self> {
        Self::start(test, &["call", url, serializer]).await
    }

    async fn start(test: &'static str, arguments: &[&str]) -> Option<Self> {
        let mut command = Command::from(peer(test)?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut started = Self { child, input, output };
        assert_eq!(started.line().await.trim(), "ready");
        Some(started)
    }

    /// Reads the next line of the output.
    async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.output.next_line()).await;
        line.expect("the program writes a line in time").unwrap().expect("the program runs")
    }

    /// Makes a call, and returns the answer.
    pub(crate) async fn ask(&mut self, order: Value) -> Value {
        let order = format!("{order}\n");
        let written = timeout(PATIENCE, self.input.write_all(order.as_bytes())).await;
        written.expect("the program reads").unwrap();
        serde_json::from_str(&self.line().await).expect("the program answers")
    }

    /// Calls a method with positional arguments.
    pub(crate) async fn call(&mut self, service: &str, method: &str, args: Value) -> Value {
        self.ask(json!({ "service": service, "method": method, "args": args })).await
    }

    /// Waits until the process has ended by itself.
    pub(crate) async fn ended(&mut self) {
        timeout(PATIENCE, self.child.wait()).await.expect("the program ends").unwrap();
    }
}
