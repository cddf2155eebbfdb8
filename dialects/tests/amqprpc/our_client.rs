//! Our client and servers of amqprpc.

use polywire_core::{CallError, Client, Code, ErrorKind};
use polywire_dialects::Amqprpc;
use serde_json::{Value, json};

use crate::amqprpc_peer::LANGUAGES;
use crate::peer::Peer;
use crate::service::{Pair, client, connect, wire};
use crate::values::values;

pub(crate) async fn in_json(url: String) {
    call_each_form("our_client_calls_amqprpc", &url, "json").await;
}

pub(crate) async fn in_messagepack(url: String) {
    call_each_form("our_client_calls_amqprpc_in_messagepack", &url, "msgpack").await;
}

async fn call_each_form(test: &'static str, url: &str, format: &str) {
    for language in LANGUAGES {
        let service = format!("theirs.{format}.{language}");
        let peer = Peer::serve(test, url, &service, format, language).await;
        let Some(_peer) = peer else { return };
        let amqp = connect(url, wire(format)).await;
        call_methods(&client(&amqp, &service, wire(format)).await, language).await;
    }
}

/// Calls with data of each kind, and with 64 calls in flight.
async fn call_methods(client: &Client<Amqprpc>, language: &str) {
    let pair = |a| Pair { a, b: 1 };
    // The object of the transport, and the same one by its name.
    assert_eq!(client.call::<i64>("Add", &pair(2)).await.unwrap(), 3);
    assert_eq!(client.call::<i64>("Peer.Add", &(pair(2),)).await.unwrap(), 3);
    for value in values() {
        let echoed: Value = client.call("Echo", &(&value,)).await.unwrap();
        assert_eq!(echoed, value);
    }
    let calls: Vec<_> =
        (0..64).map(|n| client.request("Add").start::<i64>(&pair(n)).unwrap()).collect();
    for (n, call) in (0..).zip(calls) {
        assert_eq!(call.await.unwrap(), n + 1);
    }
    // A server of Go would end if it did not know where its reply goes.
    client.request("Echo").send(&(1,)).await.unwrap();
    assert_eq!(client.call::<String>("Whoami", &()).await.unwrap(), language);
}

pub(crate) async fn errors_reach_our_client(url: String) {
    let test = "errors_of_amqprpc_reach_our_client";
    for (language, raised) in [("python", "('boom', 42)"), ("go", "boom 42")] {
        let service = format!("theirs.errors.{language}");
        let peer = Peer::serve(test, &url, &service, "json", language).await;
        let Some(_peer) = peer else { return };
        let amqp = connect(&url, wire("json")).await;
        let client = client(&amqp, &service, wire("json")).await;
        let failed = async |method: &str, argument: Value| match client
            .call::<Value>(method, &(argument,))
            .await
        {
            Err(CallError::Fault(fault)) => (fault.code, fault.kind, fault.message),
            other => panic!("{other:?}"),
        };
        let plain = (Code::Application, "Application".to_owned(), raised.to_owned());
        assert_eq!(failed("Fail", json!(1)).await, plain);
        let (code, kind, message) = failed("Sell", json!(3)).await;
        assert_eq!((code, &*kind), (Code::Application, "OutOfStock"), "{message}");
        assert_eq!(message, "only 3 left, grüße");
        let (code, _, message) = failed("Subtract", json!(1)).await;
        assert_eq!(code, Code::MethodNotFound, "{message}");
        assert!(message.ends_with("Peer.Subtract"), "{message}");
        if language == "go" {
            assert_eq!(failed("Add", json!([1, 2])).await.0, Code::InvalidArguments);
            assert_eq!(failed("Other.Add", json!(1)).await.0, Code::MethodNotFound);
        }
        let two = client.call::<Value>("Add", &(2, 3)).await.unwrap_err();
        assert_eq!(two.kind(), Some(ErrorKind::Config), "{two:?}");
        let nobody = crate::service::client(&amqp, "theirs.nobody", wire("json")).await;
        let unknown = nobody.call::<Value>("Add", &(1,)).await.unwrap_err();
        assert_eq!(unknown.kind(), Some(ErrorKind::Unroutable), "{unknown:?}");
        // The server lives.
        assert_eq!(client.call::<String>("Whoami", &()).await.unwrap(), language);
    }
}
