//! Descriptions of components, which they send along with their messages.

use polywire_codec::MessagePack;
use polywire_core::transport::Identified;
use polywire_core::{AnyTransport, Client, Context, Instance, Publisher, Pusher, Router, Window};

use super::receive::{next_event, next_job};
use crate::context::TestContext;
use crate::names::{CHANNEL, QUEUE, SERVICE};
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time};

/// The description of a component arrives with each of its calls, jobs and events, in full. A
/// component without one is unknown.
///
/// Jobs and events are sent where the backend has them.
///
/// Catches backends that lose or change the headers of a message.
pub async fn sender_is_known_to_handlers(context: &TestContext) -> Verdict {
    let router = Router::new(MessagePack).method("who", async |context: Context, (): ()| {
        Ok(context.sender().map(|sender| sender.to_string()))
    });
    let _server = context.serve(router).await?;
    let shop = Instance::new("shop")
        .and_then(|shop| shop.with_version("1.4.0"))
        .and_then(|shop| shop.with_type("front; back"))
        .and_then(|shop| shop.with_field("größe", "zürich=1"));
    let shop = shop.or_fail("a component has a description")?;
    let transport = AnyTransport::new(Identified::new(context.calling().await?, &shop));
    let client =
        in_time(Client::connect(&transport, SERVICE, MessagePack).timeout(PATIENCE)).await?;
    let seen: Option<String> = client.call("who", &()).await.or_fail("a call is answered")?;
    expect(seen.and_then(|text| text.parse().ok()).as_ref(), &shop, "a call")?;
    let anonymous = context.client().await?;
    let seen: Option<String> = anonymous.call("who", &()).await.or_fail("a call is answered")?;
    ensure!(seen.is_none(), "a component without a description came as {seen:?}");
    let can = polywire_core::Transport::capabilities(&transport);
    if can.pipeline {
        let mut jobs = context.puller(Window::default()).await?;
        let transport = Identified::new(context.calling().await?, &shop);
        let pusher = in_time(Pusher::connect(&transport, QUEUE, MessagePack)).await?;
        pusher.push(&1_u32).await.or_fail("a push")?;
        let job = next_job(&mut jobs).await?;
        expect(job.context().sender().as_ref(), &shop, "a job")?;
        job.ack();
    }
    if can.pubsub {
        let mut events = context.subscriber::<u32>(["#"]).await?;
        let transport = Identified::new(context.calling().await?, &shop);
        let publisher = in_time(Publisher::connect(&transport, CHANNEL, MessagePack)).await?;
        publisher.publish("a", &1_u32).await.or_fail("an event")?;
        let event = next_event(&mut events).await?;
        expect(event.context().sender().as_ref(), &shop, "an event")?;
    }
    Ok(())
}

fn expect(seen: Option<&Instance>, due: &Instance, what: &str) -> Verdict {
    ensure!(seen == Some(due), "the sender of {what} came as {seen:?}");
    Ok(())
}
