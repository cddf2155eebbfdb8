//! The purpose of a message.

use polywire_core::Address;

/// The purpose of a message, with the address that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MessageRole {
    /// A request to this service.
    Request(Address),
    /// The outcome of a request.
    Reply,
    /// The reply to a request for a service that the peer does not serve.
    Refusal,
    /// A job of this queue.
    Job(Address),
    /// A published event. The frame before the envelope names its channel and topic.
    Event,
    /// A client's notice that it no longer waits for the outcome of a request to this service.
    Cancel(Address),
    /// A proxy's notice that the server of a request is gone, with an unknown outcome.
    Loss,
    /// A server's notice that it takes no more requests, and the answer of its client. With a call
    /// id, which numbers the notice; without one, the notice that it serves on.
    Leave,
}
