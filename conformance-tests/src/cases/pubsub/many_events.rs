//! A subscriber that reads nothing while very many events are published.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use polywire_codec::MessagePack;
use polywire_core::{Publisher, Subscriber, Window};

use crate::cases::receive::next_event;
use crate::context::TestContext;
use crate::names::CHANNEL;
use crate::scale;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, in_time, within};

/// A subscriber with the policy to wait gets each of very many events, although it read none while
/// they were published.
///
/// 6,000 events of 1 KiB meet a subscriber with a window of 4, or 200,000 in the long form of the
/// case. The subscriber begins to read when all are published, or publishing stands still for want
/// of room. Then it pauses again and again. No event may be missing, and none counts as dropped.
///
/// Catches clients and brokers whose buffers for a slow reader drop what exceeds them.
///
/// Needs the capability `pubsub`.
pub async fn slow_subscriber_gets_each_of_many_events(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let events = scale::messages(6_000, 200_000);
    let serving = context.serving().await?;
    let slow = Subscriber::bind(&serving, CHANNEL, MessagePack).window(Window::new(4));
    let mut slow: Subscriber<(u32, String)> = in_time(slow).await?;
    let transport = context.calling().await?;
    let publisher = Publisher::connect(&transport, CHANNEL, MessagePack).timeout(4 * PATIENCE);
    let publisher = in_time(publisher).await?;
    let published = AtomicU32::new(0);
    let body = "x".repeat(1 << 10);
    let publishing = async {
        let publish = async |n| {
            publisher.publish("a", &(n, &body)).await.or_fail("publishing to a slow subscriber")?;
            published.fetch_add(1, Ordering::SeqCst);
            // Publishing may end at once, in memory. Other tasks need a turn.
            tokio::task::yield_now().await;
            Verdict::Ok(())
        };
        let mut results = stream::iter(0..events).map(publish).buffered(AT_ONCE);
        while let Some(result) = results.next().await {
            result?;
        }
        Ok(())
    };
    let reading = async {
        stands_still(&published, events).await;
        context.note(format_args!(
            "{} of {events} events were published before the first was read",
            published.load(Ordering::SeqCst)
        ));
        read_all(&mut slow, events, &published).await
    };
    let publishing = within(CASE_SHARE, "publishing ends while events are read", publishing);
    let (sent, read) = tokio::join!(publishing, reading);
    read?;
    sent??;
    ensure!(slow.dropped() == 0, "{} events count as dropped", slow.dropped());
    Ok(())
}

/// The number of events that are published at once.
const AT_ONCE: usize = 256;

/// The time after which publishing counts as one that stands still.
const STILL: Duration = Duration::from_millis(300);

/// The longest time that publishing may take: less than a case has.
const CASE_SHARE: Duration = Duration::from_mins(4);

/// Waits until all events are published, or none is published for [`STILL`].
async fn stands_still(published: &AtomicU32, events: u32) {
    let mut before = None;
    loop {
        let now = published.load(Ordering::SeqCst);
        if now == events || before == Some(now) {
            return;
        }
        before = Some(now);
        tokio::time::sleep(STILL).await;
    }
}

/// Reads until each event has come once.
///
/// # Errors
///
/// [`Failure::Failed`], with the number of events that came, if one is missing, comes twice, or the
/// stream yields an error.
async fn read_all(
    subscriber: &mut Subscriber<(u32, String)>,
    events: u32,
    published: &AtomicU32,
) -> Verdict {
    let mut seen = vec![false; events as usize];
    for count in 0..events {
        // Other tasks get up to seven turns before each event.
        for _ in 0..count % 8 {
            tokio::task::yield_now().await;
        }
        let event = match next_event(subscriber).await {
            Ok(event) => event,
            Err(failure) => {
                let published = published.load(Ordering::SeqCst);
                let dropped = subscriber.dropped();
                let first = seen.iter().position(|seen| !seen).unwrap_or_default();
                return Err(Failure::new(format!(
                    "{count} of {published} events came, {dropped} count as dropped, and event \
                     {first} is lost: {failure}"
                )));
            }
        };
        let (n, _) = *event;
        let seen = seen.get_mut(n as usize).or_fail("an event that was published")?;
        ensure!(!std::mem::replace(seen, true), "event {n} came twice");
    }
    Ok(())
}
