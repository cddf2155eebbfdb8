//! The reply queue is deleted under calls: the affected calls fail at once, and later calls
//! succeed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures_util::FutureExt;
use futures_util::future::join_all;
use polywire_amqp::Amqp;
use polywire_codec::MessagePack;
use polywire_core::worker::Serving;
use polywire_core::{CallError, Client, ErrorKind, Router, Server, Window};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Plan;
use crate::broker::Broker;
use crate::calls::{SERVICE, call};
use crate::recorder::Recorder;
use crate::wait::{until, within};

/// Longer than the scenario: a call that waits for its deadline is noticed.
const LONG: Duration = Duration::from_mins(20);
/// Calls in flight of each of the two clients.
const PENDING: usize = 50;

/// Runs the scenario: twice in a quick run, ten times in a full one.
///
/// Two clients have 50 calls in flight each. Deleting the reply queue of one must fail its calls,
/// with an error that names the queue, and must not affect the other client.
///
/// The server replies only with a permit, so that all 100 calls are in flight when the queue is
/// deleted. A later call of the same client must succeed.
///
/// # Errors
///
/// If a call fails with another error, if the other client is affected, or if later calls fail.
pub(crate) async fn run(plan: &Plan, recorder: &Arc<Recorder>) -> Result<()> {
    let broker = Broker::start().await?;
    let serving = Amqp::connect(&broker.url).await?;
    let gate = Arc::new(Semaphore::new(0));
    let mut tasks = JoinSet::new();
    tasks.spawn(serve(&serving, &gate, recorder).await?);
    let ours = Amqp::connect(&broker.url).await?;
    let client = Client::connect(&ours, SERVICE, MessagePack).await?;
    let queue = reply_queue(&broker).await?;
    let others = Amqp::connect(&broker.url).await?;
    let other_client = Client::connect(&others, SERVICE, MessagePack).await?;

    let mut slowest = Duration::ZERO;
    for _ in 0..plan.pick(2, 10) {
        let in_flight = |client: &Client<MessagePack>| client.stats().in_flight;
        let affected = join_all((0..PENDING).map(|_| call(&client, LONG, recorder)));
        let unaffected = join_all((0..PENDING).map(|_| call(&other_client, LONG, recorder)));
        let disturbing = async {
            until("all calls are in flight", || {
                in_flight(&client) + in_flight(&other_client) == 2 * PENDING
            })
            .await?;
            let start = Instant::now();
            broker.ctl(["delete_queue", &queue]).await?;
            until("the calls have failed", || in_flight(&client) == 0).await?;
            ensure!(
                in_flight(&other_client) == PENDING,
                "calls with another reply queue have ended as well"
            );
            gate.add_permits(2 * PENDING);
            Ok(start.elapsed())
        };
        // The calls have no other end than their far deadlines if the disturbance fails.
        let (affected, unaffected) = (affected.map(Ok), unaffected.map(Ok));
        let (failed, answered, took) = tokio::try_join!(affected, unaffected, disturbing)?;
        slowest = slowest.max(took);
        failed.iter().try_for_each(|outcome| names_queue(outcome, &queue))?;
        ensure!(answered.iter().all(Result::is_ok), "calls with another reply queue failed");
        gate.add_permits(1);
        within("later calls succeed", call(&client, LONG, recorder)).await??;
    }
    recorder.figure("all failed within", format!("{:.1} s", slowest.as_secs_f64()));
    recorder.check_nothing_lost().await
}

/// Checks that a call failed with the error for a lost reply queue, and that the error names it.
fn names_queue(outcome: &Result<i64, CallError>, queue: &str) -> Result<()> {
    let Err(CallError::Failed(error)) = outcome else {
        anyhow::bail!("a call without its reply queue ended with {outcome:?}");
    };
    let is_ours = error.kind() == ErrorKind::RepliesLost && error.detail("queue") == Some(queue);
    ensure!(is_ours, "a call without its reply queue failed with {error:?}");
    Ok(())
}

/// Starts a server that waits for a permit before each reply.
///
/// The window is larger than the load. The effect of a call is recorded before its reply.
async fn serve(amqp: &Amqp, gate: &Arc<Semaphore>, recorder: &Arc<Recorder>) -> Result<Serving> {
    let server = Server::bind(amqp, SERVICE).window(Window::new(4 * PENDING)).await?;
    let (gate, recorder) = (gate.clone(), recorder.clone());
    let add = move |(id, a, b): (u64, i64, i64)| {
        let (gate, recorder) = (gate.clone(), recorder.clone());
        async move {
            // The semaphore is never closed.
            if let Ok(permit) = gate.acquire().await {
                permit.forget();
            }
            recorder.effect(0, id);
            Ok(a + b)
        }
    };
    Ok(server.serve(Router::new(MessagePack).method("add", add)))
}

/// Returns the name of the only reply queue.
///
/// Only one transport with clients may be connected.
async fn reply_queue(broker: &Broker) -> Result<String> {
    let queues = broker.ctl(["list_queues", "name"]).await?;
    let found = queues.lines().find(|line| line.starts_with("polywire.reply."));
    Ok(found.context("there is no reply queue")?.to_owned())
}
