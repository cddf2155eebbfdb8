//! Refusal of requests by limits and breakers.

use std::time::Duration;

use crate::error::{CallError, Error, ErrorKind};

/// Default of the longest wait of a request without an earlier deadline: 30 seconds.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(30);

/// Returns the error of a request that was refused before it was tried. A server answers such a
/// request with [`Code::Unavailable`](crate::Code::Unavailable).
pub(super) fn overloaded(cause: &'static str) -> CallError {
    Error::new(ErrorKind::Overloaded, cause).unsent().into()
}
