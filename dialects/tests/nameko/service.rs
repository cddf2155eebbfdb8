//! Our service, with the methods of the peer.

use polywire_amqp::{Amqp, ForeignAmqp};
use polywire_core::rpc::ServerHandle;
use polywire_core::{Client, Code, Context, Dialect, Fault, Router, Server, Transport};
use polywire_dialects::Nameko;
use serde::Deserialize;
use serde_json::{Value, json};

/// Connects in the layout of nameko.
pub(crate) async fn connect(url: &str) -> ForeignAmqp {
    Amqp::connect(url).await.unwrap().with_layout(Nameko::new())
}

#[derive(Deserialize)]
struct AddArguments {
    #[serde(alias = "0")]
    a: i64,
    #[serde(alias = "1", default = "ten")]
    b: i64,
}

fn broken() -> Result<(), Fault> {
    panic!("a bug")
}

fn ten() -> i64 {
    10
}

/// Returns the service in any dialect: the same methods for native callers and those of nameko.
pub(crate) fn methods<D: Dialect>(dialect: D) -> Router<D> {
    Router::new(dialect)
        .method("add", |add: AddArguments| async move { Ok(add.a + add.b) })
        .method("echo", |(value,): (Value,)| async move { Ok(value) })
        .method("whoami", |(): ()| async move { Ok("polywire") })
        .method("fail", |(): ()| async move {
            Err::<(), _>(Nameko::raised("ValueError", "('boom', 42)", json!(["boom", 42])))
        })
        .method("own_error", |(): ()| async move {
            let fault = Fault::new(Code::Application, "only 3 left").with_kind("OutOfStock");
            Err::<(), _>(fault.with_value(json!({ "left": 3 })))
        })
        .method("panics", |(): ()| async move { broken() })
        .method("not_a_number", |(): ()| async move { Ok(f64::NAN) })
        .method("context", |context: Context, (): ()| async move {
            let stack: Vec<_> = context.call_stack().iter().map(ToOwned::to_owned).collect();
            let data: serde_json::Map<_, _> = context
                .baggage()
                .iter()
                .map(|(key, value)| (key.to_owned(), Value::from(value)))
                .collect();
            Ok(json!({ "data": data, "stack": stack }))
        })
}

/// Serves the methods, and a method `chain` that asks another service for its context.
pub(crate) async fn serve(nameko: &ForeignAmqp, service: &str) -> ServerHandle {
    let transport = nameko.clone();
    let chain = move |(other,): (String,)| {
        let transport = transport.clone();
        async move {
            let client = Client::connect(&transport, &*other, Nameko::new()).await?;
            let seen: Value = client.call("context", &()).await?;
            Ok::<_, Fault>(seen)
        }
    };
    let server = Server::bind(nameko, service).await.unwrap();
    let handle = server.handle();
    tokio::spawn(server.serve(methods(Nameko::new()).method("chain", chain)));
    handle
}

/// Connects a client of nameko's wire.
pub(crate) async fn client<T: Transport>(transport: &T, service: &str) -> Client<Nameko> {
    Client::connect(transport, service, Nameko::new())
        .await
        .unwrap()
        .with_timeout(crate::patience::PATIENCE)
}
