//! Subscribers that do not keep up, and their overflow policies.

use polywire_codec::MessagePack;
use polywire_core::{Error, ErrorKind, Overflow, Subscriber, Window};

use crate::cases::receive::{expect_event, next_event};
use crate::context::TestContext;
use crate::names::CHANNEL;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time, within};

/// A subscriber that drops the oldest ends up with the latest events, and counts the dropped ones.
///
/// The policy is [`Overflow::DropOldest`]. 20 events are published to a subscriber with room for 4.
///
/// Catches backends that drop events on their own, which core cannot count.
///
/// Needs the capability `pubsub`.
pub async fn slow_subscriber_drops_the_oldest(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let mut slow = slow(context, Overflow::DropOldest).await?;
    eventually("the surplus is dropped", || slow.dropped() == u64::from(PUBLISHED - ROOM)).await?;
    for n in PUBLISHED - ROOM..PUBLISHED {
        expect_event(&mut slow, n, "a slow subscriber that drops the oldest").await?;
    }
    Ok(())
}

/// A subscriber that drops the newest ends up with the first events, and counts the dropped ones.
///
/// As [`slow_subscriber_drops_the_oldest`], with [`Overflow::DropNewest`].
///
/// Catches the same as [`slow_subscriber_drops_the_oldest`].
///
/// Needs the capability `pubsub`.
pub async fn slow_subscriber_drops_the_newest(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let mut slow = slow(context, Overflow::DropNewest).await?;
    eventually("the surplus is dropped", || slow.dropped() == u64::from(PUBLISHED - ROOM)).await?;
    for n in 0..ROOM {
        expect_event(&mut slow, n, "a slow subscriber that drops the newest").await?;
    }
    Ok(())
}

/// A subscriber with the policy to disconnect gets the events that it held, an error, and the end.
///
/// The policy is [`Overflow::Disconnect`]. The error is [`ErrorKind::Overloaded`].
///
/// Catches gaps before the error.
///
/// Needs the capability `pubsub`.
pub async fn slow_subscriber_is_disconnected(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let mut slow = slow(context, Overflow::Disconnect).await?;
    eventually("the overflow is noticed", || slow.dropped() > 0).await?;
    for n in 0..ROOM {
        expect_event(&mut slow, n, "a slow subscriber before it is disconnected").await?;
    }
    let last = within(PATIENCE, "the end comes", slow.next()).await?;
    let kind = last.as_ref().and_then(|last| last.as_ref().err()).map(Error::kind);
    ensure!(kind == Some(ErrorKind::Overloaded), "a subscriber that was too slow got {last:?}");
    let end = within(PATIENCE, "the stream ends", slow.next()).await?;
    ensure!(end.is_none(), "after it was disconnected, a subscriber got {end:?}");
    Ok(())
}

/// A subscriber with the policy to wait misses nothing, however slow it is.
///
/// The policy is [`Overflow::Wait`], the default. 3,000 events of 1 KiB are published to a
/// subscriber with a window of 4, which yields before each.
///
/// Catches publishers that drop events for a subscriber whose queue is full.
///
/// Needs the capability `pubsub`.
pub async fn slow_subscriber_that_waits_misses_nothing(context: &TestContext) -> Verdict {
    const EVENTS: u32 = 3_000;
    context.require("pubsub", |can| can.pubsub).await?;
    let transport = context.serving().await?;
    let mut slow: Subscriber<(u32, String)> =
        in_time(Subscriber::bind(&transport, CHANNEL, MessagePack).window(Window::new(4))).await?;
    let publisher = context.publisher().await?;
    let publishing = async {
        let body = "x".repeat(1 << 10);
        for n in 0..EVENTS {
            publisher.publish("a", &(n, &body)).await.or_fail("publishing to a slow subscriber")?;
        }
        Ok(())
    };
    let reading = async {
        for n in 0..EVENTS {
            // Other tasks get up to 63 turns before each event.
            for _ in 0..n % 64 {
                tokio::task::yield_now().await;
            }
            let lost = || {
                Failure::new(format!("of {EVENTS} events that were published, event {n} is lost"))
            };
            let event = next_event(&mut slow).await.map_err(|_| lost())?;
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

/// The number of events that a slow subscriber can hold.
const ROOM: u32 = 4;

/// The number of events that are published to it.
const PUBLISHED: u32 = 20;

/// Binds a subscriber that does not read while 20 events are published.
async fn slow(context: &TestContext, overflow: Overflow) -> Verdict<Subscriber<u32>> {
    let transport = context.serving().await?;
    let subscriber = Subscriber::bind(&transport, CHANNEL, MessagePack);
    let subscriber =
        in_time(subscriber.window(Window::new(ROOM as usize)).overflow(overflow)).await?;
    let publisher = context.publisher().await?;
    for n in 0..PUBLISHED {
        publisher.publish("a", &n).await.or_fail("publishing to a slow subscriber")?;
    }
    Ok(subscriber)
}
