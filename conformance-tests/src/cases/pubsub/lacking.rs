//! Patterns and options that a backend may lack.

use polywire_codec::MessagePack;
use polywire_core::{CallError, Client, Group, Publisher, Puller, Pusher, Subscriber, Transport};

use crate::cases::refusal::{opens_unless_lacking, supported_unless_lacking};
use crate::cases::services::echo;
use crate::context::TestContext;
use crate::names::{CHANNEL, QUEUE, SERVICE};
use crate::verdict::{OrFail, Verdict};
use crate::wait::in_time;

/// Patterns and options that a backend lacks are refused as unsupported, and not reduced in
/// silence.
///
/// Asks for each pattern and for each option: `pipeline`, `pubsub`, `priorities`, `durable`,
/// `groups` and `durable_groups`. What the capabilities claim must open, and what they do not claim
/// must fail as [`ErrorKind::Unsupported`](polywire_core::ErrorKind::Unsupported).
///
/// Catches operations that do less than they were asked for, and refusals with an error of another
/// kind.
pub async fn what_is_lacking_is_unsupported(context: &TestContext) -> Verdict {
    let can = context.calling().await?.capabilities();
    lacking_pipeline_is_unsupported(context).await?;
    lacking_pubsub_is_unsupported(context).await?;
    lacking_priorities_are_unsupported(context).await?;
    let transport = context.calling().await?;
    let durable = Pusher::connect(&transport, QUEUE, MessagePack).durable().await;
    opens_unless_lacking("durable", !can.durable || !can.pipeline, durable.err().as_ref())?;

    let group = Group::new("some").or_fail("a group has a name")?;
    let transport = context.serving().await?;
    let shared = Subscriber::<u32>::bind(&transport, CHANNEL, MessagePack).group(group.clone());
    opens_unless_lacking("groups", !can.groups || !can.pubsub, shared.await.err().as_ref())?;
    let transport = context.serving().await?;
    let collecting = Subscriber::<u32>::bind(&transport, "other", MessagePack);
    let collecting = collecting.group(group.durable()).await;
    let lacking = !can.durable_groups || !can.groups || !can.pubsub;
    opens_unless_lacking("durable_groups", lacking, collecting.err().as_ref())
}

/// Asks for a puller and a pusher.
///
/// Each is opened on a transport of its own.
async fn lacking_pipeline_is_unsupported(context: &TestContext) -> Verdict {
    let lacking = !context.calling().await?.capabilities().pipeline;
    let puller = Puller::<u32>::bind(&context.serving().await?, QUEUE, MessagePack).await;
    opens_unless_lacking("pipeline", lacking, puller.as_ref().err())?;
    let pusher = Pusher::connect(&context.calling().await?, QUEUE, MessagePack).await;
    opens_unless_lacking("pipeline", lacking, pusher.err().as_ref())
}

/// Asks for a subscriber and a publisher.
///
/// Each is opened on a transport of its own.
async fn lacking_pubsub_is_unsupported(context: &TestContext) -> Verdict {
    let lacking = !context.calling().await?.capabilities().pubsub;
    let transport = context.serving().await?;
    let subscriber = Subscriber::<u32>::bind(&transport, CHANNEL, MessagePack).await;
    opens_unless_lacking("pubsub", lacking, subscriber.as_ref().err())?;
    let publisher = Publisher::connect(&context.calling().await?, CHANNEL, MessagePack).await;
    opens_unless_lacking("pubsub", lacking, publisher.err().as_ref())
}

/// Asks for a priority by all that send: a call always, a push and a publish where they exist.
///
/// Where priorities exist, a failure of another kind is no failure here: a push may have no
/// receiver.
async fn lacking_priorities_are_unsupported(context: &TestContext) -> Verdict {
    let _server = context.serve(echo()).await?;
    let transport = context.calling().await?;
    let can = transport.capabilities();
    let lacking = !can.priorities;
    let client = in_time(Client::connect(&transport, SERVICE, MessagePack)).await?;
    let called = client.request("echo").priority(1).call::<u32>(&1).await;
    let error = match called {
        Err(CallError::Failed(error)) => Some(error),
        _ => None,
    };
    supported_unless_lacking("priorities", lacking, error.as_ref())?;
    if can.pipeline {
        let pushed = context.pusher().await?.with_priority(1).push(&1_u32).await;
        supported_unless_lacking("priorities", lacking, pushed.err().as_ref())?;
    }
    if can.pubsub {
        let published = context.publisher().await?.with_priority(1).publish("a", &1_u32).await;
        supported_unless_lacking("priorities", lacking, published.err().as_ref())?;
    }
    Ok(())
}
