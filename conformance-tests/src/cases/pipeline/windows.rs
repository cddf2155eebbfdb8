//! Windows that many jobs meet.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::try_join_all;
use polywire_codec::MessagePack;
use polywire_core::{ErrorKind, Job, Puller, Pusher, Transport, Window};

use crate::cases::receive::next_job;
use crate::context::TestContext;
use crate::names::QUEUE;
use crate::verdict::{Failure, OrFail, Verdict, ensure};
use crate::wait::in_time;

/// A window is a bound for many jobs, too: the rest goes to others, or their pushes wait.
///
/// With `settlement`, a puller with a window of 2 holds two of 1,000 jobs, and another puller gets
/// all others. Without it, a window bounds nothing that is unsettled. Then it bounds what a puller
/// that does not read takes: of 20,000 jobs of 4 KiB, a push must wait before all are taken.
///
/// Catches buffers beside the window, which hide jobs from other workers or grow without notice.
///
/// Needs the capability `pipeline`.
pub async fn window_leaves_many_jobs_to_others(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    match context.calling().await?.capabilities().settlement {
        true => rest_goes_to_others(context).await,
        false => pushes_wait(context).await,
    }
}

async fn rest_goes_to_others(context: &TestContext) -> Verdict {
    const JOBS: u32 = 1_000;
    let mut narrow = context.puller(Window::new(2)).await?;
    let pusher = context.pusher().await?;
    let pushing = try_join_all((0..JOBS).map(|n| {
        let pusher = pusher.clone();
        async move { pusher.push(&n).await }
    }));
    pushing.await.or_fail("a push")?;
    let held = [next_job(&mut narrow).await?, next_job(&mut narrow).await?];
    let mut wide = context.puller(Window::new(100)).await?;
    let mut others = BTreeSet::new();
    while others.len() < JOBS as usize - held.len() {
        let job = next_job(&mut wide).await.map_err(|failure| {
            let came = others.len();
            Failure::new(format!(
                "one puller holds 2 of {JOBS} jobs, and {came} came to the other: {failure}"
            ))
        })?;
        others.insert(*job);
        job.ack();
    }
    ensure!(
        held.iter().all(|job| !others.contains(&**job)),
        "a job that one puller held went to the other, too"
    );
    held.into_iter().for_each(Job::ack);
    Ok(())
}

async fn pushes_wait(context: &TestContext) -> Verdict {
    const MOST: u32 = 20_000;
    let serving = context.serving().await?;
    let unread = Puller::<(u32, String)>::bind(&serving, QUEUE, MessagePack).window(Window::new(2));
    let _unread = in_time(unread).await?;
    let transport = context.calling().await?;
    let pusher = Pusher::connect(&transport, QUEUE, MessagePack);
    let pusher = in_time(pusher.timeout(Duration::from_millis(500))).await?;
    let body = "x".repeat(4 << 10);
    for n in 0..MOST {
        match pusher.push(&(n, &body)).await {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::DeadlineExceeded => {
                context.note(format_args!("a push waited after {n} unread jobs of 4 KiB"));
                return Ok(());
            }
            Err(error) => {
                return Err(Failure::new(format!("a push to a busy worker failed as {error:?}")));
            }
        }
    }
    Err(Failure::new(format!(
        "{MOST} jobs of 4 KiB were taken for a puller with a window of 2 that reads none"
    )))
}
