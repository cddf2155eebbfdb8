//! Ids of messages that typed handles send.

use polywire::{
    AnyTransport, CallError, Client, Context, Error, ErrorKind, Fault, MessagePack, Router, Server,
    service,
};
use serde::de::IgnoredAny;

use crate::backends::Backend;

/// A shop.
#[service]
trait Shop {
    /// Returns the id of the call.
    async fn id(&self, order: u32) -> Result<String, Fault>;
}

async fn served(transport: &AnyTransport, name: &str) -> polywire::Result<()> {
    let router = Router::new(MessagePack).method("id", async |context: Context, _: IgnoredAny| {
        Ok(context.message_id().map_or_else(String::new, |id| id.as_str().to_owned()))
    });
    tokio::spawn(Server::bind(transport, name).await?.serve(router));
    Ok(())
}

#[tokio::test]
async fn calls_of_a_typed_client_have_the_id_of_the_client() -> Result<(), CallError> {
    for backend in Backend::all() {
        let (transport, name) = (backend.open("shop").await?, backend.name("shop"));
        served(&transport, &name).await?;
        let shop = ShopClient::connect(&transport, &*name, MessagePack).await?;
        let order = shop.with_message_id("order-7")?;
        assert_eq!((&*order.id(1).await?, &*order.id(2).await?), ("order-7", "order-7"));
        assert_ne!(shop.id(3).await?, "order-7");
        let unnamed = shop.with_message_id("");
        assert!(unnamed.is_err_and(|error: Error| error.kind() == ErrorKind::Config));
        let untyped = Client::connect(&transport, &*name, MessagePack).await?;
        let untyped = untyped.with_message_id("a")?;
        assert_eq!(untyped.call::<String>("id", &(1,)).await?, "a");
        let own = untyped.request("id").message_id("b").call::<String>(&(1,)).await?;
        assert_eq!(own, "b");
        backend.close().await?;
    }
    Ok(())
}
