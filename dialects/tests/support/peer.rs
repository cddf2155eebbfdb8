//! Processes of another system: a service, and a client that makes calls.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;
use tokio::time::timeout;

use crate::patience::PATIENCE;
use crate::python::not_run;

/// A process of another system, which is killed when the value is dropped.
pub(crate) struct Peer {
    pub(crate) child: Child,
    io: Option<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Peer {
    /// Starts a process, and waits until it is ready. `None` without the packages of the peer, and
    /// with a broker that refuses its queues: a line that is not `ready` has the reason.
    pub(crate) async fn start(
        test: &'static str,
        peer: fn(&str) -> Option<Command>,
        arguments: Vec<String>,
    ) -> Option<Self> {
        let starting = tokio::task::spawn_blocking(move || {
            let mut command = peer(test)?;
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let input = child.stdin.take().unwrap();
            let mut output = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            let started = Self { child, io: Some((input, output)) };
            if let Some(reason) = line.strip_prefix("refused: ") {
                not_run(test, reason.trim());
                return None;
            }
            assert_eq!(line.trim(), "ready");
            Some(started)
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
}

impl Drop for Peer {
    /// Ends the process without a farewell.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
