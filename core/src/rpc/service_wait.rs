//! Waiting for the first server of a service.

use std::future::Future;
use std::time::Duration;

use tokio::time::sleep;

use crate::error::{Error, ErrorKind, Result};
use crate::middleware::Backoff;

/// The pauses between attempts: up to 20 ms at first, and at most half a second.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));

/// Repeats the sending of a message while it finds no server, with growing pauses. The caller
/// bounds the wait.
pub(super) async fn until_served<T, F>(
    is_at_most_once: bool,
    mut operation: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut attempt = 1_u32;
    loop {
        match operation().await {
            Err(error) if is_without_server(&error, is_at_most_once) => {
                sleep(PAUSES.after(attempt)).await;
            }
            outcome => return outcome,
        }
        attempt = attempt.saturating_add(1);
    }
}

/// Returns whether an error says that no server got the message, or that the broker did not keep
/// it: RabbitMQ rejects what reaches a quorum queue while the first server declares it. A request
/// that a server got all the same comes twice, as after a lost connection. A message that must not
/// be begun twice is therefore not sent again, unless the error proves that no server got it.
fn is_without_server(error: &Error, is_at_most_once: bool) -> bool {
    match error.kind() {
        ErrorKind::Unroutable => error.is_unsent(),
        ErrorKind::Rejected => error.is_unsent() || !is_at_most_once,
        _ => false,
    }
}
