//! Work that fails: what waits before its next attempt, and what is dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::message::DeadLetterReason;
use polywire_core::pipeline::DeadLetter;
use polywire_core::{
    AnyTransport, Code, Context, DeadLetters, ErrorKind, Fault, Listener, Puller, Pusher, Retries,
    Transport, Window, Worker,
};
use tokio::time::{Instant, timeout};

use super::calls::eventually;
use super::pipeline::{Task, next};
use crate::stage::{CHANNEL, PATIENCE, QUEUE, bound};
use crate::verdict::ensure;
use crate::{Failure, OrFail, Stage, Verdict};

/// Long enough to be told from none, short enough to wait for.
const PAUSE: Duration = Duration::from_millis(400);

/// A job that is given back for later comes again, not before its time, counted and with what was
/// said about it; until then it leaves room for others.
pub async fn failed_job_comes_again_after_its_pause(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("delayed_retries", |can| can.delayed_retries).await?;
    let mut jobs = stage.puller(Window::new(1)).await?;
    let pusher = stage.pusher().await?;
    for n in 1..=2_u32 {
        pusher.push(&n).await.or_fail("a push")?;
    }
    let (first, start) = (next(&mut jobs).await?, Instant::now());
    ensure!(*first == 1, "job 1 was pushed first, and {} came", *first);
    first.retry_after(PAUSE, "not yet").or_fail("giving back for later")?;
    let second = next(&mut jobs).await?;
    ensure!(*second == 2, "job 1 was to wait, and came before job {}", *second);
    second.ack();
    let again = next(&mut jobs).await?;
    let waited = start.elapsed();
    ensure!(waited >= PAUSE, "job {} was to wait {PAUSE:?}, and came after {waited:?}", *again);
    let context = again.context();
    ensure!(context.attempt == 2, "the second attempt counts as number {}", context.attempt);
    let said = context.history.as_ref().and_then(|history| history.last_error.clone());
    ensure!(
        said.as_deref() == Some("not yet"),
        "what was said about the first attempt came as {said:?}"
    );
    again.ack();
    Ok(())
}

/// A job whose attempts all fail is kept, with the reason, their number, and what the first and the
/// last one said.
pub async fn exhausted_job_is_kept_with_its_story(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("attempts", |can| can.attempts).await?;
    stage.require("delayed_retries", |can| can.delayed_retries).await?;
    stage.require("dead_letters", |can| can.dead_letters).await?;
    let transport = stage.serving().await?;
    let retries = Retries::new(3).backoff(PAUSE / 10, PAUSE / 10).then_dead_letter();
    let worker = bound(Worker::bind(&transport, QUEUE, MessagePack).retries(retries)).await?;
    let handle = worker.handle();
    let work = worker.work(|context: Context, job: u32| async move {
        match job {
            0 => Err(Fault::new(Code::Application, format!("attempt {}", context.attempt))),
            _ => Ok(()),
        }
    });
    let _working = Task(tokio::spawn(work));
    let pusher = stage.pusher().await?;
    for n in 0..2_u32 {
        pusher.push(&n).await.or_fail("a push")?;
    }
    eventually("the good job is done, and the bad one dead", || {
        handle.stats().done == 1 && handle.stats().dead_lettered == 1
    })
    .await?;
    ensure!(
        handle.stats().retried == 2,
        "it was given back {} times, not twice",
        handle.stats().retried
    );
    let letter = only(letters(&dead_jobs(stage).await?, 1).await?)?;
    let (job, reason): (u32, _) =
        (letter.read(&MessagePack).or_fail("reading the dead letter")?, letter.reason());
    ensure!(job == 0, "job 0 failed, and {job} is dead");
    ensure!(
        reason == DeadLetterReason::Exhausted,
        "its attempts were used up, and it is dead as {reason}"
    );
    ensure!(letter.attempts() == 3, "after 3 attempts it died of {}", letter.attempts());
    for (which, said, attempt) in
        [("first", letter.first_error(), 1), ("last", letter.last_error(), 3)]
    {
        let expected = format!("attempt {attempt}");
        let is_told = said.is_some_and(|said| said.contains(&expected));
        ensure!(is_told, "its {which} error was {expected:?}, and is told as {said:?}");
    }
    Ok(())
}

/// A dead letter that is redriven is attempted as if for the first time, says that it was redriven,
/// and is dead no more.
pub async fn redriven_job_comes_again(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("dead_letters", |can| can.dead_letters).await?;
    let mut jobs = bury(stage, 2).await?;
    let transport = dead_jobs(stage).await?;
    letters(&transport, 2).await?;
    let dead = of_jobs(&transport)?;
    let chosen = |letter: &DeadLetter| letter.read::<u32>(&MessagePack).is_ok_and(|job| job == 1);
    let redriven = bounded(dead.redrive(9, chosen)).await.or_fail("redriving")?;
    ensure!(redriven == 1, "one dead letter was to be redriven, and {redriven} were");
    let job = next(&mut jobs).await?;
    let context = job.context();
    ensure!(*job == 1, "job 1 was redriven, and {} came", *job);
    ensure!(
        context.attempt == 1,
        "its first attempt after that counts as number {}",
        context.attempt
    );
    ensure!(context.redriven() == 1, "it was redriven once, and says {}", context.redriven());
    job.ack();
    let left = only(letters(&transport, 1).await?)?;
    ensure!(!chosen(&left), "what was redriven is still dead");
    Ok(())
}

/// Dead letters that somebody looked at are there as before; those that are discarded are gone.
pub async fn dead_letters_stay_until_they_are_discarded(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("dead_letters", |can| can.dead_letters).await?;
    let _jobs = bury(stage, 3).await?;
    let transport = dead_jobs(stage).await?;
    letters(&transport, 3).await?;
    let dead = of_jobs(&transport)?;
    for look in 1..=3 {
        let found = bounded(dead.look(9)).await.or_fail("looking")?.len();
        ensure!(found == 3, "of 3 dead letters, look {look} found {found}");
    }
    let two = bounded(dead.look(2)).await.or_fail("looking")?.len();
    ensure!(two == 2, "2 dead letters were asked for, and {two} found");
    let chosen = |letter: &DeadLetter| letter.last_error() == Some("dead 2");
    let discarded = bounded(dead.discard(9, chosen)).await.or_fail("discarding")?;
    ensure!(discarded == 1, "one dead letter was to be discarded, and {discarded} were");
    let left = letters(&transport, 2).await?;
    ensure!(!left.iter().any(chosen), "what was discarded is still there");
    Ok(())
}

/// A job whose workers die with it, again and again, is not run for ever, but kept.
pub async fn job_that_ends_its_workers_is_kept(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("attempts", |can| can.attempts).await?;
    stage.require("dead_letters", |can| can.dead_letters).await?;
    stage.pusher().await?.push(&7_u32).await.or_fail("a push")?;
    for attempt in 1..=3 {
        let dying = stage.serving().await?;
        let mut jobs: Puller<u32> =
            bound(Puller::bind(&dying, QUEUE, MessagePack).window(Window::new(1))).await?;
        let job = next(&mut jobs).await?;
        let counted = job.context().attempt;
        ensure!(counted == attempt, "worker {attempt} to die with it sees attempt {counted}");
        bound(dying.close()).await?;
        drop(job);
    }
    let transport = stage.serving().await?;
    let worker = bound(Worker::bind(&transport, QUEUE, MessagePack).attempts(3)).await?;
    let runs = Arc::new(AtomicU32::new(0));
    let count = runs.clone();
    let _working = Task(tokio::spawn(worker.work(move |_: u32| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(()) }
    })));
    let letter = only(letters(&dead_jobs(stage).await?, 1).await?)?;
    ensure!(
        letter.reason() == DeadLetterReason::Crashed,
        "three workers died with it, and it is dead as {}",
        letter.reason()
    );
    let runs = runs.load(Ordering::SeqCst);
    ensure!(runs == 0, "after three workers had died with it, it was run again");
    Ok(())
}

/// A job that cannot be read is kept, too, and says what cannot be read.
pub async fn unreadable_job_is_kept(stage: &Stage) -> Verdict {
    stage.require("pipeline", |can| can.pipeline).await?;
    stage.require("dead_letters", |can| can.dead_letters).await?;
    let mut jobs = stage.puller(Window::default()).await?;
    stage.pusher().await?.push("no number").await.or_fail("a push")?;
    let read = timeout(PATIENCE, jobs.next()).await.or_fail("a job arrives in time")?;
    ensure!(matches!(read, Some(Err(_))), "what is no number was read as one");
    let letter = only(letters(&dead_jobs(stage).await?, 1).await?)?;
    let text: String = letter.read(&MessagePack).or_fail("reading the dead letter")?;
    ensure!(text == "no number", "it is kept as {text:?}");
    ensure!(
        letter.reason() == DeadLetterReason::Unreadable,
        "it cannot be read, and is dead as {}",
        letter.reason()
    );
    ensure!(letter.last_error().is_some(), "it does not say what cannot be read");
    Ok(())
}

/// An event of a group that failed for good is redriven to that group, with its topic, and to
/// nobody else.
pub async fn redriven_event_goes_to_its_group_alone(stage: &Stage) -> Verdict {
    stage.require("pubsub", |can| can.pubsub).await?;
    stage.require("groups", |can| can.groups).await?;
    stage.require("dead_letters", |can| can.dead_letters).await?;
    let transport = stage.serving().await?;
    let group = polywire_core::Group::new("failing").or_fail("a group")?;
    let retries = Retries::new(1).then_dead_letter();
    let listener =
        bound(Listener::bind(&transport, CHANNEL, MessagePack).group(group).retries(retries))
            .await?;
    let handle = listener.handle();
    let _listening = Task(tokio::spawn(listener.listen(|context: Context, _: u32| async move {
        let is_whole = context.topic.is_some_and(|topic| topic.as_str() == "a.b");
        let is_redriven = context.history.is_some_and(|history| history.redriven == 1);
        if is_redriven && is_whole { Ok(()) } else { Err(Fault::new(Code::Application, "no")) }
    })));
    let mut alone = stage.subscriber::<u32>(["#"]).await?;
    let publisher = stage.publisher().await?;
    publisher.publish("a.b", &1_u32).await.or_fail("publishing")?;
    eventually("the event is dead", || handle.stats().dead_lettered == 1).await?;
    let keeping = stage.serving().await?;
    let dead = DeadLetters::of_group(&keeping, CHANNEL, "failing").or_fail("dead letters")?;
    let redriving = async {
        while bounded(dead.redrive(9, |_| true)).await.or_fail("redriving")? == 0 {
            tokio::time::sleep(PAUSE / 20).await;
        }
        Ok(())
    };
    timeout(PATIENCE, redriving).await.or_fail("the event is among the dead letters")??;
    eventually("the event is done", || handle.stats().done == 1).await?;
    publisher.publish("a.b", &2_u32).await.or_fail("publishing")?;
    for expected in 1..=2_u32 {
        let event = timeout(PATIENCE, alone.next()).await.or_fail("an event arrives in time")?;
        let event = event.or_fail("an event arrives")?.or_fail("an event can be read")?;
        ensure!(
            *event == expected,
            "who is not of the group was due {expected}, and got {}",
            *event
        );
    }
    Ok(())
}

/// What a backend cannot do about what fails it refuses by name, when that is asked for.
pub async fn what_is_lacking_is_unsupported(stage: &Stage) -> Verdict {
    let transport = stage.serving().await?;
    let can = transport.capabilities();
    let refused = |what: &str, lacking: bool, error: Option<polywire_core::Error>| {
        let as_expected = match &error {
            Some(error) => lacking && error.kind() == ErrorKind::Unsupported,
            None => !lacking,
        };
        ensure!(
            as_expected,
            "{what} is {}, and asking for it ended with {error:?}",
            if lacking { "lacking" } else { "there" }
        );
        Ok(())
    };
    refused("dead_letters", !can.dead_letters, DeadLetters::of_queue(&transport, QUEUE).err())?;
    let retries = Retries::new(3).immediate(0);
    let worker = Worker::bind(&transport, "lacking", MessagePack).retries(retries).await;
    let lacking = !can.pipeline || !can.settlement || !can.delayed_retries;
    refused("delayed_retries", lacking, worker.err())
}

/// Jobs that their worker said are dead, in order, and the worker.
async fn bury(stage: &Stage, count: u32) -> Verdict<Puller<u32>> {
    let mut jobs = stage.puller(Window::default()).await?;
    let pusher: Pusher<MessagePack> = stage.pusher().await?;
    for n in 1..=count {
        pusher.push(&n).await.or_fail("a push")?;
        let buried = next(&mut jobs).await?.dead_letter(format!("dead {n}"));
        buried.or_fail("dead-lettering")?;
    }
    Ok(jobs)
}

async fn dead_jobs(stage: &Stage) -> Verdict<AnyTransport> {
    stage.serving().await
}

fn of_jobs(transport: &AnyTransport) -> Verdict<DeadLetters<'_, AnyTransport>> {
    DeadLetters::of_queue(transport, QUEUE).or_fail("dead letters")
}

/// The dead letters, as soon as there are so many.
async fn letters(transport: &AnyTransport, count: usize) -> Verdict<Vec<DeadLetter>> {
    let dead = of_jobs(transport)?;
    let mut found = Vec::new();
    let looking = async {
        while found.len() < count {
            found = bounded(dead.look(count + 9)).await.or_fail("looking at the dead letters")?;
            tokio::time::sleep(PAUSE / 20).await;
        }
        Ok(())
    };
    let in_time = timeout(PATIENCE, looking).await;
    in_time.unwrap_or_else(|_| Err(Failure::new("what died is not among the dead letters")))?;
    ensure!(found.len() == count, "of {count} dead letters there are {}", found.len());
    Ok(found)
}

fn only(mut letters: Vec<DeadLetter>) -> Verdict<DeadLetter> {
    letters.pop().or_fail("a dead letter")
}

async fn bounded<T>(
    doing: impl Future<Output = polywire_core::Result<T>>,
) -> polywire_core::Result<T> {
    timeout(PATIENCE, doing).await.unwrap_or_else(|_| {
        Err(polywire_core::Error::new(ErrorKind::DeadlineExceeded, "it does not come to an end"))
    })
}
