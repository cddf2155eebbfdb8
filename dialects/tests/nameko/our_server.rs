//! Clients of nameko and our server.

use serde_json::{Value, json};

use crate::answered::answered;
use crate::peer::Peer;
use crate::service::{connect, serve};
use crate::values::values;

pub(crate) async fn nameko_calls_our_server(url: String) {
    let Some(client) = Peer::client("nameko_calls_our_server", &url, "json").await else { return };
    call_each_form(&url, client, "ours.json").await;
}

pub(crate) async fn in_messagepack(url: String) {
    let test = "nameko_calls_our_server_in_messagepack";
    let Some(client) = Peer::client(test, &url, "msgpack").await else { return };
    call_each_form(&url, client, "ours.msgpack").await;
}

/// Calls with each form of arguments, with nested data, and with 64 calls in flight.
async fn call_each_form(url: &str, mut client: Peer, service: &str) {
    let nameko = connect(url).await;
    let server = serve(&nameko, service).await;
    for (args, kwargs, sum) in [
        (json!([2, 3]), json!({}), 5),
        (json!([2]), json!({ "b": 3 }), 5),
        (json!([]), json!({ "a": 2, "b": 3 }), 5),
        (json!([2]), json!({}), 12),
    ] {
        let order = json!({ "service": service, "method": "add", "args": args, "kwargs": kwargs });
        assert_eq!(client.ask(order.clone()).await, json!({ "result": sum }), "{order}");
    }
    for value in values() {
        let answer = client.call(service, "echo", json!([value])).await;
        assert_eq!(answer, json!({ "result": value }));
    }
    let many = json!({ "service": service, "method": "add", "args": [1, 1], "times": 64 });
    assert_eq!(client.ask(many).await, json!({ "results": vec![2; 64] }));
    answered(&server, 4 + values().len() as u64 + 64).await;
}

pub(crate) async fn errors_reach_nameko(url: String) {
    let Some(mut client) = Peer::client("errors_of_our_server_reach_nameko", &url, "json").await
    else {
        return;
    };
    let (nameko, service) = (connect(&url).await, "ours.errors");
    let _server = serve(&nameko, service).await;
    let mut failed = async |method: &str, args: Value| {
        let answer = client.call(service, method, args).await;
        let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
        (text("error"), text("exc_type"), text("text"))
    };
    let own =
        |kind: &str, text: &str| ("RemoteError".into(), kind.into(), format!("{kind} {text}"));
    assert_eq!(failed("fail", json!([])).await, own("ValueError", "('boom', 42)"));
    assert_eq!(failed("own_error", json!([])).await, own("OutOfStock", "only 3 left"));
    // nameko rebuilds its own exceptions.
    assert_eq!(failed("subtract", json!([2, 3])).await.0, "MethodNotFound");
    assert_eq!(failed("add", json!([])).await.0, "IncorrectSignature");
    assert_eq!(failed("add", json!([1, 2, 3])).await.0, "IncorrectSignature");
    assert_eq!(failed("add", json!(["two", 3])).await.0, "IncorrectSignature");
    let (error, kind, _) = failed("panics", json!([])).await;
    assert_eq!((&*error, &*kind), ("RemoteError", "Panic"));
    let (error, kind, _) = failed("not_a_number", json!([])).await;
    assert_eq!((&*error, &*kind), ("RemoteError", "Internal"));
    let unknown = client.call("ours.nobody", "add", json!([])).await;
    assert_eq!(unknown["error"], "UnknownService");
    // The server lives.
    assert_eq!(client.call(service, "whoami", json!([])).await, json!({ "result": "polywire" }));
}

pub(crate) async fn context_data_passes_through(url: String) {
    let test = "context_data_passes_through_our_server";
    let Some(mut client) = Peer::client(test, &url, "json").await else { return };
    let Some(_end) = Peer::serve(test, &url, "theirs_context", "json").await else { return };
    let nameko = connect(&url).await;
    let _server = serve(&nameko, "ours.context").await;
    let order = json!({
        "service": "ours.context", "method": "chain", "args": ["theirs_context"],
        "context": { "language": "de", "user_id": 12, "none": null },
    });
    let seen = client.ask(order).await["result"].clone();
    assert_eq!(seen["data"], json!({ "language": "de", "user_id": "12" }));
    let stack: Vec<_> = seen["stack"].as_array().unwrap().iter().map(to_name).collect();
    assert_eq!(
        stack,
        ["standalone_rpc_proxy.call", "ours.context.chain", "theirs_context.context"]
    );
}

/// Removes the id of a call.
fn to_name(call: &Value) -> &str {
    call.as_str().unwrap().rsplit_once('.').unwrap().0
}
