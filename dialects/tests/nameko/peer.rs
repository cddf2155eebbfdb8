//! Processes of nameko: a service, and a client that makes calls.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::environment::peer;
use crate::patience::PATIENCE;

/// A process of nameko, which is killed when the value is dropped.
pub(crate) struct Peer {
    child: Child,
    io: Option<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Peer {
    /// Starts a service, and waits until it consumes. `None` without nameko.
    pub(crate) async fn serve(
        test: &'static str,
        url: &str,
        service: &str,
        serializer: &str,
    ) -> Option<Self> {
        let arguments = ["serve", url, service, serializer].map(ToOwned::to_owned);
        Self::start(test, arguments.to_vec()).await
    }

    /// Starts a client. `None` without nameko.
    pub(crate) async fn client(test: &'static str, url: &str, serializer: &str) -> Option<Self> {
        let arguments = ["call", url, serializer].map(ToOwned::to_owned);
        Self::start(test, arguments.to_vec()).await
    }

    async fn start(test: &'static str, arguments: Vec<String>) -> Option<Self> {
        let starting = tokio::task::spawn_blocking(move || {
            let mut command: Command = peer(test)?;
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let input = child.stdin.take().unwrap();
            let mut output = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            assert_eq!(line.trim(), "ready");
            Some(Self { child, io: Some((input, output)) })
        });
        timeout(2 * PATIENCE, starting).await.expect("the program is ready").unwrap()
    }

    /// Makes a call, and returns the answer.
    pub(crate) async fn ask(&mut self, order: Value) -> Value {
        let (mut input, mut output) = self.io.take().unwrap();
        let asking = tokio::task::spawn_blocking(move || {
            writeln!(input, "{order}").unwrap();
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            (serde_json::from_str(&line).expect("the program answers"), (input, output))
        });
        let (answer, io) = timeout(PATIENCE, asking).await.expect("the call ends").unwrap();
        self.io = Some(io);
        answer
    }

    /// Calls a method with positional arguments.
    pub(crate) async fn call(&mut self, service: &str, method: &str, args: Value) -> Value {
        self.ask(json!({ "service": service, "method": method, "args": args })).await
    }

    /// Waits until the process has ended by itself.
    pub(crate) fn wait(&mut self) {
        self.child.wait().unwrap();
    }

    /// Ends the process without a farewell.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.kill();
    }
}
