//! Clients of amqprpc and our server.

use serde_json::{Value, json};

use crate::amqprpc_peer::LANGUAGES;
use crate::answered::answered;
use crate::peer::Peer;
use crate::service::{connect, serve, wire};
use crate::values::values;

pub(crate) async fn in_json(url: String) {
    call_each_form("amqprpc_calls_our_server", &url, "json").await;
}

pub(crate) async fn in_messagepack(url: String) {
    call_each_form("amqprpc_calls_our_server_in_messagepack", &url, "msgpack").await;
}

/// Calls from each language, with data of each kind, and with 64 calls in flight.
async fn call_each_form(test: &'static str, url: &str, format: &str) {
    for language in LANGUAGES {
        let Some(mut client) = Peer::client(test, url, format, language).await else { return };
        let (amqp, service) =
            (connect(url, wire(format)).await, format!("ours.{format}.{language}"));
        // The client of Go refuses to call a queue without a consumer.
        let server = serve(&amqp, &service, wire(format)).await;
        let sum = client.call(&service, "Peer.Add", json!({ "A": 2, "B": 3 })).await;
        assert_eq!(sum, json!({ "result": 5 }), "{language}");
        let echoed = client.calls(&service, "Peer.Echo", &values()).await;
        let expected: Vec<_> = values().iter().map(|value| json!({ "result": value })).collect();
        assert_eq!(echoed, expected, "{language}");
        let pairs: Vec<_> = (0..64).map(|n| json!({ "A": n, "B": 1 })).collect();
        let sums = client.calls(&service, "Peer.Add", &pairs).await;
        let expected: Vec<_> = (1..65).map(|sum| json!({ "result": sum })).collect();
        assert_eq!(sums, expected, "{language}");
        answered(&server, 1 + values().len() as u64 + 64).await;
    }
}

pub(crate) async fn errors_reach_amqprpc(url: String) {
    let test = "errors_of_our_server_reach_amqprpc";
    for language in LANGUAGES {
        let Some(mut client) = Peer::client(test, &url, "json", language).await else { return };
        let (amqp, service) =
            (connect(&url, wire("json")).await, format!("ours.errors.{language}"));
        let _server = serve(&amqp, &service, wire("json")).await;
        let mut failed = async |method: &str, argument: Value| {
            let answer = client.call(&service, method, argument).await;
            answer["error"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
        };
        assert_eq!(failed("Peer.Fail", json!(1)).await, "('boom', 42)");
        assert_eq!(failed("Peer.Sell", json!(3)).await, "out of stock: only 3 left, grüße");
        assert_eq!(failed("Peer.Subtract", json!(1)).await, "unknown function Peer.Subtract");
        assert_eq!(failed("double", json!(1)).await, "unknown function double");
        let invalid = failed("Peer.Add", json!([1, 2])).await;
        assert!(invalid.starts_with("polywire.InvalidArguments"), "{invalid}");
        let panicked = failed("Peer.Panics", json!(1)).await;
        assert!(panicked.starts_with("polywire.Internal.Panic: "), "{panicked}");
        let unwritten = failed("Peer.NotANumber", json!(1)).await;
        assert!(unwritten.starts_with("polywire.Internal"), "{unwritten}");
        // The server lives.
        let name = client.call(&service, "Peer.Whoami", json!(null)).await;
        assert_eq!(name, json!({ "result": "polywire" }), "{language}");
    }
}
