//! Events for several destinations.

use polywire_codec::MessagePack;
use polywire_core::pubsub::{Destination, MultiPublisher};
use polywire_core::{ErrorKind, Headers, Subscriber};

use crate::cases::receive::next_event;
use crate::context::TestContext;
use crate::names::CHANNEL;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::in_time;

/// An event for several destinations reaches each of them, under its topic, and has an outcome for
/// each. The destinations of one send replace those of the handle. A send with a header that is
/// refused fails at each destination by itself, and the next one succeeds.
///
/// Two channels with a subscriber each. Each event has the same id in both.
///
/// Catches backends that lose events.
///
/// Needs the capability `pubsub`.
pub async fn each_destination_has_its_outcome(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let mut near = context.subscriber::<u32>(["#"]).await?;
    let transport = context.serving().await?;
    let mut far: Subscriber<u32> =
        in_time(Subscriber::bind(&transport, FAR, MessagePack).filter("raw.#")).await?;
    let both = [destination(CHANNEL, "paris")?, destination(FAR, "raw.paris")?];
    let transport = context.calling().await?;
    let publisher = in_time(MultiPublisher::connect(&transport, both, MessagePack)).await?;
    for n in 0..3 {
        let published = in_time(publisher.publish(&n)).await?;
        let channels: Vec<_> =
            published.iter().map(|published| published.destination.channel.as_str()).collect();
        ensure!(channels == [CHANNEL, FAR], "the outcomes are of {channels:?}");
        for published in published {
            published.result.or_fail("each destination takes the event")?;
        }
        let (one, other) = (next_event(&mut near).await?, next_event(&mut far).await?);
        ensure!((*one, *other) == (n, n), "{} and {} came instead of {n}", *one, *other);
        let topics = [one.topic().as_str(), other.topic().as_str()];
        ensure!(topics == ["paris", "raw.paris"], "the topics are {topics:?}");
        let ids = [one.context().message_id(), other.context().message_id()];
        ensure!(ids[0].is_some() && ids[0] == ids[1], "the event has the ids {ids:?}");
    }
    let only = [destination(FAR, "raw.lyon")?];
    let headers: Headers = [("tenant", "acme")].into_iter().collect();
    let published = in_time(publisher.publish_to(only, &7_u32, headers)).await?;
    ensure!(published.len() == 1, "one destination has {} outcomes", published.len());
    let event = next_event(&mut far).await?;
    let is_due = *event == 7 && event.context().headers.get("tenant") == Some("acme");
    ensure!(is_due, "the event for one destination came as {event:?}");
    let both = vec![destination(CHANNEL, "a")?, destination(FAR, "raw.c")?];
    let refused = [(format!("{}fault", Headers::RESERVED), "x")].into_iter().collect();
    let published = in_time(publisher.publish_to(both.clone(), &8_u32, refused)).await?;
    for published in published {
        let kind = published.result.err().map(|error| error.kind());
        ensure!(kind == Some(ErrorKind::Config), "a reserved header ended as {kind:?}");
    }
    in_time(publisher.publish_to(both, &9_u32, Headers::new())).await?;
    let (one, other) = (next_event(&mut near).await?, next_event(&mut far).await?);
    ensure!((*one, *other) == (9, 9), "{} and {} came instead of 9", *one, *other);
    Ok(())
}

/// The second channel.
const FAR: &str = "archive";

fn destination(channel: &str, topic: &str) -> Verdict<Destination> {
    Destination::new(channel, topic).or_fail("a destination has names")
}
