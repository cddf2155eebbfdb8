//! Sending a message within a time limit.

use std::time::Duration;

use tokio::time::timeout;

use super::Sender;
use crate::context::propagate;
use crate::error::{Error, ErrorKind, Result};
use crate::message::Message;

/// The default time limit of a call, and of sending a job or an event: 30 seconds.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a message with the context of the running handler, and waits at most `limit`.
///
/// Dropping the future may or may not send the message.
///
/// # Errors
///
/// [`ErrorKind::DeadlineExceeded`] after `limit`, or the error of the transport.
pub(crate) async fn send_within(
    sender: &Sender,
    mut message: Message,
    limit: Duration,
) -> Result<()> {
    propagate(&mut message);
    let sending = sender.send(message);
    // Most sends are ready at once, and need no timer.
    let sending = match sending.into_result() {
        Ok(result) => return result,
        Err(sending) => sending,
    };
    timeout(limit, sending).await.unwrap_or_else(|_| {
        let error =
            Error::new(ErrorKind::DeadlineExceeded, "cannot send the message in time");
        Err(error.with("milliseconds", limit.as_millis()))
    })
}
