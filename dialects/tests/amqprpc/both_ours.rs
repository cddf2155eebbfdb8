//! Our client and our server, on amqprpc's wire. The request queue is durable: some brokers deny
//! any other.

use polywire_amqp::Amqp;
use polywire_codec::Json;
use polywire_core::{CallError, Client, Code, ErrorKind, Server, Transport};
use serde_json::Value;

use crate::answered::answered;
use crate::service::{Pair, client, connect, methods, serve, wire};
use crate::values::values;

pub(crate) async fn our_client_calls_our_server(url: String) {
    for format in ["json", "msgpack"] {
        let (wire, service) = (wire(format).durable_queue(), format!("both.{format}"));
        let amqp = connect(&url, wire.clone()).await;
        let server = serve(&amqp, &service, wire.clone()).await;
        let client = client(&amqp, &service, wire).await;
        assert_eq!(client.call::<i64>("Add", &Pair { a: 2, b: 3 }).await.unwrap(), 5);
        for value in values() {
            assert_eq!(client.call::<Value>("Echo", &(&value,)).await.unwrap(), value);
        }
        let failed: Result<Value, _> = client.call("Sell", &3).await;
        let Err(CallError::Fault(fault)) = failed else { panic!("{failed:?}") };
        let seen = (fault.code, fault.to_string());
        assert_eq!(seen, (Code::Application, "OutOfStock: only 3 left, grüße".into()));
        for (method, code) in [
            ("Subtract", Code::MethodNotFound),
            ("Add", Code::InvalidArguments),
            ("Panics", Code::Internal),
        ] {
            let failed: Result<Value, _> = client.call(method, &1).await;
            let Err(CallError::Fault(fault)) = failed else { panic!("{failed:?}") };
            assert_eq!(fault.code, code, "{method}: {fault}");
        }
        // The reply of a one-way call goes to no queue.
        let before = server.stats().answered;
        client.request("Echo").send(&(1,)).await.unwrap();
        assert_eq!(client.call::<String>("Whoami", &()).await.unwrap(), "polywire");
        while server.stats().answered < before + 2 {
            tokio::task::yield_now().await;
        }
        let capabilities = amqp.capabilities();
        assert!(capabilities.settlement && capabilities.unroutable_at_once);
        assert!(!capabilities.durable && !capabilities.pubsub && !capabilities.pipeline);
        amqp.close().await.unwrap();
        let closed = client.call::<Value>("Whoami", &()).await.unwrap_err();
        assert_eq!(closed.kind(), Some(ErrorKind::Closed), "{closed:?}");
    }
}

pub(crate) async fn drained_server(url: String) {
    let (wire, service) = (wire("json").durable_queue(), "both.drained");
    let (first, second) = (connect(&url, wire.clone()).await, connect(&url, wire.clone()).await);
    let leaving = serve(&first, service, wire.clone()).await;
    let client = client(&second, service, wire.clone()).await;
    assert_eq!(client.call::<i64>("Add", &Pair { a: 2, b: 3 }).await.unwrap(), 5);
    leaving.drain().await;
    let waiting = client.request("Add").start::<i64>(&Pair { a: 1, b: 1 }).unwrap();
    let staying = serve(&second, service, wire).await;
    assert_eq!(waiting.await.unwrap(), 2);
    answered(&leaving, 1).await;
    answered(&staying, 1).await;
}

pub(crate) async fn two_handles(url: String) {
    let (amqp, service) = (Amqp::connect(&url).await.unwrap(), "both.handles");
    let wire = wire("json").durable_queue();
    let foreign = amqp.with_layout(wire.clone().object("Peer"));
    let native = Server::bind(&amqp, service).await.unwrap();
    tokio::spawn(native.serve(methods(Json)));
    let _server = serve(&foreign, service, wire.clone()).await;
    let new = Client::connect(&amqp, service, Json).await.unwrap();
    let old = client(&foreign, service, wire).await;
    let pair = Pair { a: 2, b: 3 };
    let (new_sum, old_sum) =
        tokio::join!(new.call::<i64>("Add", &pair), old.call::<i64>("Add", &pair));
    assert_eq!((new_sum.unwrap(), old_sum.unwrap()), (5, 5));
    for outcome in [new.call::<Value>("Sell", &3).await, old.call::<Value>("Sell", &3).await] {
        let Err(CallError::Fault(fault)) = outcome else { panic!("{outcome:?}") };
        assert_eq!((fault.code, &*fault.kind), (Code::Application, "OutOfStock"));
    }
}
