//! A server in a separate process, which a test can kill, freeze and measure.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::fs::{File, OpenOptions};
use std::future::pending;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Client, Publisher, Router, Server, Transport};
use polywire_zmq::Zmq;

/// The environment variable with the URL to serve at. If it is set, the test program is a server.
const URL: &str = "POLYWIRE_ZMQ_SERVE";
/// The environment variable with the file in which the server records the calls that it handles.
const RECORD: &str = "POLYWIRE_ZMQ_RECORD";
/// The beginning of the line in which the server reports its endpoints.
const ENDPOINTS: &str = "endpoints=";

/// A process that serves `echo`, and publishes on `news` if the URL has any free port (`:*`). Calls
/// of `hang` get no reply.
///
/// Dropping the value ends the process. The process also ends with its parent.
pub(crate) struct ServerProcess {
    child: Child,
    /// The endpoint of the server, and that of the publisher.
    pub(crate) endpoints: Vec<String>,
    /// Held, since the process ends when it cannot print.
    _output: BufReader<ChildStdout>,
}

impl ServerProcess {
    /// Starts a process, and waits until it serves. Retries while its port is in use.
    pub(crate) fn start(url: &str) -> Self {
        Self::start_recording(url, None)
    }

    /// Starts a process that records the argument of each call of `echo` and `hang` in a file when
    /// the call begins. See [`recorded_calls`].
    pub(crate) fn start_recording(url: &str, record: Option<&Path>) -> Self {
        for _ in 0..100 {
            if let Some(process) = Self::try_start(url, record) {
                return process;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no server started at {url}");
    }

    fn try_start(url: &str, record: Option<&Path>) -> Option<Self> {
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::{TEST}"), "--nocapture"])
            .env(URL, url)
            .envs(record.map(|record| (RECORD, record)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let Some(endpoints) = read_endpoints(&mut output) else {
            let _ = child.wait();
            return None;
        };
        Some(Self { child, endpoints, _output: output })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Kills the process with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent =
            Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Returns the resident memory and its peak, in KiB.
    pub(crate) fn memory_kib(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

/// Reads the endpoints that the process reports. Returns `None` if the process ends before.
fn read_endpoints(output: &mut BufReader<ChildStdout>) -> Option<Vec<String>> {
    let mut lines = output.lines().map_while(Result::ok);
    lines.find_map(|line| {
        Some(line.split_once(ENDPOINTS)?.1.split(',').map(ToOwned::to_owned).collect())
    })
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The name of the test that serves.
const TEST: &str = "serve_in_a_separate_process";

/// Serves if a test has started this process for it. Does nothing otherwise.
#[test]
fn serve_in_a_separate_process() {
    let Ok(url) = std::env::var(URL) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(serve(&url));
}

async fn serve(url: &str) {
    let transport = Zmq::connect(url).await.unwrap();
    let Ok(server) = Server::bind(&transport, "echo").await else { return };
    let record = std::env::var_os(RECORD).map(|path| {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Arc::new(file.unwrap())
    });
    let hang_record = record.clone();
    let echo = move |(number,): (u64,)| {
        let record = record.clone();
        async move {
            if let Some(record) = record {
                record_call(&record, number);
            }
            Ok(number)
        }
    };
    let hang = move |(number,): (u64,)| {
        let record = hang_record.clone();
        async move {
            if let Some(record) = record {
                record_call(&record, number);
            }
            Ok(pending::<u64>().await)
        }
    };
    let router = Router::new(MessagePack)
        .method("echo", echo)
        .method("hang", hang)
        .method("process", |(): ()| async move { Ok(std::process::id()) });
    tokio::spawn(server.serve(router));
    // A fixed port is bound by the server already.
    let publisher = match url.contains(":*") && transport.capabilities().pubsub {
        true => Some(Publisher::connect(&transport, "news", MessagePack).await.unwrap()),
        false => None,
    };
    println!("{ENDPOINTS}{}", transport.local_endpoints().join(","));
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()))
        .await
        .unwrap()
        .unwrap();
    drop(publisher);
    transport.close().await.unwrap();
}

/// Records a call. One write of 8 bytes to a file opened for appending is atomic, and outlives the
/// process.
fn record_call(mut record: &File, number: u64) {
    record.write_all(&number.to_be_bytes()).unwrap();
}

/// Reads the arguments of the calls that server processes have recorded, in the order of handling.
pub(crate) fn recorded_calls(record: &Path) -> Vec<u64> {
    let bytes = std::fs::read(record).unwrap();
    let (calls, rest) = bytes.as_chunks::<8>();
    assert!(rest.is_empty(), "a record is incomplete");
    calls.iter().copied().map(u64::from_be_bytes).collect()
}

/// Connects a client to `echo`.
pub(crate) async fn client(transport: &Zmq) -> Client<MessagePack> {
    Client::connect(transport, "echo", MessagePack).timeout(Duration::from_secs(10)).await.unwrap()
}
