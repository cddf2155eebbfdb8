//! Expiry of jobs and events that did not begin within their time to live.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::task::coop::consume_budget;

use super::retries::dead_letter_or_discard;
use crate::error::Result;
use crate::message::{DeadLetterReason, Message};
use crate::transport::{Capabilities, Delivery, Outcome, Receiver};

/// Takes the deadline of a job or an event, and returns the outcome of one that has expired.
///
/// The deadline says by when an attempt must begin. It does not limit the handler, nor the calls
/// that the handler makes.
pub(super) fn take_expired(message: &mut Message, can: &Capabilities) -> Option<Outcome> {
    let deadline = message.deadline.take()?;
    let is_kept = std::mem::take(&mut message.keep_expired);
    if !deadline.is_expired() {
        return None;
    }
    let error = "did not begin within its time to live";
    Some(match is_kept {
        true => dead_letter_or_discard(can, DeadLetterReason::Expired, error.to_owned()),
        false => Outcome::Ack,
    })
}

/// Polls for the next delivery that has not expired, for programs that drive the work themselves.
/// Those that have are settled.
pub(crate) fn poll_unexpired(
    receiver: &mut Receiver,
    can: &Capabilities,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Delivery>>> {
    loop {
        // A queue that is never empty must not keep other tasks from this thread.
        ready!(pin!(consume_budget()).poll(cx));
        let next = ready!(Pin::new(&mut *receiver).poll_next(cx));
        let Some(Ok(mut delivery)) = next else { return Poll::Ready(next) };
        match take_expired(&mut delivery.message, can) {
            Some(outcome) => delivery.receipt.settle(outcome),
            None => return Poll::Ready(Some(Ok(delivery))),
        }
    }
}
