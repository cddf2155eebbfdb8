//! The task of a broadcaster that reads outcomes and announcements.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_core::future::BoxFuture;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, sleep, sleep_until};

use super::broadcaster_state::BroadcasterState;
use super::envelope::{CallerEvent, InstanceEvent};
use super::membership::Membership;
use crate::error::{Error, ErrorKind, Result};
use crate::transport::{Delivery, LogThrottle, Receiver, Sender};

/// Reads the events of instances until the subscription ends, and keeps the time by which silent
/// instances are gone. When all of them are, it asks over `sender` which instances are there.
///
/// Events that wait are read first, since they may be announcements of the instances that are
/// about to be gone.
pub(super) async fn read(mut receiver: Receiver, state: Arc<BroadcasterState>, sender: Sender) {
    // Dropped with the task as well: then its runtime has ended.
    let mut closing = CloseOnDrop { state: state.clone(), error: None };
    let malformed = LogThrottle::new();
    let mut query: Option<BoxFuture<'static, ()>> = None;
    // The number of events that were read while the tick was due.
    let mut overdue = 0;
    loop {
        // A subscription that is never empty leaves other tasks their turns.
        consume_budget().await;
        let tick = state.next_tick();
        let is_due = tick.is_some_and(|tick| tick <= Instant::now());
        overdue = if is_due { overdue + 1 } else { 0 };
        let next = tokio::select! {
            biased;
            next = receiver.next(), if overdue <= OVERDUE_MAX => Some(next),
            () = due(tick) => None,
            () = sent(&mut query) => {
                query = None;
                state.asked();
                continue;
            }
        };
        let Some(next) = next else {
            overdue = 0;
            if state.tick() {
                query = Some(Box::pin(ask(sender.clone())));
            }
            continue;
        };
        let read = match next {
            None => return,
            Some(Err(error)) if error.is_fatal() => {
                closing.error = Some(error);
                return;
            }
            Some(next) => next.and_then(|delivery| receive(delivery, &state)),
        };
        if let Err(error) = read
            && let Some(count) = malformed.note()
        {
            tracing::warn!(?error, count, "cannot read events of instances");
        }
    }
}

/// Waits until the time; never ends without one.
async fn due(tick: Option<Instant>) {
    match tick {
        Some(tick) => sleep_until(tick).await,
        None => pending().await,
    }
}

/// Waits until the query is sent; never ends without one.
async fn sent(query: &mut Option<BoxFuture<'static, ()>>) {
    match query {
        Some(query) => query.await,
        None => pending().await,
    }
}

/// Sends a query, and repeats it until the transport has it.
async fn ask(sender: Sender) {
    let failures = LogThrottle::new();
    loop {
        let sent = match CallerEvent::query() {
            Ok(query) => sender.send_within(query, ASK_MAX).await,
            Err(error) => Err(error),
        };
        let Err(error) = sent else { return };
        if let Some(count) = failures.note() {
            tracing::warn!(?error, count, "cannot ask which instances are there");
        }
        sleep(ASK_PAUSE).await;
    }
}

/// The number of events that are read while the tick is due: an announcement of each instance.
const OVERDUE_MAX: usize = Membership::MAX;
/// The longest time that a query takes.
const ASK_MAX: Duration = Duration::from_secs(5);
/// The time after which a query that failed is repeated.
const ASK_PAUSE: Duration = Duration::from_millis(500);

fn receive(delivery: Delivery, state: &BroadcasterState) -> Result<()> {
    let mut message = delivery.message;
    let event = InstanceEvent::take(&mut message)?;
    state.received(event, message);
    Ok(())
}

/// A guard that closes the state when the task ends.
struct CloseOnDrop {
    state: Arc<BroadcasterState>,
    error: Option<Error>,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let closed = || Error::new(ErrorKind::Closed, "the broadcaster is closed");
        self.state.close(self.error.take().unwrap_or_else(closed));
    }
}
