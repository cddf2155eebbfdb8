//! Processes of another system: a service, and a client that makes calls.
//!
//! Each wait has a limit, and none holds a thread: a test that fails leaves nothing that its
//! runtime would wait for.

use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use crate::patience::PATIENCE;
use crate::python::not_run;

/// A process of another system, which is killed when the value is dropped.
pub(crate) struct Peer {
    pub(crate) child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    /// Starts a process, and waits until it is ready. `None` without the packages of the peer, and
    /// with a broker that refuses its queues: a line that is not `ready` has the reason.
    pub(crate) async fn start(
        test: &'static str,
        peer: fn(&str) -> Option<std::process::Command>,
        arguments: Vec<String>,
    ) -> Option<Self> {
        let mut command = Command::from(peer(test)?);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut started = Self { child, input, output };
        let line = started.line().await;
        if let Some(reason) = line.strip_prefix("refused: ") {
            not_run(test, reason.trim());
            return None;
        }
        assert_eq!(line.trim(), "ready");
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
}

impl Drop for Peer {
    /// Kills the process.
    fn drop(&mut self) {
        // Fails for a process that has ended.
        let _ = self.child.start_kill();
    }
}
