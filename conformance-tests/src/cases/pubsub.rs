//! Events, for everybody who wants them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::try_join_all;
use polywire_codec::MessagePack;
use polywire_core::{
    Address, Code, Context, Error, ErrorKind, Event, Fault, Filter, Group, Listener, Overflow,
    Publisher, Pusher, Subscriber, Transport, Window,
};
use tokio::time::timeout;

use super::calls::eventually;
use super::pipeline::Task;
use crate::stage::{CHANNEL, PATIENCE, QUEUE, bound};
use crate::verdict::ensure;
use crate::{Failure, OrFail, Stage, Verdict};

/// Each subscriber gets what its filters match, in the order in which it was published, and nothing
/// else.
pub async fn filters_mean_what_they_say(stage: &Stage) -> Verdict {
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
    stage.require("pubsub", |can| can.pubsub).await?;
    let mut subscribers = Vec::new();
    for filters in FILTERS {
        // Everybody wants to know when it is over.
        let all = filters.iter().copied().chain(["the.end"]);
        subscribers.push((filters, stage.subscriber(all).await?));
    }
    let publisher = stage.publisher().await?;
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
            let event: Event<String> = next(&mut subscriber).await?;
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

/// What is published after a subscriber was bound is not missed, whoever was there first.
pub async fn nothing_published_after_bind_is_missed(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    for round in 0..10_u32 {
        let mut first: Subscriber<u32> =
            bound(Subscriber::bind(&stage.serving().await?, CHANNEL, MessagePack)).await?;
        let publisher = stage.publisher().await?;
        publisher.publish("a", &round).await.or_fail("publishing")?;
        expect(&mut first, round, "a subscriber that was there before the publisher").await?;
    }
    let serving = stage.serving().await?;
    let publisher = bound(Publisher::connect(&serving, CHANNEL, MessagePack)).await?;
    for round in 0..10_u32 {
        let mut later: Subscriber<u32> =
            bound(Subscriber::bind(&stage.calling().await?, CHANNEL, MessagePack)).await?;
        publisher.publish("a", &round).await.or_fail("publishing")?;
        expect(&mut later, round, "a subscriber that came after the publisher").await?;
    }
    Ok(())
}

/// Publishing to nobody succeeds.
pub async fn nobody_needs_to_listen(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    let publisher = stage.publisher().await?;
    let published = timeout(PATIENCE, publisher.publish("a", &1_u32))
        .await
        .or_fail("publishing to nobody ends")?;
    published.or_fail("publishing to nobody")
}

/// Filters can be added and dropped while a subscriber runs.
pub async fn filters_change_while_running(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    let mut subscriber: Subscriber<u32> = stage.subscriber(["a.#"]).await?;
    let publisher = stage.publisher().await?;
    let publish = async |topic: &'static str, n: u32| {
        publisher.publish(topic, &n).await.or_fail("publishing")
    };
    publish("b.x", 1).await?;
    publish("a.x", 2).await?;
    expect(&mut subscriber, 2, "a subscriber to a.#").await?;
    bound(subscriber.filters().add("b.*")).await?;
    publish("b.x", 3).await?;
    expect(&mut subscriber, 3, "a subscriber to a.# and b.*").await?;
    bound(subscriber.filters().remove("a.#")).await?;
    publish("a.x", 4).await?;
    publish("b.x", 5).await?;
    expect(&mut subscriber, 5, "a subscriber to b.* and no longer to a.#").await
}

/// Topics and filters may be given as bytes, of any text.
pub async fn topics_may_be_bytes(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    let filter = Filter::try_from("größe.*".as_bytes()).or_fail("a filter of bytes")?;
    let transport = stage.serving().await?;
    let mut subscriber: Subscriber<u32> =
        bound(Subscriber::bind(&transport, CHANNEL, MessagePack).filter(filter)).await?;
    stage.publisher().await?.publish("größe.λ".as_bytes(), &1_u32).await.or_fail("publishing")?;
    let event = next(&mut subscriber).await?;
    ensure!(
        event.topic().as_bytes() == "größe.λ".as_bytes(),
        "the topic größe.λ came as {}",
        event.topic()
    );
    Ok(())
}

/// Several publishers reach several subscribers, each event once.
pub async fn many_publishers_reach_many_subscribers(stage: &Stage) -> Verdict {
    const PUBLISHERS: u32 = 3;
    const EACH: u32 = 200;
    stage.require("pubsub", |can| can.pubsub).await?;
    let mut subscribers = Vec::new();
    for _ in 0..3 {
        subscribers.push(stage.subscriber(["n.*"]).await?);
    }
    let mut publishing = Vec::new();
    for name in 0..PUBLISHERS {
        let publisher = stage.publisher().await?;
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
            let event: Event<u32> = next(subscriber).await?;
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

/// The members of a group share: each event goes to one of them. Who is in no group gets them all.
pub async fn group_shares_its_events(stage: &Stage) -> Verdict {
    const EVENTS: u32 = 100;
    stage.require("pubsub", |can| can.pubsub).await?;
    stage.require("groups", |can| can.groups).await?;
    let mut alone: Subscriber<u32> = stage.subscriber(["#"]).await?;
    let mut members = [stage.member("sharing").await?, stage.member("sharing").await?];
    let publisher = stage.publisher().await?;
    for n in 0..EVENTS {
        publisher.publish("a", &n).await.or_fail("publishing")?;
    }
    let mut shares = [0_u32; 2];
    let mut seen = Vec::new();
    let [first, second] = &mut members;
    while seen.len() < EVENTS as usize {
        let (who, event) = tokio::select! {
            event = next(first) => (0, event?),
            event = next(second) => (1, event?),
        };
        shares[who] += 1;
        seen.push(*event);
        event.ack();
    }
    seen.sort_unstable();
    ensure!(
        seen.iter().copied().eq(0..EVENTS),
        "the members of a group got {seen:?} of 0 to {EVENTS}"
    );
    ensure!(shares.iter().all(|share| *share > 0), "of {EVENTS} events the members got {shares:?}");
    for n in 0..EVENTS {
        expect(&mut alone, n, "a subscriber beside the group").await?;
    }
    Ok(())
}

/// An event that a member of a group held when it died goes to another member.
pub async fn events_of_a_dead_member_go_on(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    stage.require("groups", |can| can.groups).await?;
    stage.require("settlement", |can| can.settlement).await?;
    let mut dying = stage.member("mortal").await?;
    let publisher = stage.publisher().await?;
    publisher.publish("a", &1_u32).await.or_fail("publishing")?;
    let held = next(&mut dying).await?;
    let mut heir = stage.member("mortal").await?;
    drop((held, dying));
    let event = next(&mut heir).await?;
    ensure!(*event == 1, "the event of the dead member came as {}", *event);
    ensure!(event.context().is_redelivered(), "an event that came again does not say so");
    event.ack();
    Ok(())
}

/// A durable group collects what is published while none of its members is there.
pub async fn durable_group_collects_while_away(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    stage.require("durable_groups", |can| can.durable_groups).await?;
    let group = || Group::new("patient").or_fail("a group").map(Group::durable);
    let transport = stage.serving().await?;
    let mut member: Subscriber<u32> =
        bound(Subscriber::bind(&transport, CHANNEL, MessagePack).filter("a.*").group(group()?))
            .await?;
    let publisher = stage.publisher().await?;
    publisher.publish("a.x", &0_u32).await.or_fail("publishing")?;
    next(&mut member).await?.ack();
    drop(member);
    bound(transport.close()).await?;
    for n in 1..=5_u32 {
        publisher.publish("a.x", &n).await.or_fail("publishing while the group is away")?;
    }
    let transport = stage.serving().await?;
    let mut back: Subscriber<u32> =
        bound(Subscriber::bind(&transport, CHANNEL, MessagePack).filter("a.*").group(group()?))
            .await?;
    for n in 1..=5 {
        let event = next(&mut back).await?;
        ensure!(*event == n, "event {n} was due to the group that was away, and {} came", *event);
        event.ack();
    }
    Ok(())
}

/// A subscriber that drops the oldest ends up with the latest, and knows how many it missed.
pub async fn slow_subscriber_drops_the_oldest(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    let mut slow = slow(stage, Overflow::DropOldest).await?;
    eventually("the surplus is dropped", || slow.dropped() == u64::from(PUBLISHED - ROOM)).await?;
    for n in PUBLISHED - ROOM..PUBLISHED {
        expect(&mut slow, n, "a slow subscriber that drops the oldest").await?;
    }
    Ok(())
}

/// A subscriber that drops the newest ends up with the first, and knows how many it missed.
pub async fn slow_subscriber_drops_the_newest(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    let mut slow = slow(stage, Overflow::DropNewest).await?;
    eventually("the surplus is dropped", || slow.dropped() == u64::from(PUBLISHED - ROOM)).await?;
    for n in 0..ROOM {
        expect(&mut slow, n, "a slow subscriber that drops the newest").await?;
    }
    Ok(())
}

/// A subscriber that wants to know when it was too slow gets what it held, the error, and the end.
pub async fn slow_subscriber_is_disconnected(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    let mut slow = slow(stage, Overflow::Disconnect).await?;
    eventually("the overflow is noticed", || slow.dropped() > 0).await?;
    for n in 0..ROOM {
        expect(&mut slow, n, "a slow subscriber before it is disconnected").await?;
    }
    let last = timeout(PATIENCE, slow.next()).await.or_fail("the end comes")?;
    let kind = last.as_ref().and_then(|last| last.as_ref().err()).map(Error::kind);
    ensure!(kind == Some(ErrorKind::Overloaded), "a subscriber that was too slow got {last:?}");
    let end = timeout(PATIENCE, slow.next()).await.or_fail("the stream ends")?;
    ensure!(end.is_none(), "after it was disconnected, a subscriber got {end:?}");
    Ok(())
}

/// A subscriber that waits misses nothing, however slow it is.
pub async fn slow_subscriber_that_waits_misses_nothing(stage: &Stage) -> Verdict {
    const EVENTS: u32 = 3_000;
    stage.require("pubsub", |can| can.pubsub).await?;
    let transport = stage.serving().await?;
    let mut slow: Subscriber<(u32, String)> =
        bound(Subscriber::bind(&transport, CHANNEL, MessagePack).window(Window::new(4))).await?;
    let publisher = stage.publisher().await?;
    let publishing = async {
        let body = "x".repeat(1 << 10);
        for n in 0..EVENTS {
            publisher.publish("a", &(n, &body)).await.or_fail("publishing to a slow subscriber")?;
        }
        Ok(())
    };
    let reading = async {
        for n in 0..EVENTS {
            // Now and then it lets everybody else go first.
            for _ in 0..n % 64 {
                tokio::task::yield_now().await;
            }
            let lost = || {
                Failure::new(format!("of {EVENTS} events that were published, event {n} is lost"))
            };
            let event = next(&mut slow).await.map_err(|_| lost())?;
            if event.0 != n {
                return Err(lost());
            }
        }
        Ok(())
    };
    let (published, read) = tokio::join!(publishing, reading);
    published.and(read)?;
    ensure!(slow.dropped() == 0, "{} events count as dropped", slow.dropped());
    Ok(())
}

/// A listener deals with events by its handler; in a group, one that fails is tried again.
pub async fn listener_tries_again_within_its_group(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    stage.require("groups", |can| can.groups).await?;
    stage.require("attempts", |can| can.attempts).await?;
    let transport = stage.serving().await?;
    let group = Group::new("handlers").or_fail("a group")?;
    let listener =
        bound(Listener::bind(&transport, CHANNEL, MessagePack).filter("a.*").group(group)).await?;
    let (handle, sum) = (listener.handle(), Arc::new(AtomicU32::new(0)));
    let total = sum.clone();
    let listening = listener.listen(move |context: Context, n: u32| {
        let total = total.clone();
        async move {
            if context.attempt == 1 {
                return Err(Fault::new(Code::Application, "the first attempt fails"));
            }
            total.fetch_add(n, Ordering::SeqCst);
            Ok(())
        }
    });
    let _listening = Task(tokio::spawn(listening));
    let publisher = stage.publisher().await?;
    for n in 1..=4_u32 {
        publisher.publish("a.x", &n).await.or_fail("publishing")?;
    }
    eventually("every event is dealt with", || handle.stats().done == 4).await?;
    let sum = sum.load(Ordering::SeqCst);
    ensure!(sum == 10, "the events 1 to 4 add up to {sum}");
    ensure!(handle.stats().retried == 4, "{} of 4 events were tried again", handle.stats().retried);
    Ok(())
}

/// Closing a transport ends its subscribers, and its publishers say that they are closed.
pub async fn close_ends_subscribing_and_publishing(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    let serving = stage.serving().await?;
    let mut subscriber: Subscriber<u32> =
        bound(Subscriber::bind(&serving, CHANNEL, MessagePack)).await?;
    let calling = stage.calling().await?;
    let publisher = bound(Publisher::connect(&calling, CHANNEL, MessagePack)).await?;
    bound(calling.close()).await?;
    let published = timeout(PATIENCE, publisher.publish("a", &1_u32))
        .await
        .or_fail("publishing after closing ends")?;
    let kind = published.as_ref().err().map(Error::kind);
    ensure!(kind == Some(ErrorKind::Closed), "publishing after closing ended with {published:?}");
    bound(serving.close()).await?;
    let end = timeout(PATIENCE, subscriber.next()).await.or_fail("a closed subscriber ends")?;
    ensure!(end.is_none(), "a closed subscriber yielded {end:?}");
    Ok(())
}

/// What a backend cannot do it refuses by name, and does not do less in silence.
pub async fn what_is_lacking_is_unsupported(stage: &Stage) -> Verdict {
    let transport = stage.serving().await?;
    let can = transport.capabilities();
    let group = Group::new("some").or_fail("a group")?;
    let refused = |what: &str, lacking: bool, error: Option<Error>| match (lacking, error) {
        (true, Some(error)) if error.kind() == ErrorKind::Unsupported => Ok(()),
        (false, None) => Ok(()),
        (true, other) => {
            Err(Failure::new(format!("{what} is lacking, and asking for it ended with {other:?}")))
        }
        (false, Some(error)) => {
            Err(Failure::new(format!("{what} is there, and asking for it failed as {error:?}")))
        }
    };
    let durable = Pusher::connect(&stage.calling().await?, QUEUE, MessagePack).durable().await;
    refused("durable", !can.durable, durable.err())?;
    let shared = Subscriber::<u32>::bind(&stage.serving().await?, CHANNEL, MessagePack)
        .group(group.clone())
        .await;
    refused("groups", !can.groups, shared.err())?;
    let collecting = Subscriber::<u32>::bind(&stage.serving().await?, "other", MessagePack)
        .group(group.durable())
        .await;
    refused("durable_groups", !can.durable_groups, collecting.err())
}

/// How many events a slow subscriber can hold, and how many are published meanwhile.
const ROOM: u32 = 4;
const PUBLISHED: u32 = 20;

/// A subscriber that did not read while events were published.
async fn slow(stage: &Stage, overflow: Overflow) -> Verdict<Subscriber<u32>> {
    let transport = stage.serving().await?;
    let subscriber = Subscriber::bind(&transport, CHANNEL, MessagePack);
    let subscriber =
        bound(subscriber.window(Window::new(ROOM as usize)).overflow(overflow)).await?;
    let publisher = stage.publisher().await?;
    for n in 0..PUBLISHED {
        publisher.publish("a", &n).await.or_fail("publishing to a slow subscriber")?;
    }
    Ok(subscriber)
}

async fn expect(subscriber: &mut Subscriber<u32>, due: u32, who: &str) -> Verdict {
    let event = next(subscriber).await?;
    ensure!(*event == due, "{who} was due to get {due}, and got {}", *event);
    Ok(())
}

/// The next event, which must come.
async fn next<T>(events: &mut Subscriber<T>) -> Verdict<Event<T>> {
    let next = timeout(PATIENCE, events.next()).await.or_fail("an event arrives in time")?;
    next.or_fail("an event arrives")?.or_fail("an event can be read")
}
