//! The task that ends calls at their deadlines, one for all calls of a requester.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Poll, ready};

use tokio::time::{Instant, sleep_until};

use super::pending_calls::{CloseOnDrop, PendingCalls};

/// Ends the calls of the table whose deadlines pass, until the task is aborted.
///
/// Dropping the future closes the table, since no call would end at its deadline any more.
pub(super) fn expire_calls(pending: Arc<PendingCalls>) -> impl Future<Output = ()> + Send {
    let pending = CloseOnDrop(pending);
    let mut timer = None;
    poll_fn(move |cx| {
        loop {
            let Some(next) = pending.0.next_expiry(cx) else { return Poll::Pending };
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(next)));
            if timer.deadline() != next {
                timer.as_mut().reset(next);
            }
            ready!(timer.as_mut().poll(cx));
            pending.0.expire(Instant::now());
        }
    })
}
