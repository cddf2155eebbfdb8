//! A service over memory, and its clients.

use polywire_codec::MessagePack;
use polywire_core::{Client, Memory, Router, Server};

pub(crate) fn router() -> Router<MessagePack> {
    Router::new(MessagePack).method("double", async |n: i64| Ok(2 * n))
}

/// Returns a transport with a server.
pub(crate) async fn served() -> Memory {
    let memory = Memory::new();
    tokio::spawn(Server::bind(&memory, "service").await.unwrap().serve(router()));
    memory
}

pub(crate) async fn client(memory: &Memory) -> Client<MessagePack> {
    Client::connect(memory, "service", MessagePack).await.unwrap()
}
