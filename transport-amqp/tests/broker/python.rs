//! Interoperability with Python programs on the native wire: those of `examples/python` that use
//! RabbitMQ.
//!
//! The first test installs pika from PyPI into a virtual environment below the target folder. Where
//! Python or pip is missing, the tests are reported as not run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use libtest_mimic::Trial;
use polywire_amqp::Amqp;
use polywire_codec::Json;
use polywire_core::{CallError, Client, Code, ErrorKind, Router, Server};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::time::timeout;

use crate::context::PATIENCE;

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        broker python_calls_our_server,
        broker our_client_calls_python,
    ]
}

/// A Python interpreter with pika, or the cause that there is none.
static PYTHON: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pika");
    let python = venv.join("bin/python");
    if run(Command::new(&python).args(["-c", "import pika"])).is_err() {
        run(Command::new("timeout").args(["300", "python3", "-m", "venv"]).arg(&venv))?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pika"];
        // A registry that does not answer must not hold the tests.
        run(Command::new("timeout").arg("300").arg(&python).args(install))?;
    }
    Ok(python)
});

/// Runs a command. Fails with its error output.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(text(&output.stderr)) }
}

/// Runs a program to its end. Returns its output, or its error output if it fails.
async fn outcome(command: Command) -> Result<String, String> {
    let output = tokio::process::Command::from(command).kill_on_drop(true).output();
    let output = timeout(PATIENCE, output).await.expect("the program ends").unwrap();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// Returns a command that runs Python in the folder of the examples. Without Python, writes that
/// `test` is not run.
fn python(test: &str) -> Option<Command> {
    match &*PYTHON {
        Ok(python) => {
            let mut command = Command::new(python);
            command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/python"));
            command.env("PYTHONDONTWRITEBYTECODE", "1");
            Some(command)
        }
        Err(why) => {
            let why = why.lines().last().unwrap_or("no output");
            let _ = writeln!(std::io::stderr(), "not run: {test}: cannot install pika: {why}");
            None
        }
    }
}

async fn python_calls_our_server(url: String) {
    let Some(command) = blocking(|| python("python_calls_our_server")).await else { return };
    let amqp = Amqp::connect(&url).await.unwrap();
    let server = Server::bind(&amqp, "calculator.ours").await.unwrap();
    let router = Router::new(Json)
        .method("add", |(a, b): (i64, i64)| async move { Ok(a + b) })
        .method("echo", |(text,): (String,)| async move { Ok(text) });
    tokio::spawn(server.serve(router));
    drop(command);
    let call = async |service: &str, method: &str, arguments: &str| {
        let arguments = ["amqp_client.py", &url, service, method, arguments];
        let mut command = python("python_calls_our_server").unwrap();
        command.args(arguments);
        outcome(command).await
    };
    assert_eq!(call("calculator.ours", "add", "[2, 3]").await.unwrap(), "5");
    let long = format!("\"{}\"", "x".repeat(20_000));
    assert_eq!(call("calculator.ours", "echo", &format!("[{long}]")).await.unwrap(), long);
    let unknown = call("calculator.ours", "subtract", "[2, 3]").await.unwrap_err();
    assert!(unknown.contains("RuntimeError: MethodNotFound"), "{unknown}");
    let malformed = call("calculator.ours", "add", "[2]").await.unwrap_err();
    assert!(malformed.contains("RuntimeError: InvalidArguments"), "{malformed}");
    let refused = call("barometer", "add", "[2, 3]").await.unwrap_err();
    assert!(refused.contains("LookupError"), "{refused}");
}

async fn our_client_calls_python(url: String) {
    let Some(mut command) = blocking(|| python("our_client_calls_python")).await else { return };
    command.args(["amqp_server.py", &url]);
    let _running = RunningProgram::start(command).await;
    let amqp = Amqp::connect(&url).await.unwrap();
    let client = Client::connect(&amqp, "calculator", Json).timeout(PATIENCE).await.unwrap();
    assert_eq!(client.call::<i64>("add", &(2, 3)).await.unwrap(), 5);
    let divided: Result<f64, _> = client.call("divide", &(1, 0)).await;
    assert!(
        matches!(&divided, Err(CallError::Fault(fault)) if fault.code == Code::Application),
        "{divided:?}"
    );
    let unknown: Result<f64, _> = client.call("subtract", &(1, 0)).await;
    assert!(
        matches!(&unknown, Err(CallError::Fault(fault)) if fault.code == Code::MethodNotFound),
        "{unknown:?}"
    );
    let nobody = Client::connect(&amqp, "barometer", Json).await.unwrap();
    let refused = nobody.call::<f64>("add", &(2, 3)).await.unwrap_err();
    assert_eq!(refused.kind(), Some(ErrorKind::Unroutable), "{refused:?}");
}

/// Runs a function outside of the threads of the runtime.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(run).await.unwrap()
}

/// A program that runs until the value is dropped.
struct RunningProgram {
    _child: Child,
}

impl RunningProgram {
    /// Starts a program, and waits for its first line.
    async fn start(command: Command) -> Self {
        let mut command = tokio::process::Command::from(command);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(PATIENCE, lines.next_line()).await;
        let line = line.expect("the program writes a line in time").unwrap();
        assert_eq!(line.as_deref().map(str::trim), Some("bound"));
        Self { _child: child }
    }
}
