//! Jobs and events over links that are cut, and brokers that go away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{join, join_all};
use polywire_codec::MessagePack;
use polywire_core::{
    Error, ErrorKind, Group, Publisher, Puller, Pusher, Subscriber, Window, Worker,
};
use tokio::time::timeout;

use super::calls::reaches;
use super::pipeline::{self, Task};
use crate::stage::{CHANNEL, PATIENCE, QUEUE, bound};
use crate::verdict::ensure;
use crate::{Direction, End, Failure, Hook, OrFail, Stage, Tally, Verdict};

/// After a cut, a worker that was open before is fed again, and by a pusher that was open before.
pub async fn worker_is_fed_again_after_a_cut(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require_hook(Hook::Sever)?;
    let mut jobs = stage.puller(Window::new(4)).await?;
    let pusher =
        bound(Pusher::connect(&stage.calling().await?, QUEUE, MessagePack).timeout(BRIEF)).await?;
    for round in 0..3_u32 {
        stage.disturb(Hook::Sever).await?;
        fed_again(&pusher, &mut jobs, round).await?;
    }
    Ok(())
}

/// After a cut, a subscriber that was open before hears again what its filters say by then, and
/// nothing else.
pub async fn subscriber_hears_again_after_a_cut(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    stage.require_hook(Hook::Sever)?;
    let mut subscriber: Subscriber<u32> = stage.subscriber(["a.*"]).await?;
    let transport = stage.calling().await?;
    let publisher =
        bound(Publisher::connect(&transport, CHANNEL, MessagePack).timeout(BRIEF)).await?;
    bound(subscriber.filters().add("b.*")).await?;
    bound(subscriber.filters().remove("a.*")).await?;
    for round in 0..3_u32 {
        stage.disturb(Hook::Sever).await?;
        heard_again(&publisher, &mut subscriber, round).await?;
    }
    Ok(())
}

/// Pushing and publishing into a link that swallows everything ends when it was said to, and works
/// when it is healed.
pub async fn a_black_hole_ends_pushes_in_time(stage: &Stage) -> Verdict {
    let hook = Hook::BlackHole(Direction::ToServer);
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require_hook(hook)?;
    let mut jobs = stage.puller(Window::new(4)).await?;
    let pusher =
        bound(Pusher::connect(&stage.calling().await?, QUEUE, MessagePack).timeout(BRIEF)).await?;
    stage.disturb(hook).await?;
    let pushes = join_all((1_000..1_010_u32).map(async |n| pusher.push(&n).await));
    let outcomes = timeout(PATIENCE, pushes).await.or_fail("pushes end when they were to")?;
    for outcome in outcomes {
        let kind = outcome.as_ref().err().map(Error::kind);
        // Unroutable, if the link is known to be dead by then, and nobody is at another one.
        let expected =
            [ErrorKind::DeadlineExceeded, ErrorKind::Disconnected, ErrorKind::Unroutable];
        let disturbed = kind.is_none_or(|kind| expected.contains(&kind));
        ensure!(disturbed, "a push into a link that swallows everything ended with {outcome:?}");
    }
    stage.heal().await?;
    fed_again(&pusher, &mut jobs, 0).await
}

/// Under repeated cuts, each push ends, and what it said was taken is worked off.
pub async fn no_acknowledged_job_is_lost_over_a_cut(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("durable", |can| can.durable).await?;
    stage.require_hook(Hook::Sever)?;
    let tally = Arc::new(Tally::new());
    let _working = working(stage, &tally).await?;
    let pusher = stage.pusher().await?;
    let over = AtomicBool::new(false);
    let push = async || {
        while !over.load(Ordering::Acquire) {
            let id = tally.attempt();
            tally.end(id, ended(&pusher.push(&id).await));
        }
    };
    let load = join_all((0..16).map(|_| push()));
    let ((), cut) = join(async { drop(load.await) }, async {
        let cut = cut_again_and_again(stage, &tally).await;
        over.store(true, Ordering::Release);
        cut
    })
    .await;
    cut?;
    nothing_is_lost(stage, &tally).await
}

/// Under repeated cuts, each publish ends, and what it said was taken reaches the durable group.
pub async fn no_acknowledged_event_is_lost_over_a_cut(stage: &Stage) -> Verdict {
    stage.require("durable_groups", |can| can.durable_groups).await?;
    stage.require("durable", |can| can.durable).await?;
    stage.require_hook(Hook::Sever)?;
    let tally = Arc::new(Tally::new());
    let group = Group::new("careful").or_fail("a group")?.durable();
    let transport = stage.serving().await?;
    let mut events: Subscriber<u64> =
        bound(Subscriber::bind(&transport, CHANNEL, MessagePack).group(group)).await?;
    let seen = tally.clone();
    let _reading = Task(tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if let Ok(event) = event {
                seen.effect(*event);
                event.ack();
            }
        }
    }));
    let publisher = stage.publisher().await?;
    let over = AtomicBool::new(false);
    let load = async {
        while !over.load(Ordering::Acquire) {
            let id = tally.attempt();
            tally.end(id, ended(&publisher.publish("a", &id).await));
        }
    };
    let ((), cut) = join(load, async {
        let cut = cut_again_and_again(stage, &tally).await;
        over.store(true, Ordering::Release);
        cut
    })
    .await;
    cut?;
    nothing_is_lost(stage, &tally).await
}

/// Jobs whose push succeeded outlive a broker that is killed.
pub async fn jobs_outlive_a_restart_of_the_broker(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("durable", |can| can.durable).await?;
    stage.require_hook(Hook::RestartBroker)?;
    let tally = Arc::new(Tally::new());
    let pusher = stage.pusher().await?;
    for _ in 0..100 {
        let id = tally.attempt();
        pusher.push(&id).await.or_fail("a push before the restart")?;
        tally.end(id, End::Acknowledged);
    }
    stage.disturb(Hook::RestartBroker).await?;
    let id = tally.attempt();
    tally.end(id, ended(&pusher.push(&id).await));
    let _working = working(stage, &tally).await?;
    nothing_is_lost(stage, &tally).await
}

/// A worker that holds a job so long that the broker gives up on it is fed again, with that job and
/// with others.
pub async fn worker_that_holds_a_job_too_long_is_fed_again(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require_hook(Hook::ImpatientBroker)?;
    stage.disturb(Hook::ImpatientBroker).await?;
    let mut jobs = stage.puller(Window::new(2)).await?;
    let pusher = stage.pusher().await?;
    pusher.push(&1).await.or_fail("a push")?;
    let held = pipeline::next(&mut jobs).await?;
    // It comes again when the broker has given up on it, and by then on the connection that was
    // there all the time.
    let again = pipeline::next(&mut jobs).await?;
    ensure!(*again == 1, "the job 1 was held too long, and {} came", *again);
    ensure!(again.context().is_redelivered(), "a job that came again does not say so");
    again.ack();
    // Too late: it is somebody else's by now, and this must harm nobody.
    held.ack();
    pusher.push(&2).await.or_fail("a push")?;
    let next = pipeline::next(&mut jobs).await?;
    ensure!(*next == 2, "the job 2 was due, and {} came", *next);
    next.ack();
    Ok(())
}

/// How long an operation may take while the network is bad.
const BRIEF: Duration = Duration::from_secs(2);

/// Pushes until a job of this round arrives.
async fn fed_again(pusher: &Pusher<MessagePack>, jobs: &mut Puller<u32>, round: u32) -> Verdict {
    let pushing = async {
        loop {
            // It may fail while the link is away; what counts is what arrives.
            let _ = pusher.push(&round).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let pulling = async {
        loop {
            match jobs.next().await {
                None => return Err(Failure::new("a puller ended, though nobody had closed it")),
                Some(Ok(job)) => {
                    let done = *job == round;
                    job.ack();
                    if done {
                        return Ok(());
                    }
                }
                Some(Err(_)) => {}
            }
        }
    };
    tokio::select! {
        () = pushing => Ok(()),
        fed = timeout(PATIENCE, pulling) => fed.or_fail("after the disturbance, the worker is fed again")?,
    }
}

/// Publishes until an event of this round arrives; none that is not wanted may.
async fn heard_again(
    publisher: &Publisher<MessagePack>,
    events: &mut Subscriber<u32>,
    round: u32,
) -> Verdict {
    let publishing = async {
        loop {
            // They may fail while the link is away; what counts is what arrives.
            let _ = publisher.publish("a.x", &round).await;
            let _ = publisher.publish("b.x", &round).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let hearing = async {
        loop {
            match events.next().await {
                None => {
                    return Err(Failure::new("a subscriber ended, though nobody had closed it"));
                }
                Some(Ok(event)) => {
                    ensure!(
                        event.topic().as_str() == "b.x",
                        "a subscriber to b.* heard {}",
                        event.topic()
                    );
                    if *event == round {
                        return Ok(());
                    }
                }
                // That events may have been missed is what it is to say.
                Some(Err(_)) => {}
            }
        }
    };
    tokio::select! {
        () = publishing => Ok(()),
        heard = timeout(PATIENCE, hearing) => heard.or_fail("after the disturbance, the subscriber hears again")?,
    }
}

/// A worker that notes in the book what it does.
async fn working(stage: &Stage, tally: &Arc<Tally>) -> Verdict<Task> {
    let transport = stage.serving().await?;
    let worker =
        bound(Worker::bind(&transport, QUEUE, MessagePack).window(Window::new(64))).await?;
    let seen = tally.clone();
    let work = worker.work(move |id: u64| {
        seen.effect(id);
        async { Ok(()) }
    });
    Ok(Task(tokio::spawn(work)))
}

/// Cuts each time that another 200 operations were acknowledged.
async fn cut_again_and_again(stage: &Stage, tally: &Tally) -> Verdict {
    for n in 1..=5 {
        reaches("another 200 are acknowledged", n * 200, || tally.sum().acknowledged).await?;
        stage.disturb(Hook::Sever).await?;
    }
    reaches("some are acknowledged after the last cut", 1_200, || tally.sum().acknowledged).await
}

/// Waits until everything that was acknowledged has had its effect.
async fn nothing_is_lost(stage: &Stage, tally: &Tally) -> Verdict {
    let acknowledged = tally.sum().acknowledged;
    let seen = || acknowledged - tally.sum().lost;
    let all = reaches("all that was acknowledged is seen", acknowledged, seen).await;
    let sum = tally.sum();
    stage.note(sum);
    ensure!(
        all.is_ok() && sum.unexpected == 0,
        "what was promised and what was seen disagree: {sum}"
    );
    Ok(())
}

fn ended(outcome: &Result<(), Error>) -> End {
    match outcome {
        Ok(()) => End::Acknowledged,
        Err(error) if error.is_unsent() => End::Failed,
        Err(_) => End::Indeterminate,
    }
}
