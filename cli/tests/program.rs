//! The program as a user runs it: exit codes and both outputs, on the native wire over ZeroMQ and
//! on the wires of nameko and amqprpc over RabbitMQ.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail so")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::{Value, json};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_polywire"))
}

/// `polywire demo`, killed when the value is dropped.
struct Demo(Child);

impl Demo {
    /// Starts the service, and waits until it is bound.
    fn start(url: &str, options: &[&str]) -> Self {
        let mut command = program();
        command.args(["demo", "--url", url]).args(options).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    /// Sends a signal, and returns how the program ends.
    fn stop(mut self, signal: &str) -> ExitStatus {
        let process = self.0.id().to_string();
        assert!(Command::new("kill").args([signal, &process]).status().unwrap().success());
        self.0.wait().unwrap()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs `polywire call`. Returns the exit code and both outputs.
fn call(url: &str, arguments: &[&str]) -> (i32, String, String) {
    let output = program().args(["call", "--url", url]).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Calls each method of the demo, on any wire.
fn call_each_method(url: &str, wire: &[&str]) {
    let called = |arguments: &[&str]| call(url, &[wire, arguments].concat());
    for (arguments, result) in [
        (&["demo", "add", "2", "-3"][..], "-1\n"),
        (&["demo", "add", "2", "--named", "{\"b\": 3}"], "5\n"),
        (&["demo", "add", "--named", "{\"a\": 2, \"b\": 3}", "--timeout", "20s"], "5\n"),
        (&["demo", "echo", "{\"a\": [1, \"é\"]}"], "{\"a\":[1,\"é\"]}\n"),
        (&["demo", "sleep", "1"], "null\n"),
    ] {
        let (code, output, errors) = called(arguments);
        assert_eq!((code, &*output), (0, result), "{arguments:?}: {errors}");
    }
    assert!(called(&["demo", "whoami"]).1.starts_with("\"polywire "));
    let (code, output, errors) = called(&["demo", "fail"]);
    assert_eq!((code, &*output), (1, ""));
    let fault: Value = serde_json::from_str(&errors).unwrap();
    let expected = json!({ "code": "Application", "kind": "ValueError",
        "message": "('boom', 42)", "details": ["boom", 42] });
    assert_eq!(fault, expected);
    let (code, _, errors) = called(&["demo", "subtract", "2"]);
    assert!(code == 1 && errors.contains("MethodNotFound"), "{errors}");
    let (code, _, errors) = called(&["demo", "sleep", "1500", "--timeout", "50ms"]);
    assert!(code == 3 && errors.contains("polywire: "), "{errors}");
    assert_eq!(called(&["demo", "add", "two"]).0, 2);
    assert_eq!(called(&["demo", "a..b"]).0, 2);
}

/// Calls the demo with a closed pipe in place of standard output.
fn result_without_a_reader_is_a_failure_in_words(url: &str, codec: &str) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program();
    command.args(["call", "--url", url, "--codec", codec, "demo", "whoami"]).stdout(writer);
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains("polywire: cannot write the result"), "{errors}");
}

#[test]
fn native_service_is_called_over_zeromq() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("zmq+tcp://127.0.0.1:{port}");
    for codec in ["json", "msgpack"] {
        let demo = Demo::start(&url, &["--codec", codec]);
        call_each_method(&url, &["--codec", codec]);
        result_without_a_reader_is_a_failure_in_words(&url, codec);
        assert_eq!(demo.stop("-TERM").code(), Some(0));
    }
    let (code, output, errors) = call(&url, &["--timeout", "100ms", "demo", "whoami"]);
    assert_eq!((code, &*output), (3, ""), "{errors}");
}

/// Returns the URL of the broker. Without one, writes that `test` is not run.
fn broker(test: &str) -> Option<String> {
    let url = std::env::var("POLYWIRE_AMQP_URL").ok();
    if url.is_none() {
        let reason = "no broker; `cargo xtask test` starts one";
        let _ = writeln!(std::io::stderr(), "not run: {test}: {reason}");
    }
    url
}

#[test]
fn amqprpc_service_is_called_over_rabbitmq() {
    let Some(url) = broker("amqprpc_service_is_called_over_rabbitmq") else { return };
    for codec in ["json", "msgpack"] {
        let service = format!("cli-amqprpc-{codec}");
        // Some brokers deny queues that are neither durable nor exclusive.
        let wire = ["--dialect", "amqprpc", "--codec", codec, "--set", "durable=true"];
        let object = [&wire[..], &["--set", "object=Peer"]].concat();
        let demo = Demo::start(&url, &[&object[..], &["--service", service.as_str()]].concat());
        for (wire, method, arguments, result) in [
            (&wire[..], "Demo.Add", &["{\"A\":2,\"B\":3}"][..], "5\n"),
            (&wire[..], "Peer.Add", &["--named", "{\"A\":2,\"B\":-3}"], "-1\n"),
            (&object[..], "Add", &["{\"A\":2}"], "2\n"),
            (&object[..], "Echo", &["[1,\"é\"]"], "[1,\"é\"]\n"),
            (&wire[..], "Demo.Sleep", &["1"], "null\n"),
        ] {
            let arguments = [wire, &[service.as_str(), method], arguments].concat();
            let (code, output, errors) = call(&url, &arguments);
            assert_eq!((code, &*output), (0, result), "{arguments:?}: {errors}");
        }
        let called =
            |arguments: &[&str]| call(&url, &[&wire[..], &[service.as_str()], arguments].concat());
        assert!(called(&["Demo.Whoami"]).1.starts_with("\"polywire "));
        let (code, output, errors) = called(&["Demo.Fail"]);
        assert_eq!((code, &*output), (1, ""), "{errors}");
        let fault: Value = serde_json::from_str(&errors).unwrap();
        let expected = json!({ "code": "Application", "kind": "ValueError",
            "message": "('boom', 42)", "details": null });
        assert_eq!(fault, expected);
        let (code, _, errors) = called(&["Demo.Subtract", "2"]);
        assert!(code == 1 && errors.contains("MethodNotFound"), "{errors}");
        // Two arguments do not exist on this wire.
        assert_eq!(called(&["Demo.Add", "2", "3"]).0, 2);
        assert_eq!(demo.stop("-INT").code(), Some(0));
        let (code, _, errors) = call(&url, &[&wire[..], &["nobody", "Demo.Add"]].concat());
        assert_eq!(code, 3, "{errors}");
    }
}

#[test]
fn nameko_service_is_called_over_rabbitmq() {
    let Some(url) = broker("nameko_service_is_called_over_rabbitmq") else { return };
    for codec in ["json", "msgpack"] {
        let exchange = format!("rpc_exchange=cli-{codec}");
        let wire = ["--dialect", "nameko", "--codec", codec, "--set", &exchange];
        let demo = Demo::start(&url, &wire);
        call_each_method(&url, &wire);
        let (code, _, errors) = call(&url, &[&wire[..], &["demo", "a.b"]].concat());
        assert_eq!(code, 2, "{errors}");
        assert_eq!(demo.stop("-INT").code(), Some(0));
        let (code, _, errors) = call(&url, &[&wire[..], &["nobody", "add"]].concat());
        assert_eq!(code, 3, "{errors}");
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &["call"][..],
        &["--dialect", "nameko"],
        &["demo", "add", "--named", "[1]"],
        &["demo", "add", "--timeout", "5"],
        &["--set", "x", "demo", "add"],
        &["--set", "x=1", "demo", "add"],
        &["--dialect", "nameko", "demo", "add"],
        &["--dialect", "amqprpc", "demo", "Demo.Add"],
        &["--dialect", "other", "demo", "add"],
    ] {
        let (code, output, errors) = call("zmq+tcp://127.0.0.1:9", arguments);
        assert_eq!((code, &*output), (2, ""), "{arguments:?}: {errors}");
    }
    for (setting, cause) in [
        ("durable=maybe", "durable is true or false"),
        ("rpc_exchange=x", "no setting rpc_exchange"),
    ] {
        let arguments = ["--dialect", "amqprpc", "--set", setting, "demo", "Demo.Add"];
        let (code, output, errors) = call("amqp://127.0.0.1:9", &arguments);
        assert_eq!((code, &*output), (2, ""), "{setting}: {errors}");
        assert!(errors.contains(cause), "{errors}");
    }
    let mixed = ["--dialect", "amqprpc", "demo", "Demo.Add", "2", "--named", "{\"B\":3}"];
    let (code, _, errors) = call("amqp://127.0.0.1:9", &mixed);
    assert!(code == 2 && errors.contains("one argument"), "{errors}");
}
