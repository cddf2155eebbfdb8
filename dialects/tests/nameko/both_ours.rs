//! Our client and our server, on nameko's wire.

use polywire_amqp::Amqp;
use polywire_codec::Json;
use polywire_core::rpc::Args;
use polywire_core::{CallError, Client, Code, ErrorKind, Server, Transport};
use polywire_dialects::Nameko;
use serde_json::{Value, json};

use crate::answered::answered;
use crate::service::{client, connect, methods, serve};
use crate::values::values;

pub(crate) async fn our_client_calls_our_server(url: String) {
    let (nameko, service) = (connect(&url).await, "ours.alone");
    let server = serve(&nameko, service).await;
    let client = client(&nameko, service).await;
    let mixed = Args::new().arg(2).named("b", 3);
    assert_eq!(client.call::<i64>("add", &(2, 3)).await.unwrap(), 5);
    assert_eq!(client.call::<i64>("add", &mixed).await.unwrap(), 5);
    for value in values() {
        assert_eq!(client.call::<Value>("echo", &(&value,)).await.unwrap(), value);
    }
    let failed: Result<Value, _> = client.call("own_error", &()).await;
    let Err(CallError::Fault(fault)) = failed else { panic!("{failed:?}") };
    assert_eq!(
        (fault.code, fault.to_string()),
        (Code::Application, "OutOfStock: only 3 left".into())
    );
    assert_eq!(serde_json::from_slice::<Value>(&fault.details).unwrap(), json!({ "left": 3 }));
    // The reply of a one-way call goes to no queue.
    let before = server.stats().answered;
    client.request("echo").send(&(1,)).await.unwrap();
    assert_eq!(client.call::<String>("whoami", &()).await.unwrap(), "polywire");
    while server.stats().answered < before + 2 {
        tokio::task::yield_now().await;
    }
    let capabilities = nameko.capabilities();
    assert!(capabilities.settlement && capabilities.unroutable_at_once && !capabilities.pipeline);
    let error = nameko.pusher(&"jobs".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    nameko.close().await.unwrap();
    let closed = client.call::<Value>("whoami", &()).await.unwrap_err();
    assert_eq!(closed.kind(), Some(ErrorKind::Closed), "{closed:?}");
}

pub(crate) async fn drained_server(url: String) {
    let (first, second, service) = (connect(&url).await, connect(&url).await, "ours.drained");
    let leaving = serve(&first, service).await;
    let client = client(&second, service).await;
    assert_eq!(client.call::<i64>("add", &(2, 3)).await.unwrap(), 5);
    leaving.drain().await;
    let waiting = client.request("add").start::<i64>(&(1, 1)).unwrap();
    let staying = serve(&second, service).await;
    assert_eq!(waiting.await.unwrap(), 2);
    answered(&leaving, 1).await;
    answered(&staying, 1).await;
}

pub(crate) async fn two_handles(url: String) {
    let (amqp, service) = (Amqp::connect(&url).await.unwrap(), "ours.both");
    let nameko = amqp.with_layout(Nameko::new());
    let native = Server::bind(&amqp, service).await.unwrap();
    tokio::spawn(native.serve(methods(Json)));
    let foreign = Server::bind(&nameko, service).await.unwrap();
    tokio::spawn(foreign.serve(methods(Nameko::new())));
    let new = Client::connect(&amqp, service, Json).await.unwrap();
    let old = client(&nameko, service).await;
    let (new_sum, old_sum) =
        tokio::join!(new.call::<i64>("add", &(2, 3)), old.call::<i64>("add", &(2, 3)));
    assert_eq!((new_sum.unwrap(), old_sum.unwrap()), (5, 5));
    for outcome in [new.call::<Value>("fail", &()).await, old.call::<Value>("fail", &()).await] {
        let Err(CallError::Fault(fault)) = outcome else { panic!("{outcome:?}") };
        assert_eq!((fault.code, &*fault.kind), (Code::Application, "ValueError"));
        let details: Value = serde_json::from_slice(&fault.details).unwrap();
        assert_eq!(details, json!(["boom", 42]));
    }
}
