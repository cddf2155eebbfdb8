//! Retries and dead letters that a backend may lack.

use std::time::Duration;

use polywire_codec::MessagePack;
use polywire_core::pipeline::SettleError;
use polywire_core::transport::DeadLetterSource;
use polywire_core::{
    DeadLetters, Error, Puller, Pusher, Retries, Server, Transport, Window, Worker,
};

use crate::cases::receive::next_job;
use crate::cases::refusal::opens_unless_lacking;
use crate::context::TestContext;
use crate::names::{CHANNEL, QUEUE, SERVICE};
use crate::verdict::{OrFail, Verdict};

/// Retries and dead letters that a backend lacks are refused as unsupported.
///
/// Asks for the dead letters of a queue, a service and a group, for workers and servers with
/// retries, and for each outcome of a job that a capability decides on: `dead_letters`,
/// `delayed_retries` and `settlement`.
///
/// Catches requests for retries and dead letters that are ignored in silence.
pub async fn what_is_lacking_is_unsupported(context: &TestContext) -> Verdict {
    lacking_dead_letters_are_unsupported(context).await?;
    lacking_retries_are_unsupported(context).await?;
    if context.calling().await?.capabilities().pipeline {
        lacking_outcomes_are_unsupported(context).await?;
    }
    Ok(())
}

/// Asks for dead letters of each source, and for a server that keeps some.
///
/// Asks the transport directly as well, past the checks of core.
async fn lacking_dead_letters_are_unsupported(context: &TestContext) -> Verdict {
    let transport = context.serving().await?;
    let lacking = !transport.capabilities().dead_letters;
    let refused = |error: Option<&Error>| opens_unless_lacking("dead_letters", lacking, error);
    refused(DeadLetters::of_queue(&transport, QUEUE).err().as_ref())?;
    refused(DeadLetters::of_service(&transport, SERVICE).err().as_ref())?;
    refused(DeadLetters::of_group(&transport, CHANNEL, "some").err().as_ref())?;
    // Past the check of core, the backend has to refuse by itself. The source exists.
    let _server = Server::bind(&transport, SERVICE).await.or_fail("a server binds")?;
    let source = DeadLetterSource::Service(SERVICE.try_into().or_fail("the service has a name")?);
    refused(transport.dead_letters(&source).await.err().as_ref())?;
    refused(Server::bind(&transport, SERVICE).deliveries(1).await.err().as_ref())
}

/// Asks for a worker that requeues, one that delays, and one that dead-letters.
///
/// Each of the three lacks its capability also on a backend without `pipeline`.
async fn lacking_retries_are_unsupported(context: &TestContext) -> Verdict {
    let transport = context.serving().await?;
    let can = transport.capabilities();
    let bind = async |retries| {
        let worker = Worker::bind(&transport, "lacking", MessagePack).retries(retries);
        worker.await.err()
    };
    let lacking = !can.pipeline || !can.settlement;
    opens_unless_lacking("settlement", lacking, bind(Retries::at_once(3)).await.as_ref())?;
    let lacking = !can.pipeline || !can.settlement || !can.delayed_retries;
    let delayed = Retries::new(3).immediate(0);
    opens_unless_lacking("delayed_retries", lacking, bind(delayed).await.as_ref())?;
    let lacking = !can.pipeline || !can.dead_letters;
    let dead_letter = Retries::new(1).then_dead_letter();
    opens_unless_lacking("dead_letters", lacking, bind(dead_letter).await.as_ref())
}

/// Settles three jobs in ways that not every backend has.
///
/// A refused outcome returns the job with the error, and the job is dropped at the end.
async fn lacking_outcomes_are_unsupported(context: &TestContext) -> Verdict {
    let transport = context.serving().await?;
    let can = transport.capabilities();
    let mut jobs: Puller<u32> = Puller::bind(&transport, "outcomes", MessagePack)
        .window(Window::new(8))
        .await
        .or_fail("a puller binds")?;
    let pusher = Pusher::connect(&context.calling().await?, "outcomes", MessagePack).await;
    let pusher = pusher.or_fail("a pusher connects")?;
    for n in 1..=3_u32 {
        pusher.push(&n).await.or_fail("a push")?;
    }
    // All are received first, since a requeue would deliver the first one again.
    let (first, second) = (next_job(&mut jobs).await?, next_job(&mut jobs).await?);
    let third = next_job(&mut jobs).await?;
    let requeued = first.requeue().err();
    let error = requeued.as_ref().map(SettleError::error);
    opens_unless_lacking("settlement", !can.settlement, error)?;
    let retried = second.retry_after(Duration::from_millis(10), "later").err();
    let error = retried.as_ref().map(SettleError::error);
    opens_unless_lacking("delayed_retries", !can.settlement || !can.delayed_retries, error)?;
    let dead_lettered = third.dead_letter("never").err();
    let error = dead_lettered.as_ref().map(SettleError::error);
    opens_unless_lacking("dead_letters", !can.settlement || !can.dead_letters, error)
}
