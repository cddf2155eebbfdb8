//! Reasons for the end of servers, workers and listeners.

/// The reason for which a server, a worker or a listener ended without an error.
///
/// The output of [`Serving`](crate::worker::Serving). A transport that refuses for good ends it
/// with an [`Error`](crate::Error) instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// A drain was requested, by a handle or by the shutdown signal, and all handlers have ended.
    Drained,
    /// The program closed the transport, or dropped it.
    Closed,
}
