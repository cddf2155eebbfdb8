//! Groups: subscribers that share their events.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use polywire_codec::MessagePack;
use polywire_core::{Code, Context, Event, Fault, Group, Listener, Subscriber, Transport};

use crate::cases::receive::{expect_event, next_event};
use crate::cases::task::AbortOnDrop;
use crate::context::TestContext;
use crate::names::CHANNEL;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{eventually, in_time};

/// Each event goes to one member of a group, and to every subscriber outside of it.
///
/// Of 100 events, each of two members must get some.
///
/// The subscriber outside of the group must get the events in their order.
///
/// Catches groups whose members each get a copy, and groups in which one member gets everything.
///
/// Needs the capabilities `pubsub` and `groups`.
pub async fn group_shares_its_events(context: &TestContext) -> Verdict {
    const EVENTS: u32 = 100;
    context.require("pubsub", |can| can.pubsub).await?;
    context.require("groups", |can| can.groups).await?;
    let mut alone: Subscriber<u32> = context.subscriber(["#"]).await?;
    let mut members = [context.member("sharing").await?, context.member("sharing").await?];
    let publisher = context.publisher().await?;
    for n in 0..EVENTS {
        publisher.publish("a", &n).await.or_fail("publishing")?;
    }
    let mut shares = [0_u32; 2];
    let mut seen = Vec::new();
    let [first, second] = &mut members;
    while seen.len() < EVENTS as usize {
        let (member, event) = tokio::select! {
            event = next_event(first) => (0, event?),
            event = next_event(second) => (1, event?),
        };
        shares[member] += 1;
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
        expect_event(&mut alone, n, "a subscriber outside the group").await?;
    }
    Ok(())
}

/// The members of a group with different filters share the events that any of them wants.
///
/// A group has the filters of all its members together. One member subscribes to `a.*` and the
/// other to `b.*`. Of 300 events, 100 match neither filter. Each of the others goes to one member,
/// whichever it is, and none of the 100 goes to any.
///
/// Catches members that drop what their own filter does not match, and so lose it for the group.
///
/// Needs the capabilities `pubsub` and `groups`.
pub async fn members_with_different_filters_share_all(context: &TestContext) -> Verdict {
    const EACH: u32 = 100;
    context.require("pubsub", |can| can.pubsub).await?;
    context.require("groups", |can| can.groups).await?;
    let mut members = Vec::new();
    for filter in ["a.*", "b.*"] {
        let group = Group::new("mixed").or_fail("a group has a name")?;
        let transport = context.serving().await?;
        let member = Subscriber::bind(&transport, CHANNEL, MessagePack).filter(filter).group(group);
        members.push(in_time(member).await?);
    }
    let publisher = context.publisher().await?;
    for n in 0..EACH {
        for topic in ["a.x", "b.x", "c.x"] {
            publisher.publish(topic, &n).await.or_fail("publishing")?;
        }
    }
    let wanted = 2 * EACH as usize;
    let mut seen = BTreeSet::new();
    let mut shares = [0_u32; 2];
    let [first, second] = &mut members[..] else {
        return Err(Failure::new("there are two members"));
    };
    while seen.len() < wanted {
        let next = async {
            tokio::select! {
                event = next_event(first) => (0, event),
                event = next_event(second) => (1, event),
            }
        };
        let (member, event) = next.await;
        let event: Event<u32> = event.map_err(|failure| {
            let came = seen.len();
            Failure::new(format!(
                "{came} of {wanted} events that a member wants came, {shares:?} to each: {failure}"
            ))
        })?;
        ensure!(event.topic().as_str() != "c.x", "an event that no member wants came to one");
        shares[member] += 1;
        let is_new = seen.insert((event.topic().to_string(), *event));
        ensure!(is_new, "the event {} of {} came twice", *event, event.topic());
        event.ack();
    }
    context.note(format_args!("of {wanted} events the members got {shares:?}"));
    Ok(())
}

/// An event that a member of a group held when it died goes to another member.
///
/// The event arrives marked as redelivered.
///
/// The other member joins while the event is held.
///
/// Catches backends that acknowledge an event when it is delivered.
///
/// Needs the capabilities `pubsub`, `groups` and `settlement`.
pub async fn events_of_a_dead_member_go_on(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    context.require("groups", |can| can.groups).await?;
    context.require("settlement", |can| can.settlement).await?;
    let mut dying = context.member("mortal").await?;
    let publisher = context.publisher().await?;
    publisher.publish("a", &1_u32).await.or_fail("publishing")?;
    let held = next_event(&mut dying).await?;
    let mut other = context.member("mortal").await?;
    drop((held, dying));
    let event = next_event(&mut other).await?;
    ensure!(*event == 1, "the event of the dead member came as {}", *event);
    ensure!(event.context().is_redelivered(), "a redelivered event is not marked so");
    event.ack();
    Ok(())
}

/// A durable group collects the events that are published while it has no member.
///
/// The only member closes its transport. The next member gets the five events that were published
/// meanwhile, in order.
///
/// Catches queues that end with their last consumer.
///
/// Needs the capabilities `pubsub` and `durable_groups`.
pub async fn durable_group_collects_while_away(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    context.require("durable_groups", |can| can.durable_groups).await?;
    let group = || Group::new("patient").or_fail("a group").map(Group::durable);
    let transport = context.serving().await?;
    let mut member: Subscriber<u32> =
        in_time(Subscriber::bind(&transport, CHANNEL, MessagePack).filter("a.*").group(group()?))
            .await?;
    let publisher = context.publisher().await?;
    publisher.publish("a.x", &0_u32).await.or_fail("publishing")?;
    next_event(&mut member).await?.ack();
    drop(member);
    in_time(transport.close()).await?;
    for n in 1..=5_u32 {
        publisher.publish("a.x", &n).await.or_fail("publishing while the group is away")?;
    }
    let transport = context.serving().await?;
    let mut back: Subscriber<u32> =
        in_time(Subscriber::bind(&transport, CHANNEL, MessagePack).filter("a.*").group(group()?))
            .await?;
    for n in 1..=5 {
        let event = next_event(&mut back).await?;
        ensure!(*event == n, "event {n} was due to the group that was away, and {} came", *event);
        event.ack();
    }
    Ok(())
}

/// A listener handles events; in a group, a failed event is retried.
///
/// The first attempt of each of four events fails. Each event is done in the end, and four retries
/// are counted.
///
/// Catches backends that lose a requeued event, or requeue it to every subscriber.
///
/// Needs the capabilities `pubsub`, `groups` and `attempts`.
pub async fn listener_tries_again_within_its_group(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    context.require("groups", |can| can.groups).await?;
    context.require("attempts", |can| can.attempts).await?;
    let transport = context.serving().await?;
    let group = Group::new("handlers").or_fail("a group")?;
    let listener =
        in_time(Listener::bind(&transport, CHANNEL, MessagePack).filter("a.*").group(group))
            .await?;
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
    let _listening = AbortOnDrop::new(tokio::spawn(listening));
    let publisher = context.publisher().await?;
    for n in 1..=4_u32 {
        publisher.publish("a.x", &n).await.or_fail("publishing")?;
    }
    eventually("every event is done", || handle.stats().done == 4).await?;
    let sum = sum.load(Ordering::SeqCst);
    ensure!(sum == 10, "the events 1 to 4 add up to {sum}");
    // Counted once the backend has the event for its retry.
    eventually("4 events were retried", || handle.stats().retried == 4).await?;
    Ok(())
}
