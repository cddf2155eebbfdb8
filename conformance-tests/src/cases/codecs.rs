//! The codecs that are built in, over the carrier.

use polywire_codec::{Json, MessagePack};
use polywire_core::{Client, Codec, Publisher, Puller, Pusher, Router, Subscriber};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::stage::{CHANNEL, PATIENCE, QUEUE, SERVICE, Serving, bound};
use crate::verdict::ensure;
use crate::{OrFail, Stage, Verdict};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    place: String,
    degrees: Option<f64>,
    history: Vec<(i64, f32)>,
}

fn reading() -> Reading {
    Reading {
        place: "Zürich \u{1f321}".to_owned(),
        degrees: Some(-1.5),
        history: vec![(i64::MIN, 0.25)],
    }
}

/// A call in JSON and one in MessagePack come back as they left.
pub async fn calls_cross_in_each_codec(stage: &Stage) -> Verdict {
    call_crosses(stage, Json).await?;
    call_crosses(stage, MessagePack).await
}

async fn call_crosses<C: Codec>(stage: &Stage, codec: C) -> Verdict {
    let transport = stage.serving().await?;
    let service = format!("{SERVICE}.{}", C::CONTENT_TYPE.replace('/', "-"));
    let server = bound(polywire_core::Server::bind(&transport, service.clone())).await?;
    let router =
        Router::new(codec.clone()).method("echo", |reading: Reading| async move { Ok(reading) });
    let _serving = Serving::start(transport, server, router);
    let client =
        bound(Client::connect(&stage.calling().await?, service, codec).timeout(PATIENCE)).await?;
    let back: Reading = client.call("echo", &reading()).await.or_fail("a call is answered")?;
    ensure!(back == reading(), "in {}, a value came back as {back:?}", C::CONTENT_TYPE);
    Ok(())
}

/// A job in JSON and one in MessagePack arrive as they left.
pub async fn jobs_cross_in_each_codec(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    job_crosses(stage, Json).await?;
    job_crosses(stage, MessagePack).await
}

async fn job_crosses<C: Codec>(stage: &Stage, codec: C) -> Verdict {
    let queue = format!("{QUEUE}.{}", C::CONTENT_TYPE.replace('/', "-"));
    let mut jobs: Puller<Reading> =
        bound(Puller::bind(&stage.serving().await?, queue.clone(), codec.clone())).await?;
    let pusher = bound(Pusher::connect(&stage.calling().await?, queue, codec)).await?;
    pusher.push(&reading()).await.or_fail("a push")?;
    let job = timeout(PATIENCE, jobs.next()).await.or_fail("a job arrives in time")?;
    let job = job.or_fail("a job arrives")?.or_fail("a job can be read")?;
    ensure!(*job == reading(), "in {}, a job came as {:?}", C::CONTENT_TYPE, *job);
    job.ack();
    Ok(())
}

/// An event in JSON and one in MessagePack arrive as they left.
pub async fn events_cross_in_each_codec(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    event_crosses(stage, Json).await?;
    event_crosses(stage, MessagePack).await
}

async fn event_crosses<C: Codec>(stage: &Stage, codec: C) -> Verdict {
    let channel = format!("{CHANNEL}.{}", C::CONTENT_TYPE.replace('/', "-"));
    let mut events: Subscriber<Reading> =
        bound(Subscriber::bind(&stage.serving().await?, channel.clone(), codec.clone())).await?;
    let publisher = bound(Publisher::connect(&stage.calling().await?, channel, codec)).await?;
    publisher.publish("a", &reading()).await.or_fail("publishing")?;
    let event = timeout(PATIENCE, events.next()).await.or_fail("an event arrives in time")?;
    let event = event.or_fail("an event arrives")?.or_fail("an event can be read")?;
    ensure!(*event == reading(), "in {}, an event came as {:?}", C::CONTENT_TYPE, *event);
    Ok(())
}
