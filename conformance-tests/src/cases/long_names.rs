//! Names of the greatest length, which are not ASCII.
//!
//! An [`Address`] and a filter have up to 200 bytes of UTF-8. A backend that encodes names, or adds
//! to them, must have room for all of it, and must distinguish two names that differ in their last
//! letter.

use polywire_codec::MessagePack;
use polywire_core::{
    Address, Client, Group, Publisher, Puller, Pusher, Router, Server, Subscriber, Transport,
    Window,
};

use super::receive::{expect_event, next_job};
use crate::context::TestContext;
use crate::context::running_server::RunningServer;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time};

/// Services and methods may have names of 200 bytes that are not ASCII.
///
/// Two services have names that differ in the last letter, and one method has such a name. Each
/// call reaches the service of its name.
///
/// Catches encodings of names that have no room, and names that are cut.
pub async fn services_and_methods_are_distinct(context: &TestContext) -> Verdict {
    let method = long_name('ö');
    let serving = context.serving().await?;
    let mut running = Vec::new();
    for last in ['é', 'ü'] {
        let router = Router::new(MessagePack)
            .method(&method, move |(): ()| async move { Ok(last.to_string()) });
        let server = in_time(Server::bind(&serving, long_name(last))).await?;
        running.push(RunningServer::start(serving.clone(), server, router));
    }
    let calling = context.calling().await?;
    for last in ['é', 'ü'] {
        let client = Client::connect(&calling, long_name(last), MessagePack).timeout(PATIENCE);
        let client = in_time(client).await?;
        for _ in 0..4 {
            let reply = client.call::<String>(&*method, &()).await;
            let reply = reply.or_fail("a call of a long name is answered")?;
            let is_own = reply == last.to_string();
            ensure!(is_own, "the service {last} was called, and {reply} answered");
        }
    }
    Ok(())
}

/// Queues of jobs may have names of 200 bytes that are not ASCII.
///
/// Two jobs are pushed to each of two queues whose names differ in the last letter. They arrive
/// at the puller of their queue, again after they were dropped where the backend has `settlement`.
///
/// Catches the same as [`services_and_methods_are_distinct`].
///
/// Needs the capability `pipeline`.
pub async fn queues_are_distinct(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let serving = context.serving().await?;
    let mut pullers: Vec<(u32, Puller<u32>)> = Vec::new();
    for (n, last) in (0..).zip(['é', 'ü']) {
        let puller = Puller::bind(&serving, long_name(last), MessagePack).window(Window::new(1));
        pullers.push((n, in_time(puller).await?));
    }
    let calling = context.calling().await?;
    for (n, last) in (0_u32..).zip(['é', 'ü']) {
        let pusher = in_time(Pusher::connect(&calling, long_name(last), MessagePack)).await?;
        for _ in 0..2 {
            pusher.push(&n).await.or_fail("a push to a queue with a long name")?;
        }
    }
    let settles = calling.capabilities().settlement;
    // The second queue first: with one queue for both, its puller would get the jobs of the other.
    for (n, mut jobs) in pullers.into_iter().rev() {
        for _ in 0..2 {
            let mut job = next_job(&mut jobs).await?;
            if settles {
                drop(job);
                job = next_job(&mut jobs).await?;
            }
            ensure!(*job == n, "job {n} was due to its queue, and {} came", *job);
            job.ack();
        }
    }
    Ok(())
}

/// Channels, topics and filters may have names of 200 bytes that are not ASCII, and so may groups.
///
/// Two channels have names that differ in the last letter, and a topic and a filter are as long.
/// Where the backend has `groups`, a group with such a name gets the events of a channel with a
/// short one: carriers that join both to one name may refuse them if they are too long together.
///
/// Catches the same as [`services_and_methods_are_distinct`].
///
/// Needs the capability `pubsub`.
pub async fn channels_topics_and_groups_are_distinct(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let topic = long_name('ö');
    let serving = context.serving().await?;
    let mut subscribers: Vec<(u32, Subscriber<u32>)> = Vec::new();
    for (n, last) in (0..).zip(['é', 'ü']) {
        let subscriber = Subscriber::bind(&serving, long_name(last), MessagePack).filter(&*topic);
        subscribers.push((n, in_time(subscriber).await?));
    }
    let calling = context.calling().await?;
    for (n, last) in (0_u32..).zip(['é', 'ü']) {
        let publisher = in_time(Publisher::connect(&calling, long_name(last), MessagePack)).await?;
        // Differs from the filter in its last letter.
        publisher.publish(long_name('é'), &99_u32).await.or_fail("publishing")?;
        publisher.publish(topic.clone(), &n).await.or_fail("publishing")?;
    }
    for (n, mut subscriber) in subscribers {
        expect_event(&mut subscriber, n, "the subscriber of a channel with a long name").await?;
    }
    if calling.capabilities().groups {
        // Shorter, since a backend may join the names of a channel and a group.
        let group = Group::new("ß".repeat(80)).or_fail("a group has a name")?;
        let mut member: Subscriber<u32> =
            in_time(Subscriber::bind(&serving, SHORT, MessagePack).group(group)).await?;
        let publisher = in_time(Publisher::connect(&calling, SHORT, MessagePack)).await?;
        publisher.publish("a", &7_u32).await.or_fail("publishing")?;
        expect_event(&mut member, 7, "the member of a group with a long name").await?;
    }
    Ok(())
}

/// The name of the channel of a group with a long name.
const SHORT: &str = "c";

/// A name of 200 bytes: 99 letters of two bytes each, and `last`, which has two as well.
fn long_name(last: char) -> String {
    debug_assert_eq!(last.len_utf8(), 2, "the letter has two bytes");
    let mut name = "ß".repeat(Address::MAX / 2 - 1);
    name.push(last);
    name
}
