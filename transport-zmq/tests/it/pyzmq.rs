//! Interoperability with libzmq: Python programs on the native wire, without and with security. The
//! programs are those in `examples/python`.
//!
//! The first test installs pyzmq from PyPI into a virtual environment below the target folder.
//! Where Python or pip is missing, the tests are reported as not run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use polywire_codec::Json;
use polywire_core::{
    CallError, Client, Code, Context, ErrorKind, Publisher, Puller, Router, Server,
};
use polywire_zmq::curve::{self, KeyPair};
use polywire_zmq::{Zmq, ZmqBuilder, plain};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

use crate::support::engine::zmq;
use crate::support::wait::PATIENCE;

/// A Python interpreter with pyzmq, or the cause that there is none.
static PYTHON: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pyzmq");
    let python = venv.join("bin/python");
    if run(Command::new(&python).args(["-c", "import zmq"])).is_err() {
        run(Command::new("timeout").args(["300", "python3", "-m", "venv"]).arg(&venv))?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pyzmq"];
        // A registry that does not answer must not hold the tests.
        run(Command::new("timeout").arg("300").arg(&python).args(install))?;
    }
    Ok(python)
});

/// Runs a command. Fails with its error output.
fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Returns a command that runs Python in the folder of the examples.
fn python() -> Result<Command, String> {
    match &*PYTHON {
        Ok(python) => {
            let mut command = Command::new(python);
            command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/python"));
            command.env("PYTHONPATH", ".").env("PYTHONDONTWRITEBYTECODE", "1");
            Ok(command)
        }
        Err(why) => Err(format!("cannot install pyzmq: {}", last_line(why))),
    }
}

fn last_line(text: &str) -> &str {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no output").trim()
}

/// Runs a program to its end. Returns its output, or its error output if it fails.
async fn outcome(command: Command) -> Result<String, String> {
    let output = tokio::process::Command::from(command).kill_on_drop(true).output();
    let output = timeout(PATIENCE, output).await.expect("the program ends").unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// A program that runs until the value is dropped.
struct RunningProgram {
    _child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl RunningProgram {
    fn start(command: Command) -> Self {
        let mut command = tokio::process::Command::from(command);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { _child: child, output }
    }

    /// Reads the next line of the output. Dropping the future loses no part of a line.
    async fn line(&mut self) -> String {
        let line = timeout(PATIENCE, self.output.next_line()).await;
        line.expect("the program writes a line in time").unwrap().expect("the program runs")
    }
}

/// Starts a server with one method for each purpose.
async fn serve(builder: ZmqBuilder) -> (Zmq, String) {
    let serving = builder.bind("tcp://127.0.0.1:*").build().unwrap();
    let server = Server::bind(&serving, "calculator").await.unwrap();
    let router = Router::new(Json)
        .method("add", |(a, b): (i64, i64)| async move { Ok(a + b) })
        .method("echo", |(text,): (String,)| async move { Ok(text) })
        .method("peer", |context: Context, (): ()| async move {
            Ok(context.peer.map(|peer| peer.to_string()))
        });
    tokio::spawn(server.serve(router));
    let endpoint = serving.local_endpoints()[0].clone();
    (serving, endpoint)
}

#[tokio::test(flavor = "multi_thread")]
async fn python_calls_our_server() {
    if let Err(why) = python() {
        not_run!(why);
    }
    let (_serving, endpoint) = serve(zmq()).await;
    let call = async |service: &str, method: &str, arguments: &str| {
        let mut command = python().unwrap();
        command.args(["client.py", &endpoint, service, method, arguments]);
        outcome(command).await
    };
    assert_eq!(call("calculator", "add", "[2, 3]").await.unwrap(), "5");
    // Too large for the envelope, in both directions.
    let long = "x".repeat(20_000);
    assert_eq!(
        call("calculator", "echo", &format!("[\"{long}\"]")).await.unwrap(),
        format!("\"{long}\"")
    );
    let fault = call("calculator", "subtract", "[2, 3]").await.unwrap_err();
    assert!(fault.contains("RuntimeError"), "{fault}");
    let fault = call("calculator", "add", "[2]").await.unwrap_err();
    assert!(fault.contains("RuntimeError"), "{fault}");
    let refused = call("barometer", "add", "[2, 3]").await.unwrap_err();
    assert!(refused.contains("LookupError"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_calls_python() {
    let mut command = match python() {
        Ok(command) => command,
        Err(why) => not_run!(why),
    };
    command.args(["server.py", "tcp://127.0.0.1:*"]);
    let mut running = RunningProgram::start(command);
    let endpoint = running.line().await;
    let calling = zmq().connect(endpoint).build().unwrap();
    let client = Client::connect(&calling, "calculator", Json).timeout(PATIENCE).await.unwrap();
    let sum: i64 = client.call("add", &(2, 3)).await.unwrap();
    assert_eq!(sum, 5);
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
    let unknown = Client::connect(&calling, "barometer", Json).timeout(PATIENCE).await.unwrap();
    let refused: Result<f64, _> = unknown.call("add", &(2, 3)).await;
    assert!(
        matches!(&refused, Err(CallError::Failed(error)) if error.kind() == ErrorKind::Unroutable),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn python_pushes_a_job_and_reads_an_event() {
    let mut command = match python() {
        Ok(command) => command,
        Err(why) => not_run!(why),
    };
    let transport = zmq().bind("tcp://127.0.0.1:*").build().unwrap();
    let mut jobs: Puller<String> = Puller::bind(&transport, "thumbnails", Json).await.unwrap();
    let weather = Publisher::connect(&transport, "weather", Json).await.unwrap();
    let [puller, publisher] = transport.local_endpoints().try_into().unwrap();
    let arguments = [
        "jobs_and_events.py",
        &puller,
        "thumbnails",
        "\"cat.jpg\"",
        &publisher,
        "weather",
        "paris",
    ];
    command.args(arguments);
    let mut running = RunningProgram::start(command);
    assert_eq!(*timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap(), "cat.jpg");
    assert_eq!(running.line().await, "subscribing");
    // The program sends no sync marker, so the time of its subscription is unknown.
    let received = running.line();
    tokio::pin!(received);
    let received = loop {
        weather.publish("lyon.wind", &1).await.unwrap();
        weather.publish("paris.wind", &2).await.unwrap();
        if let Ok(received) = timeout(Duration::from_millis(20), &mut received).await {
            break received;
        }
    };
    assert_eq!(received, "paris.wind 2");
}

/// Runs a program that calls `peer` with a socket set up by these lines. Returns its output.
async fn peer_of(set_up: &str, endpoint: &str, ms: u32) -> Result<String, String> {
    let program = format!(
        "import zmq, client\nsocket = zmq.Context.instance().socket(zmq.DEALER)\nsocket.linger = 0\n{set_up}\n\
         socket.connect('{endpoint}')\nprint(client.call(socket, 'calculator', 'peer', None, {ms}))"
    );
    let mut command = python().unwrap();
    command.args(["-c", &program]);
    outcome(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn libzmq_authenticates_by_its_key() {
    secured_engine!();
    if let Err(why) = python() {
        not_run!(why);
    }
    let (server, client) = (KeyPair::generate(), KeyPair::generate());
    let allowed = curve::CurveServer::new(server.clone()).allow([client.public()]);
    let (_serving, endpoint) = serve(zmq().curve_server(allowed)).await;
    let set_up = |keys: &KeyPair| {
        format!(
            "socket.curve_serverkey = {:?}.encode()\nsocket.curve_publickey = {:?}.encode()\nsocket.curve_secretkey = {:?}.encode()",
            server.public().to_string(),
            keys.public().to_string(),
            keys.secret().to_z85()
        )
    };
    assert_eq!(
        peer_of(&set_up(&client), &endpoint, 30_000).await.unwrap(),
        client.public().to_string()
    );
    let unknown = peer_of(&set_up(&KeyPair::generate()), &endpoint, 3_000).await.unwrap_err();
    assert!(unknown.contains("TimeoutError"), "{unknown}");
    let unencrypted = peer_of("", &endpoint, 3_000).await.unwrap_err();
    assert!(unencrypted.contains("TimeoutError"), "{unencrypted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn libzmq_that_sends_heartbeats_stays_connected() {
    let (_serving, endpoint) = serve(zmq()).await;
    let program = format!(
        "import time, zmq, client\nsocket = zmq.Context.instance().socket(zmq.DEALER)\nsocket.linger = 0\n\
         socket.heartbeat_ivl = 100\nevents = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)\n\
         socket.connect('{endpoint}')\nfor _ in range(10):\n    client.call(socket, 'calculator', 'add', [2, 3])\n    \
         time.sleep(0.2)\nprint('lost' if events.poll(0) else 'kept')"
    );
    let mut command = match python() {
        Ok(command) => command,
        Err(why) => not_run!(why),
    };
    command.args(["-c", &program]);
    assert_eq!(outcome(command).await.unwrap(), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn libzmq_authenticates_by_its_password() {
    secured_engine!();
    if let Err(why) = python() {
        not_run!(why);
    }
    let (_serving, endpoint) =
        serve(zmq().plain_server(plain::PlainServer::new([("alice", "secret")]))).await;
    let set_up = |password: &str| {
        format!("socket.plain_username = b'alice'\nsocket.plain_password = b'{password}'")
    };
    assert_eq!(peer_of(&set_up("secret"), &endpoint, 30_000).await.unwrap(), "alice");
    let denied = peer_of(&set_up("wrong"), &endpoint, 3_000).await.unwrap_err();
    assert!(denied.contains("TimeoutError"), "{denied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_authenticates_at_libzmq_by_its_key() {
    secured_engine!();
    let (server, ours) = (KeyPair::generate(), KeyPair::generate());
    let mut command = match python() {
        Ok(command) => command,
        Err(why) => not_run!(why),
    };
    let program = format!(
        "import zmq, server\nsocket = zmq.Context.instance().socket(zmq.ROUTER)\nsocket.curve_server = True\n\
         socket.curve_secretkey = {:?}.encode()\nsocket.bind('tcp://127.0.0.1:*')\n\
         print(socket.last_endpoint.decode(), flush=True)\nserver.serve(socket, 'calculator', {{'add': lambda a, b: a + b}})",
        server.secret().to_z85()
    );
    command.args(["-c", &program]);
    let mut running = RunningProgram::start(command);
    let endpoint = running.line().await;
    let client = curve::CurveClient::new(server.public()).keys(ours);
    let calling = zmq().connect(endpoint).curve_client(client).build().unwrap();
    let client = Client::connect(&calling, "calculator", Json).timeout(PATIENCE).await.unwrap();
    let sum: i64 = client.call("add", &(2, 3)).await.unwrap();
    assert_eq!(sum, 5);
}
