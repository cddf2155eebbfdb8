//! libzmq as a third party: Python programs on the native wire, plain and with both kinds of
//! security. The programs are those under `examples/python`.
//!
//! pyzmq is installed from PyPI into a virtual environment under `target/`. Where that cannot be
//! had, the tests say so.

#![cfg(all(unix, feature = "engine-omq"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test, a panic is a failure"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use polywire_codec::Json;
use polywire_core::{
    CallError, Client, Code, Context, ErrorKind, Publisher, Puller, Router, Server,
};
use polywire_zmq::curve::{self, KeyPair};
use polywire_zmq::{Zmq, ZmqBuilder, plain};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// A Python that has pyzmq, or why there is none.
static PYTHON: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pyzmq");
    let python = venv.join("bin/python");
    if run(Command::new(&python).args(["-c", "import zmq"])).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "pyzmq",
        ]))?;
    }
    Ok(python)
});

fn run(command: &mut Command) -> Result<(), String> {
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A command of Python that finds the examples.
fn python() -> Option<Command> {
    match &*PYTHON {
        Ok(python) => {
            let mut command = Command::new(python);
            command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/python"));
            command.env("PYTHONPATH", ".").env("PYTHONDONTWRITEBYTECODE", "1");
            Some(command)
        }
        Err(why) => {
            println!("not run: Python with pyzmq is not to be had: {why}");
            None
        }
    }
}

/// What a program prints, and whether it succeeds.
async fn outcome(mut command: Command) -> Result<String, String> {
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = timeout(PATIENCE, output).await.expect("the program ends").unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

/// A program that goes on, ended with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> (Self, BufReader<ChildStdout>) {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        (Self(child), output)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Not on the runtime's threads.
async fn line(mut output: BufReader<ChildStdout>) -> (String, BufReader<ChildStdout>) {
    let reading = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        (line.trim().to_owned(), output)
    });
    timeout(PATIENCE, reading).await.expect("the program says something").unwrap()
}

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
async fn python_calls_a_server_of_ours() {
    let (_serving, endpoint) = serve(Zmq::builder()).await;
    let call = async |service: &str, method: &str, arguments: &str| {
        let mut command = python()?;
        command.args(["client.py", &endpoint, service, method, arguments]);
        Some(outcome(command).await)
    };
    let Some(sum) = call("calculator", "add", "[2, 3]").await else { return };
    assert_eq!(sum.unwrap(), "5");
    // Too large for the envelope, on the way back as well.
    let long = "x".repeat(20_000);
    assert_eq!(
        call("calculator", "echo", &format!("[\"{long}\"]")).await.unwrap().unwrap(),
        format!("\"{long}\"")
    );
    let fault = call("calculator", "subtract", "[2, 3]").await.unwrap().unwrap_err();
    assert!(fault.contains("RuntimeError"), "{fault}");
    let fault = call("calculator", "add", "[2]").await.unwrap().unwrap_err();
    assert!(fault.contains("RuntimeError"), "{fault}");
    let refused = call("barometer", "add", "[2, 3]").await.unwrap().unwrap_err();
    assert!(refused.contains("LookupError"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_ours_calls_python() {
    let Some(mut command) = python() else { return };
    let (_running, output) = Running::start(command.args(["server.py", "tcp://127.0.0.1:*"]));
    let (endpoint, _output) = line(output).await;
    let calling = Zmq::builder().connect(endpoint).build().unwrap();
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
    let stranger = Client::connect(&calling, "barometer", Json).timeout(PATIENCE).await.unwrap();
    let refused: Result<f64, _> = stranger.call("add", &(2, 3)).await;
    assert!(
        matches!(&refused, Err(CallError::Failed(error)) if error.kind() == ErrorKind::Unroutable),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn python_pushes_a_job_and_reads_an_event() {
    let Some(mut command) = python() else { return };
    let transport = Zmq::builder().bind("tcp://127.0.0.1:*").build().unwrap();
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
    let (_running, output) = Running::start(command.args(arguments));
    assert_eq!(*timeout(PATIENCE, jobs.next()).await.unwrap().unwrap().unwrap(), "cat.jpg");
    let (said, output) = line(output).await;
    assert_eq!(said, "subscribing");
    // It does not say hello, so nobody knows when it is heard.
    let heard = line(output);
    tokio::pin!(heard);
    let heard = loop {
        weather.publish("lyon.wind", &1).await.unwrap();
        weather.publish("paris.wind", &2).await.unwrap();
        if let Ok((heard, _)) = timeout(Duration::from_millis(20), &mut heard).await {
            break heard;
        }
    };
    assert_eq!(heard, "paris.wind 2");
}

/// A program that calls `peer` with a socket that is set up by these lines.
async fn peer_of(set_up: &str, endpoint: &str) -> Option<Result<String, String>> {
    let program = format!(
        "import zmq, client\nsocket = zmq.Context.instance().socket(zmq.DEALER)\nsocket.linger = 0\n{set_up}\n\
         socket.connect('{endpoint}')\nprint(client.call(socket, 'calculator', 'peer', None, 3000))"
    );
    let mut command = python()?;
    command.args(["-c", &program]);
    Some(outcome(command).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn libzmq_comes_in_by_its_key() {
    let (server, python) = (KeyPair::generate(), KeyPair::generate());
    let allowed = curve::CurveServer::new(server.clone()).allow([python.public()]);
    let (_serving, endpoint) = serve(Zmq::builder().curve_server(allowed)).await;
    let set_up = |keys: &KeyPair| {
        format!(
            "socket.curve_serverkey = {:?}.encode()\nsocket.curve_publickey = {:?}.encode()\nsocket.curve_secretkey = {:?}.encode()",
            server.public().to_string(),
            keys.public().to_string(),
            keys.secret().to_z85()
        )
    };
    let Some(peer) = peer_of(&set_up(&python), &endpoint).await else { return };
    assert_eq!(peer.unwrap(), python.public().to_string());
    let stranger = peer_of(&set_up(&KeyPair::generate()), &endpoint).await.unwrap().unwrap_err();
    assert!(stranger.contains("TimeoutError"), "{stranger}");
    let in_the_clear = peer_of("", &endpoint).await.unwrap().unwrap_err();
    assert!(in_the_clear.contains("TimeoutError"), "{in_the_clear}");
}

#[tokio::test(flavor = "multi_thread")]
async fn libzmq_that_sends_heartbeats_stays_connected() {
    let (_serving, endpoint) = serve(Zmq::builder()).await;
    let program = format!(
        "import time, zmq, client\nsocket = zmq.Context.instance().socket(zmq.DEALER)\nsocket.linger = 0\n\
         socket.heartbeat_ivl = 100\nevents = socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)\n\
         socket.connect('{endpoint}')\nfor _ in range(10):\n    client.call(socket, 'calculator', 'add', [2, 3])\n    \
         time.sleep(0.2)\nprint('lost' if events.poll(0) else 'kept')"
    );
    let Some(mut command) = python() else { return };
    command.args(["-c", &program]);
    assert_eq!(outcome(command).await.unwrap(), "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn libzmq_comes_in_by_its_password() {
    let (_serving, endpoint) =
        serve(Zmq::builder().plain_server(plain::PlainServer::new([("alice", "secret")]))).await;
    let set_up = |password: &str| {
        format!("socket.plain_username = b'alice'\nsocket.plain_password = b'{password}'")
    };
    let Some(peer) = peer_of(&set_up("secret"), &endpoint).await else { return };
    assert_eq!(peer.unwrap(), "alice");
    let denied = peer_of(&set_up("wrong"), &endpoint).await.unwrap().unwrap_err();
    assert!(denied.contains("TimeoutError"), "{denied}");
}

#[tokio::test(flavor = "multi_thread")]
async fn we_come_in_to_libzmq_by_our_key() {
    let (server, ours) = (KeyPair::generate(), KeyPair::generate());
    let Some(mut command) = python() else { return };
    let program = format!(
        "import zmq, server\nsocket = zmq.Context.instance().socket(zmq.ROUTER)\nsocket.curve_server = True\n\
         socket.curve_secretkey = {:?}.encode()\nsocket.bind('tcp://127.0.0.1:*')\n\
         print(socket.last_endpoint.decode(), flush=True)\nserver.serve(socket, 'calculator', {{'add': lambda a, b: a + b}})",
        server.secret().to_z85()
    );
    let (_running, output) = Running::start(command.args(["-c", &program]));
    let (endpoint, _output) = line(output).await;
    let client = curve::CurveClient::new(server.public()).keys(ours);
    let calling = Zmq::builder().connect(endpoint).curve_client(client).build().unwrap();
    let client = Client::connect(&calling, "calculator", Json).timeout(PATIENCE).await.unwrap();
    let sum: i64 = client.call("add", &(2, 3)).await.unwrap();
    assert_eq!(sum, 5);
}
