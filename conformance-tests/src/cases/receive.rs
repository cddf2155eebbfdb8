//! Waiting for the next delivery, job or event, which must arrive.

use polywire_core::transport::{Delivery, Receiver};
use polywire_core::{Event, Job, Puller, Subscriber};

use crate::progress;
use crate::verdict::{OrFail, Verdict, ensure};
use crate::wait::{PATIENCE, within};

/// Receives the next request.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if no request arrives within 30 s, or it cannot be
/// decoded.
pub(super) async fn next_request(receiver: &mut Receiver) -> Verdict<Delivery> {
    let next = within(PATIENCE, "a request arrives in time", receiver.next()).await?;
    next.or_fail("a request arrives")?
        .or_fail("a request can be read")
        .inspect(|_| progress::arrived("requests"))
}

/// Receives the next job.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if no job arrives within 30 s, or it cannot be
/// decoded.
pub(super) async fn next_job<T>(jobs: &mut Puller<T>) -> Verdict<Job<T>> {
    let next = within(PATIENCE, "a job arrives in time", jobs.next()).await?;
    next.or_fail("a job arrives")?
        .or_fail("a job can be read")
        .inspect(|_| progress::arrived("jobs"))
}

/// Receives the next event.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if no event arrives within 30 s, or it cannot be
/// decoded.
pub(super) async fn next_event<T>(events: &mut Subscriber<T>) -> Verdict<Event<T>> {
    let next = within(PATIENCE, "an event arrives in time", events.next()).await?;
    next.or_fail("an event arrives")?
        .or_fail("an event can be read")
        .inspect(|_| progress::arrived("events"))
}

/// Receives the next event, which must be `due`.
///
/// # Errors
///
/// [`Failure::Failed`](crate::Failure::Failed), if another event arrives, or none does.
pub(super) async fn expect_event(
    subscriber: &mut Subscriber<u32>,
    due: u32,
    receiver: &str,
) -> Verdict {
    let event = next_event(subscriber).await?;
    ensure!(*event == due, "{receiver} was due to get {due}, and got {}", *event);
    Ok(())
}
