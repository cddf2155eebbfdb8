//! The frames of a message, what the message is for, and the failure to decode it.

use bytes::Bytes;
use polywire_core::message::CallId;
use polywire_core::{Address, Body, Error};

/// The frames of one ZeroMQ message, without the identities that ROUTER sockets add and remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frames {
    /// The envelope, which is the first frame.
    pub(crate) head: Bytes,
    /// The other frames, if there are any.
    pub(crate) body: Option<Body>,
}

/// The purpose of a message, with the address that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
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

/// A message that cannot be decoded.
#[derive(Debug)]
pub(crate) struct DecodeFailure {
    /// The call that the message belongs to, if the envelope reveals it.
    pub(crate) call: Option<CallId>,
    /// The service or queue that the message names, if the envelope reveals it.
    pub(crate) service: Option<Address>,
    /// The cause, with its position in the envelope.
    pub(crate) error: Error,
}
