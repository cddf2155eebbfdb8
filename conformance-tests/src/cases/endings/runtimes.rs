//! Senders whose runtime has ended: nothing is left there that would write their messages.

use std::sync::Arc;
use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::{Error, ErrorKind, Publisher, Pusher};
use tokio::runtime::Runtime;
use tokio::task::spawn_blocking;

use super::receivers::{LoggingWorker, log_events};
use crate::cases::outages::cuts::{nothing_is_lost, outcome_of};
use crate::cases::refusal::error_of;
use crate::cases::services::counting;
use crate::context::TestContext;
use crate::names::{CHANNEL, QUEUE};
use crate::operation_log::{OperationLog, OperationOutcome};
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, eventually, in_time, within};

/// The bound for a send over a runtime that has ended.
///
/// Half of the timeout of a send, so that an end by a timeout is not taken for a prompt one.
const PROMPT: Duration = Duration::from_secs(15);

/// A call over a transport whose runtime has ended fails at once as closed, and a one-way call
/// does so or runs.
///
/// A client is connected in a runtime of its own, and its one-way call runs. That runtime ends, and
/// the case goes on in another one. A call ends as [`ErrorKind::Closed`] and unsent. A one-way call
/// ends so as well, or succeeds and runs, where no task of the transport is needed.
///
/// Catches transports that take a message which their ended tasks never write.
pub async fn call_after_the_end_of_its_runtime_is_closed(context: &TestContext) -> Verdict {
    let log = Arc::new(OperationLog::new());
    let _server = context.serve(counting(&log)).await?;
    let shared = log.clone();
    let (_transport, client) = opened_elsewhere(context, move |context| async move {
        let transport = context.calling().await?;
        let client = context.client_on(&transport).await?;
        // No call: its deadline is an instant of this runtime, whose clock may be another one.
        let id = shared.attempt();
        client.request("run").send(&id).await.or_fail("a one-way call is sent")?;
        has_its_effect(&shared, id).await?;
        Ok((transport, client))
    })
    .await?;
    let id = log.attempt();
    let called = within(PROMPT, "a call ends at once", client.call::<()>("run", &id)).await?;
    log.finish(id, OperationOutcome::of(&called));
    ensure!(is_closed(error_of(&called)), "a call without its runtime ended with {called:?}");
    let id = log.attempt();
    let sent = client.request("run").send(&id);
    let sent = within(PROMPT, "a one-way call ends at once", sent).await?;
    log.finish(id, OperationOutcome::of(&sent));
    ensure!(
        sent.is_ok() || is_closed(error_of(&sent)),
        "a one-way call without its runtime ended with {sent:?}"
    );
    nothing_is_lost(context, &log).await
}

/// A push over a transport whose runtime has ended fails at once as closed, or its job is done.
///
/// As the one-way call of [`call_after_the_end_of_its_runtime_is_closed`].
///
/// Catches the same as [`call_after_the_end_of_its_runtime_is_closed`].
///
/// Needs the capability `pipeline`.
pub async fn job_after_the_end_of_its_runtime_is_closed(context: &TestContext) -> Verdict {
    context.require("pipeline", |can| can.pipeline).await?;
    let log = Arc::new(OperationLog::new());
    let _worker = LoggingWorker::start(context, &log).await?;
    let shared = log.clone();
    let (_transport, pusher) = opened_elsewhere(context, move |context| async move {
        let transport = context.calling().await?;
        let pusher = in_time(Pusher::connect(&transport, QUEUE, MessagePack)).await?;
        let id = shared.attempt();
        pusher.push(&id).await.or_fail("a push")?;
        has_its_effect(&shared, id).await?;
        Ok((transport, pusher))
    })
    .await?;
    let id = log.attempt();
    let pushed = within(PROMPT, "a push ends at once", pusher.push(&id)).await?;
    log.finish(id, outcome_of(&pushed));
    ensure!(
        pushed.is_ok() || is_closed(pushed.as_ref().err()),
        "a push without its runtime ended with {pushed:?}"
    );
    nothing_is_lost(context, &log).await
}

/// Publishing over a transport whose runtime has ended fails at once as closed, or the event
/// arrives.
///
/// As the one-way call of [`call_after_the_end_of_its_runtime_is_closed`].
///
/// Catches the same as [`call_after_the_end_of_its_runtime_is_closed`].
///
/// Needs the capability `pubsub`.
pub async fn event_after_the_end_of_its_runtime_is_closed(context: &TestContext) -> Verdict {
    context.require("pubsub", |can| can.pubsub).await?;
    let log = Arc::new(OperationLog::new());
    let _reading = log_events(context, &log).await?;
    let shared = log.clone();
    let (_transport, publisher) = opened_elsewhere(context, move |context| async move {
        let transport = context.calling().await?;
        let publisher = in_time(Publisher::connect(&transport, CHANNEL, MessagePack)).await?;
        let id = shared.attempt();
        publisher.publish("a", &id).await.or_fail("publishing")?;
        has_its_effect(&shared, id).await?;
        Ok((transport, publisher))
    })
    .await?;
    let id = log.attempt();
    let published = publisher.publish("a", &id);
    let published = within(PROMPT, "publishing ends at once", published).await?;
    log.finish(id, outcome_of(&published));
    ensure!(
        published.is_ok() || is_closed(published.as_ref().err()),
        "publishing without its runtime ended with {published:?}"
    );
    nothing_is_lost(context, &log).await
}

/// Opens a sender in a runtime of its own, and ends that runtime.
///
/// What the transports of a space share, such as a proxy, must outlive that runtime. It is made for
/// a transport that is opened before, in the runtime of the case.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if a runtime cannot be started, or `open` fails.
async fn opened_elsewhere<T, F>(
    context: &TestContext,
    open: impl FnOnce(TestContext) -> F + Send + 'static,
) -> Verdict<T>
where
    T: Send + 'static,
    F: Future<Output = Verdict<T>>,
{
    drop(context.calling().await?);
    let context = context.clone();
    // A runtime must not be dropped where it would block another one. A clock that is paused waits
    // for the thread.
    let opening = spawn_blocking(move || {
        let runtime = Runtime::new().or_fail("a runtime starts")?;
        let opened = runtime.block_on(open(context));
        runtime.shutdown_timeout(PATIENCE);
        opened
    });
    let opened = within(2 * PATIENCE, "a runtime opens a sender and ends", opening).await?;
    opened.or_fail("a runtime does not panic")?
}

/// Records that an operation was acknowledged, and waits for its effect.
async fn has_its_effect(log: &OperationLog, id: u64) -> Verdict {
    log.finish(id, OperationOutcome::Acknowledged);
    eventually("the first message has its effect", || log.summary().lost == 0).await
}

/// Returns whether an error says that nothing was sent, because the sender is closed.
fn is_closed(error: Option<&Error>) -> bool {
    error.is_some_and(|error| error.kind() == ErrorKind::Closed && error.is_unsent())
}
