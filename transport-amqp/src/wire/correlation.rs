//! The identity of a call on AMQP.

use polywire_core::message::CallId;

/// A requester and one of its calls. Requests carry it, and replies repeat it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Correlation {
    /// Number of the requester, unique within its transport.
    pub(crate) requester: u64,
    /// Number of the call, unique within its requester.
    pub(crate) call: CallId,
}
