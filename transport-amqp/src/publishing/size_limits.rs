//! Sizes of bodies that the broker is known to accept, or to refuse.
//!
//! A message that may be too large goes through `transport-amqp/src/publishing/large_messages.rs`.
//! A reply that is too large becomes a fault in `core/src/rpc/reply_sender.rs`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use polywire_core::{Error, Result};
use tokio::time::Instant;

use super::refused_message::{over_size_limit, size_limit};
use crate::lock::lock;

/// The sizes that the broker is known to accept, and the limit that it has named.
///
/// No client can ask for the limit. The broker names it when it refuses a message.
pub(super) struct SizeLimits {
    /// Bytes of the largest body that counts as accepted.
    accepted: AtomicUsize,
    /// The limit that the broker has named, and when.
    named: Mutex<Option<(usize, Instant)>>,
}

impl SizeLimits {
    /// Creates the limits of a broker that has named none.
    pub(super) fn new() -> Self {
        Self { accepted: AtomicUsize::new(ACCEPTED), named: Mutex::new(None) }
    }

    /// Returns whether the broker is known to accept a body of this size.
    pub(super) fn accepts(&self, size: usize) -> bool {
        size <= self.accepted.load(Ordering::Relaxed)
    }

    /// Checks a body of this size, whose refusal would fail other messages.
    ///
    /// An operator may raise the limit. So the broker is asked again ten minutes after it has named
    /// the limit.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`](polywire_core::ErrorKind::TooLarge), unsent, with the limit that the
    /// broker has named.
    pub(super) fn check(&self, size: usize) -> Result<()> {
        match *lock(&self.named) {
            Some((limit, named)) if size > limit && named.elapsed() < ASK_AGAIN => {
                Err(over_size_limit(size, limit))
            }
            _ => Ok(()),
        }
    }

    /// Notes that the broker has confirmed a body of this size.
    ///
    /// The largest size counts for the lifetime of the publisher, until the broker names a lower
    /// limit.
    pub(super) fn note_confirmed(&self, size: usize) {
        if !self.accepts(size) {
            self.accepted.fetch_max(size, Ordering::Relaxed);
        }
    }

    /// Notes the limit that the error of a refused message names. Any other error has no effect.
    pub(super) fn note_refused(&self, error: &Error) {
        if let Some(limit) = size_limit(error) {
            self.accepted.fetch_min(limit, Ordering::Relaxed);
            *lock(&self.named) = Some((limit, Instant::now()));
        }
    }
}

/// 1 MiB: RabbitMQ's own limit is 16 MiB or more.
const ACCEPTED: usize = 1 << 20;
/// The time for which a limit counts that the broker has named.
const ASK_AGAIN: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests {
    use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPSoftError};
    use polywire_core::ErrorKind;
    use tokio::time::advance;

    use super::super::refused_message::Refused;
    use super::*;

    /// Returns the error of a body that a broker with this limit refuses.
    fn refused(size: usize, limit: usize) -> Error {
        let text = format!("message size {size} is larger than configured max size {limit}");
        let kind = AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED);
        let error = lapin::ErrorKind::ProtocolError(AMQPError::new(kind, text.into()));
        let message = Refused { exchange: "", routing_key: "q", body_len: size };
        message.error(&error.into())
    }

    #[test]
    fn confirmed_size_is_accepted_until_the_broker_names_a_lower_limit() {
        let sizes = SizeLimits::new();
        assert!(sizes.accepts(ACCEPTED) && !sizes.accepts(ACCEPTED + 1));
        sizes.note_confirmed(2 * ACCEPTED);
        assert!(sizes.accepts(2 * ACCEPTED));
        sizes.note_refused(&refused(300_000, 262_144));
        assert!(sizes.accepts(262_144) && !sizes.accepts(262_145));
        // The operator has raised the limit.
        sizes.note_confirmed(300_000);
        assert!(sizes.accepts(300_000));
    }

    #[tokio::test(start_paused = true)]
    async fn named_limit_refuses_larger_bodies_until_the_broker_is_asked_again() {
        let sizes = SizeLimits::new();
        assert!(sizes.check(usize::MAX).is_ok());
        sizes.note_refused(&refused(300_000, 262_144));
        assert!(sizes.check(262_144).is_ok());
        let error = sizes.check(262_145).unwrap_err();
        assert_eq!((error.kind(), error.is_unsent()), (ErrorKind::TooLarge, true), "{error:?}");
        assert_eq!((error.detail("size"), error.detail("limit")), (Some("262145"), Some("262144")));
        advance(ASK_AGAIN).await;
        assert!(sizes.check(262_145).is_ok());
    }

    #[test]
    fn error_that_names_no_limit_of_the_broker_changes_nothing() {
        let sizes = SizeLimits::new();
        let header = Error::new(ErrorKind::TooLarge, "the headers do not fit").with("limit", 9);
        let lost = Error::new(ErrorKind::Disconnected, "the connection is lost").with("limit", 9);
        for error in [header, lost] {
            sizes.note_refused(&error);
        }
        // An error that was made here names no new limit.
        sizes.note_refused(&over_size_limit(300_000, 262_144));
        assert!(sizes.accepts(ACCEPTED) && sizes.check(usize::MAX).is_ok());
    }
}
