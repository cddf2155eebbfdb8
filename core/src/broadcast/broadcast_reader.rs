//! The task of a broadcaster that reads outcomes and announcements.

use std::sync::Arc;

use tokio::time::sleep_until;

use super::broadcaster_state::BroadcasterState;
use super::envelope::InstanceEvent;
use crate::error::{Error, ErrorKind, Result};
use crate::transport::{Delivery, LogThrottle, Receiver};

/// Reads the events of instances until the subscription ends, and keeps the time by which silent
/// instances are gone.
pub(super) async fn read(mut receiver: Receiver, state: Arc<BroadcasterState>) {
    // Dropped with the task as well: then its runtime has ended.
    let mut closing = CloseOnDrop { state: state.clone(), error: None };
    let malformed = LogThrottle::new();
    loop {
        let tick = state.next_tick();
        let is_due = async {
            match tick {
                Some(tick) => sleep_until(tick).await,
                None => std::future::pending().await,
            }
        };
        let next = tokio::select! {
            next = receiver.next() => next,
            () = is_due => {
                state.tick();
                continue;
            }
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
