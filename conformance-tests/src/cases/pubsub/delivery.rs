//! The delivery of events to subscribers of their own.

use futures_util::future::try_join_all;
use polywire_codec::MessagePack;
use polywire_core::{Address, Error, ErrorKind, Event, Filter, Publisher, Subscriber, Transport};

use crate::cases::receive::{expect_event, next_event};
use crate::context::TestContext;
use crate::names::CHANNEL;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time, within};

/// Each subscriber gets the events that its filters match, in the order of publishing, and no
/// others.
///
/// Eight sets of filters meet twelve topics. [`Filter::matches`] says which events are due.
///
/// An event with the topic `the.end`, to which all subscribe, ends each subscriber: no time is
/// waited for events that are not due.
///
/// Catches filters that are compared by prefix, and wildcards with another meaning.
///
/// Needs the capability `pubsub`.
pub async fn filters_mean_what_they_say(context: &TestContext) -> Verdict {
    const FILTERS: [&[&str]; 8] = [
        &["#"],
        &["a"],
        &["a.*"],
        &["a.#"],
        &["*.b"],
        &["#.b"],
        &["a.#.c", "b"],
        &["a.b", "a.*", "größe.*"],
    ];
    const TOPICS: [&str; 12] = [
        "a",
        "b",
        "a.b",
        "a.c",
        "b.b",
        "ab",
        "a.b.c",
        "a.x.y.c",
        "a.b.c.b",
        "größe.b",
        "größe.λ",
        "a.bc",
    ];
    context.require("pubsub", |can| can.pubsub).await?;
    let mut subscribers = Vec::new();
    for filters in FILTERS {
        // The last event ends each subscriber.
        let all = filters.iter().copied().chain(["the.end"]);
        subscribers.push((filters, context.subscriber(all).await?));
    }
    let publisher = context.publisher().await?;
    for topic in TOPICS {
        publisher.publish(topic, topic).await.or_fail("publishing")?;
    }
    publisher.publish("the.end", "").await.or_fail("publishing")?;
    for (filters, mut subscriber) in subscribers {
        let wanted =
            filters.iter().map(|filter| Filter::new(*filter)).collect::<Result<Vec<_>, _>>();
        let wanted = wanted.or_fail("a filter")?;
        let wants = |topic: &&str| {
            Address::new(*topic).is_ok_and(|topic| wanted.iter().any(|f| f.matches(&topic)))
        };
        let expected: Vec<_> = TOPICS.iter().copied().filter(wants).collect();
        let mut found = Vec::new();
        loop {
            let event: Event<String> = next_event(&mut subscriber).await?;
            if event.topic().as_str() == "the.end" {
                break;
            }
            ensure!(
                event.topic().as_str() == *event,
                "what was published as {} came as {}",
                *event,
                event.topic()
            );
            found.push(event.topic().to_string());
        }
        ensure!(found == expected, "the filters {filters:?} want {expected:?} and got {found:?}");
    }
    Ok(())
}

/// An event that is published after a subscriber was bound is not missed, whichever side opened
/// first.
///
/// Checked ten times with a subscriber that is older than the publisher, and ten times with one
/// that is younger.
///
/// Catches subscriptions that are still in transit when binding returns.
///
/// Needs the capability `pubsub`.
pub async fn nothing_published_after_bind_is_missed(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    for round in 0..10_u32 {
        let mut first: Subscriber<u32> =
            in_time(Subscriber::bind(&context.serving().await?, CHANNEL, MessagePack)).await?;
        let publisher = context.publisher().await?;
        publisher.publish("a", &round).await.or_fail("publishing")?;
        expect_event(&mut first, round, "a subscriber that was there before the publisher").await?;
    }
    let serving = context.serving().await?;
    let publisher = in_time(Publisher::connect(&serving, CHANNEL, MessagePack)).await?;
    for round in 0..10_u32 {
        let mut later: Subscriber<u32> =
            in_time(Subscriber::bind(&context.calling().await?, CHANNEL, MessagePack)).await?;
        publisher.publish("a", &round).await.or_fail("publishing")?;
        expect_event(&mut later, round, "a subscriber that came after the publisher").await?;
    }
    Ok(())
}

/// Publishing without subscribers succeeds.
///
/// Catches publishes that are mandatory, or that wait for a subscriber.
///
/// Needs the capability `pubsub`.
pub async fn publishing_needs_no_subscriber(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let publisher = context.publisher().await?;
    let published =
        within(PATIENCE, "publishing without subscribers ends", publisher.publish("a", &1_u32))
            .await?;
    published.or_fail("publishing without subscribers")
}

/// Filters can be added and removed while a subscriber runs.
///
/// A change is in force when its future resolves.
///
/// Five events are published between the changes, of which three are due.
///
/// Catches changes that are ignored, or still in transit when their future resolves.
///
/// Needs the capability `pubsub`.
pub async fn filters_change_while_running(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let mut subscriber: Subscriber<u32> = context.subscriber(["a.#"]).await?;
    let publisher = context.publisher().await?;
    let publish = async |topic: &'static str, n: u32| {
        publisher.publish(topic, &n).await.or_fail("publishing")
    };
    publish("b.x", 1).await?;
    publish("a.x", 2).await?;
    expect_event(&mut subscriber, 2, "a subscriber to a.#").await?;
    in_time(subscriber.filters().add("b.*")).await?;
    publish("b.x", 3).await?;
    expect_event(&mut subscriber, 3, "a subscriber to a.# and b.*").await?;
    in_time(subscriber.filters().remove("a.#")).await?;
    publish("a.x", 4).await?;
    publish("b.x", 5).await?;
    expect_event(&mut subscriber, 5, "a subscriber to b.* and no longer to a.#").await
}

/// Topics and filters may be given as bytes, of any text; bytes that are no text are refused.
///
/// Checked with text beyond ASCII, and with a byte that no UTF-8 contains. After the refusal the
/// publisher goes on.
///
/// Catches wires that encode topics as ASCII.
///
/// Needs the capability `pubsub`.
pub async fn topics_may_be_bytes(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let filter = Filter::try_from("größe.*".as_bytes()).or_fail("a filter of bytes")?;
    let transport = context.serving().await?;
    let mut subscriber: Subscriber<u32> =
        in_time(Subscriber::bind(&transport, CHANNEL, MessagePack).filter(filter)).await?;
    let publisher = context.publisher().await?;
    let no_text = &b"gr\xff.x"[..];
    let refusals = [
        ("topic", publisher.publish(no_text, &0_u32).await),
        ("filter", Filter::try_from(no_text).map(drop)),
    ];
    for (what, refusal) in refusals {
        let kind = refusal.as_ref().map_err(Error::kind);
        ensure!(kind == Err(ErrorKind::Config), "a {what} that is no text ended with {refusal:?}");
    }
    publisher.publish("größe.λ".as_bytes(), &1_u32).await.or_fail("publishing")?;
    let event = next_event(&mut subscriber).await?;
    ensure!(
        event.topic().as_bytes() == "größe.λ".as_bytes(),
        "the topic größe.λ came as {}",
        event.topic()
    );
    Ok(())
}

/// Several publishers reach several subscribers, each event once.
///
/// Three publishers publish 200 events each. Three subscribers get all of them, those of each
/// publisher in order.
///
/// Catches events that are lost or repeated under load, and publishers that share an order.
///
/// Needs the capability `pubsub`.
pub async fn many_publishers_reach_many_subscribers(context: &TestContext) -> Verdict {
    const PUBLISHERS: u32 = 3;
    const EACH: u32 = 200;
    context.require("pubsub", |can| can.pubsub).await?;
    let mut subscribers = Vec::new();
    for _ in 0..3 {
        subscribers.push(context.subscriber(["n.*"]).await?);
    }
    let mut publishing = Vec::new();
    for name in 0..PUBLISHERS {
        let publisher = context.publisher().await?;
        publishing.push(async move {
            for n in 0..EACH {
                publisher.publish(format!("n.{name}"), &n).await?;
            }
            Ok(())
        });
    }
    let publishing = async {
        try_join_all(publishing).await.map_err(|error: Error| Failure::new(format!("{error:?}")))
    };
    let reading = try_join_all(subscribers.iter_mut().map(|subscriber| async move {
        let mut last: [Option<u32>; PUBLISHERS as usize] = [None; PUBLISHERS as usize];
        for _ in 0..PUBLISHERS * EACH {
            let event: Event<u32> = next_event(subscriber).await?;
            let name: usize =
                event.topic().as_str()[2..].parse().or_fail("the topic names its publisher")?;
            let due = last[name].map_or(0, |n| n + 1);
            ensure!(*event == due, "of publisher {name}, event {} came when {due} was due", *event);
            last[name] = Some(*event);
        }
        Ok(())
    }));
    let (published, read) = tokio::join!(publishing, reading);
    published?;
    read.map(drop)
}

/// Closing a transport ends its subscribers, and its publishers fail as closed.
///
/// Publishing fails as [`ErrorKind::Closed`], and the stream of the subscriber ends.
///
/// Catches transports that close their connection, and leave streams and publishes waiting.
///
/// Needs the capability `pubsub`.
pub async fn close_ends_subscribing_and_publishing(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let serving = context.serving().await?;
    let mut subscriber: Subscriber<u32> =
        in_time(Subscriber::bind(&serving, CHANNEL, MessagePack)).await?;
    let calling = context.calling().await?;
    let publisher = in_time(Publisher::connect(&calling, CHANNEL, MessagePack)).await?;
    in_time(calling.close()).await?;
    let published =
        within(PATIENCE, "publishing after closing ends", publisher.publish("a", &1_u32)).await?;
    let kind = published.as_ref().err().map(Error::kind);
    ensure!(kind == Some(ErrorKind::Closed), "publishing after closing ended with {published:?}");
    in_time(serving.close()).await?;
    let end = within(PATIENCE, "a closed subscriber ends", subscriber.next()).await?;
    ensure!(end.is_none(), "a closed subscriber yielded {end:?}");
    Ok(())
}
