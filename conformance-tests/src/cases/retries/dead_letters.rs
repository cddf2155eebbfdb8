//! Dead letters: reading, redriving and discarding them.

use polywire_codec::MessagePack;
use polywire_core::pipeline::DeadLetter;
use polywire_core::{
    Code, Context, DeadLetters, ErrorKind, Fault, Group, Listener, Puller, Pusher, Result, Retries,
    Server, Window,
};

use super::dead_jobs::{PAUSE, dead_jobs, only, within_patience};
use crate::cases::receive::{expect_event, next_job};
use crate::cases::task::AbortOnDrop;
use crate::context::TestContext;
use crate::names::{CHANNEL, QUEUE, SERVICE};
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time, within};

/// A dead letter that is redriven starts with attempt 1, is marked as redriven, and is no dead
/// letter any more.
///
/// Of two dead letters, one is redriven, and the other one stays.
///
/// Catches redrives that lose the job, that leave its dead letter behind, or that go on counting
/// its attempts.
///
/// Needs the capabilities `pipeline` and `dead_letters`.
pub async fn redriven_job_comes_again(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("dead_letters", |can| can.dead_letters).await?;
    let mut jobs = dead_letter_jobs(context, 2).await?;
    let transport = context.serving().await?;
    dead_jobs(&transport, 2).await?;
    let dead = DeadLetters::of_queue(&transport, QUEUE).or_fail("dead letters")?;
    let chosen =
        |dead_letter: &DeadLetter| dead_letter.read::<u32>(&MessagePack).is_ok_and(|job| job == 1);
    let redriven = within_patience(dead.redrive(9, chosen)).await.or_fail("redriving")?;
    ensure!(redriven == 1, "one dead letter was to be redriven, and {redriven} were");
    let job = next_job(&mut jobs).await?;
    let context = job.context();
    ensure!(*job == 1, "job 1 was redriven, and {} came", *job);
    ensure!(
        context.attempt == 1,
        "the first attempt of a redriven job counts as number {}",
        context.attempt
    );
    ensure!(
        context.redriven() == 1,
        "the job was redriven once, and counts {}",
        context.redriven()
    );
    job.ack();
    let left = only(dead_jobs(&transport, 1).await?)?;
    ensure!(!chosen(&left), "a redriven job is still a dead letter");
    Ok(())
}

/// Dead letters that were only read stay; those that are discarded are gone.
///
/// Three looks find the same three dead letters. Then one of them is discarded.
///
/// Catches sessions that return before the dead letters that they received are requeued.
///
/// Needs the capabilities `pipeline` and `dead_letters`.
pub async fn dead_letters_stay_until_they_are_discarded(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    context.require("dead_letters", |can| can.dead_letters).await?;
    let _jobs = dead_letter_jobs(context, 3).await?;
    let transport = context.serving().await?;
    dead_jobs(&transport, 3).await?;
    let dead = DeadLetters::of_queue(&transport, QUEUE).or_fail("dead letters")?;
    for look in 1..=3 {
        let found = within_patience(dead.look(9)).await.or_fail("looking")?.len();
        ensure!(found == 3, "of 3 dead letters, look {look} found {found}");
    }
    let two = within_patience(dead.look(2)).await.or_fail("looking")?.len();
    ensure!(two == 2, "2 dead letters were asked for, and {two} found");
    let chosen = |dead_letter: &DeadLetter| dead_letter.last_error() == Some("dead 2");
    let discarded = within_patience(dead.discard(9, chosen)).await.or_fail("discarding")?;
    ensure!(discarded == 1, "one dead letter was to be discarded, and {discarded} were");
    let left = dead_jobs(&transport, 2).await?;
    ensure!(!left.iter().any(chosen), "a discarded dead letter is still there");
    Ok(())
}

/// Dead letters of a name that was never used are refused, and not shown as none.
///
/// Looks twice for those of a queue, a service and a group, and then redrives them. A service that
/// exists has no dead letters, which is no error.
///
/// Catches backends that show a misspelt queue as empty, or that create the queue when it is first
/// looked at.
///
/// Needs the capability `dead_letters`.
pub async fn dead_letters_of_a_misspelt_name_are_refused(context: &TestContext) -> Verdict {
    context.require("dead_letters", |can| can.dead_letters).await?;
    let transport = context.serving().await?;
    let misspelt = [
        DeadLetters::of_queue(&transport, "invoces"),
        DeadLetters::of_service(&transport, "invoces"),
        DeadLetters::of_group(&transport, "invoces", "some"),
    ];
    for dead in misspelt {
        let dead = dead.or_fail("dead letters")?;
        for look in 1..=2 {
            let found = within_patience(dead.look(9)).await.map(|found| found.len() as u64);
            check_misspelt(&format!("look {look} at {}", dead.source()), found)?;
        }
        let redriven = within_patience(dead.redrive(9, |_| true)).await;
        check_misspelt(&format!("a redrive to {}", dead.source()), redriven)?;
    }
    let server = Server::bind(&transport, SERVICE).await.or_fail("a server binds")?;
    let dead = DeadLetters::of_service(&transport, SERVICE).or_fail("dead letters")?;
    let found = within_patience(dead.look(9)).await.or_fail("looking at a service that exists")?;
    ensure!(found.is_empty(), "a new service has {} dead letters", found.len());
    drop(server);
    Ok(())
}

/// Checks that an operation on a source that does not exist is refused, by an error that names the
/// source.
fn check_misspelt(what: &str, outcome: Result<u64>) -> Verdict {
    match outcome {
        Ok(count) => Err(Failure::new(format!("{what} succeeded, with {count} dead letters"))),
        Err(error) => {
            ensure!(error.kind() == ErrorKind::Config, "{what} failed as {error:?}");
            ensure!(error.to_string().contains("invoces"), "{what} does not name it: {error}");
            Ok(())
        }
    }
}

/// An event that a group dead-lettered is redriven to that group alone, with its topic.
///
/// A subscriber outside the group must not get the event again.
///
/// Catches redrives through the exchange, which reach every subscriber again.
///
/// Needs the capabilities `pubsub`, `groups` and `dead_letters`.
pub async fn redriven_event_goes_to_its_group_alone(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    context.require("groups", |can| can.groups).await?;
    context.require("dead_letters", |can| can.dead_letters).await?;
    let transport = context.serving().await?;
    let group = Group::new("failing").or_fail("a group")?;
    let retries = Retries::new(1).then_dead_letter();
    let listener =
        in_time(Listener::bind(&transport, CHANNEL, MessagePack).group(group).retries(retries))
            .await?;
    let handle = listener.handle();
    let _listening =
        AbortOnDrop::new(tokio::spawn(listener.listen(|context: Context, _: u32| async move {
            let is_whole = context.topic.is_some_and(|topic| topic.as_str() == "a.b");
            let is_redriven = context.history.is_some_and(|history| history.redriven == 1);
            if is_redriven && is_whole { Ok(()) } else { Err(Fault::new(Code::Application, "no")) }
        })));
    let mut alone = context.subscriber::<u32>(["#"]).await?;
    let publisher = context.publisher().await?;
    publisher.publish("a.b", &1_u32).await.or_fail("publishing")?;
    eventually("the event is dead-lettered", || handle.stats().dead_lettered == 1).await?;
    let transport = context.serving().await?;
    let dead = DeadLetters::of_group(&transport, CHANNEL, "failing").or_fail("dead letters")?;
    let redriving = async {
        while within_patience(dead.redrive(9, |_| true)).await.or_fail("redriving")? == 0 {
            tokio::time::sleep(PAUSE / 20).await;
        }
        Ok(())
    };
    within(PATIENCE, "the event is among the dead letters", redriving).await??;
    eventually("the event is done", || handle.stats().done == 1).await?;
    publisher.publish("a.b", &2_u32).await.or_fail("publishing")?;
    for expected in 1..=2_u32 {
        expect_event(&mut alone, expected, "a subscriber outside the group").await?;
    }
    Ok(())
}

/// Pushes jobs and dead-letters each. Returns the puller.
///
/// The jobs are numbered from 1, and the error of job 2 is `dead 2`. The puller stays open, so that
/// a redriven job arrives at once.
async fn dead_letter_jobs(context: &TestContext, count: u32) -> Verdict<Puller<u32>> {
    let mut jobs = context.puller(Window::default()).await?;
    let pusher: Pusher<MessagePack> = context.pusher().await?;
    for n in 1..=count {
        pusher.push(&n).await.or_fail("a push")?;
        let dead_lettered = next_job(&mut jobs).await?.dead_letter(format!("dead {n}"));
        dead_lettered.or_fail("dead-lettering")?;
    }
    Ok(jobs)
}
