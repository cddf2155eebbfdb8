//! Our service, with the methods of the peer.

use polywire_amqp::{Amqp, ForeignAmqp};
use polywire_core::rpc::ServerHandle;
use polywire_core::{Client, Code, Dialect, Fault, Router, Server, Transport};
use polywire_dialects::Amqprpc;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::patience::PATIENCE;

/// The argument of `Add`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Pair {
    #[serde(rename = "A")]
    pub(crate) a: i64,
    #[serde(rename = "B")]
    pub(crate) b: i64,
}

/// Returns the wire of a format, with the error of the program's own.
pub(crate) fn wire(format: &str) -> Amqprpc {
    let wire = Amqprpc::new().error("out of stock: ", Code::Application, "OutOfStock");
    match format {
        "json" => wire,
        _ => wire.message_pack(),
    }
}

/// Connects in the layout of amqprpc, for methods of the object `Peer`.
pub(crate) async fn connect(url: &str, wire: Amqprpc) -> ForeignAmqp {
    Amqp::connect(url).await.unwrap().with_layout(wire.object("Peer"))
}

fn broken() -> Result<(), Fault> {
    panic!("a bug")
}

/// Returns the service in any dialect: the same methods for native callers and those of amqprpc.
pub(crate) fn methods<D: Dialect>(dialect: D) -> Router<D> {
    Router::new(dialect)
        .method("Add", |pair: Pair| async move { Ok(pair.a + pair.b) })
        .method("Echo", |value: Value| async move { Ok(value) })
        .method("Whoami", |(): ()| async move { Ok("polywire") })
        .method("Fail", |(): ()| async move {
            Err::<(), _>(Fault::new(Code::Application, "('boom', 42)"))
        })
        .method("Sell", |left: i64| async move {
            let message = format!("only {left} left, grüße");
            Err::<(), _>(Fault::new(Code::Application, message).with_kind("OutOfStock"))
        })
        .method("Panics", |(): ()| async move { broken() })
        .method("NotANumber", |(): ()| async move { Ok(f64::NAN) })
}

/// Serves the methods.
pub(crate) async fn serve(amqp: &ForeignAmqp, service: &str, wire: Amqprpc) -> ServerHandle {
    let server = Server::bind(amqp, service).await.unwrap();
    let handle = server.handle();
    tokio::spawn(server.serve(methods(wire)));
    handle
}

/// Connects a client of amqprpc's wire.
pub(crate) async fn client<T: Transport>(
    transport: &T,
    service: &str,
    wire: Amqprpc,
) -> Client<Amqprpc> {
    Client::connect(transport, service, wire).await.unwrap().with_timeout(PATIENCE)
}
