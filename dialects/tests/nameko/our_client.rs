//! Our client and servers of nameko.

use polywire_core::rpc::Args;
use polywire_core::{CallError, Client, Code, ErrorKind, Fault};
use polywire_dialects::Nameko;
use polywire_dialects::nameko::TypedValue;
use serde_json::{Value, json};

use crate::peer::Peer;
use crate::service::{client, connect};
use crate::values::values;

pub(crate) async fn our_client_calls_nameko(url: String) {
    let Some(_peer) = Peer::serve("our_client_calls_nameko", &url, "theirs_json", "json").await
    else {
        return;
    };
    let nameko = connect(&url).await;
    call_each_form(&client(&nameko, "theirs_json").await).await;
}

pub(crate) async fn typed_values(url: String) {
    let Some(_peer) = Peer::serve("typed_values_survive", &url, "theirs_typed", "json").await
    else {
        return;
    };
    let nameko = connect(&url).await;
    let client = client(&nameko, "theirs_typed").await;
    let values: Vec<TypedValue> = client.call("typed", &()).await.unwrap();
    let expected = [
        TypedValue::DateTime("2020-01-02T03:04:05.000006".to_owned()),
        TypedValue::Date("2020-01-02".to_owned()),
        TypedValue::Time("01:02:03".to_owned()),
        TypedValue::Decimal("1.50".to_owned()),
        TypedValue::Uuid("00000000000000000000000000000005".to_owned()),
        TypedValue::Bytes(vec![0xFF, 0]),
    ];
    assert_eq!(values, expected);
    let names: Vec<String> = client.call("type_names", &(values,)).await.unwrap();
    assert_eq!(names, ["datetime", "date", "time", "Decimal", "UUID", "bytes"]);
}

pub(crate) async fn in_messagepack(url: String) {
    let test = "our_client_calls_nameko_in_messagepack";
    let Some(_peer) = Peer::serve(test, &url, "theirs_msgpack", "msgpack").await else { return };
    let nameko = connect(&url).await;
    let dialect = Nameko::new().message_pack();
    let client = Client::connect(&nameko, "theirs_msgpack", dialect).await.unwrap();
    call_each_form(&client.with_timeout(crate::patience::PATIENCE)).await;
}

/// Calls with each form of arguments, with nested data, and with 64 calls in flight.
async fn call_each_form(client: &Client<Nameko>) {
    assert_eq!(client.call::<i64>("add", &(2, 3)).await.unwrap(), 5);
    assert_eq!(client.call::<i64>("add", &2).await.unwrap(), 12);
    assert_eq!(client.call::<i64>("add", &json!({ "a": 2, "b": 3 })).await.unwrap(), 5);
    let mixed = Args::new().arg(2).named("b", 3);
    assert_eq!(client.call::<i64>("add", &mixed).await.unwrap(), 5);
    for value in values() {
        let echoed: Value = client.call("echo", &(&value,)).await.unwrap();
        assert_eq!(echoed, value);
    }
    let calls: Vec<_> =
        (0..64).map(|n| client.request("add").start::<i64>(&(n, 1)).unwrap()).collect();
    for (n, call) in (0..).zip(calls) {
        assert_eq!(call.await.unwrap(), n + 1);
    }
    client.request("echo").send(&(1,)).await.unwrap();
    assert_eq!(client.call::<String>("whoami", &()).await.unwrap(), "nameko");
}

pub(crate) async fn errors_reach_our_client(url: String) {
    let test = "errors_of_nameko_reach_our_client";
    let Some(_peer) = Peer::serve(test, &url, "theirs_errors", "json").await else { return };
    let nameko = connect(&url).await;
    let client = client(&nameko, "theirs_errors").await;
    let failed = async |method: &str, args: Value| match client.call::<Value>(method, &args).await {
        Err(CallError::Fault(fault)) => fault,
        other => panic!("{other:?}"),
    };
    let details =
        |fault: &Fault| serde_json::from_slice::<Value>(&fault.details).unwrap_or_default();
    let fault = failed("fail", json!([])).await;
    assert_eq!(
        (fault.code, fault.to_string()),
        (Code::Application, "ValueError: ('boom', 42)".into())
    );
    assert_eq!(details(&fault), json!(["boom", "42"]));
    let fault = failed("own_error", json!([])).await;
    assert_eq!((fault.code, &*fault.kind), (Code::Application, "PeerError"));
    assert_eq!(details(&fault), json!(["café", { "code": "7" }, ["1", "None"]]));
    assert_eq!(failed("subtract", json!([2, 3])).await.code, Code::MethodNotFound);
    assert_eq!(failed("add", json!([])).await.code, Code::InvalidArguments);
    assert_eq!(failed("add", json!([1, 2, 3])).await.code, Code::InvalidArguments);
    assert_eq!(failed("unserializable", json!([])).await.code, Code::Internal);
    let dotted = client.call::<Value>("math.add", &()).await.unwrap_err();
    assert_eq!(dotted.kind(), Some(ErrorKind::Config), "{dotted:?}");
    let nobody = crate::service::client(&nameko, "theirs_nobody").await;
    let unknown = nobody.call::<Value>("add", &(2, 3)).await.unwrap_err();
    assert_eq!(unknown.kind(), Some(ErrorKind::Unroutable), "{unknown:?}");
    // The server lives.
    assert_eq!(client.call::<String>("whoami", &()).await.unwrap(), "nameko");
}
