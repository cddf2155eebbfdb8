//! How a message lies in the frames of a ZeroMQ message. Pure functions: no sockets, no clock but
//! the deadline's.

mod native;
mod topic;

use polywire_core::message::CallId;
use polywire_core::{Address, Body, Deadline, Error, Limits, Message, Result};

use bytes::Bytes;

pub(crate) use self::native::{Kind, Native, Peek};
pub(crate) use self::topic::{Channel, Hello, UNIQUE, unique};

/// The frames of one ZeroMQ message, without the identities that ROUTER sockets add and take off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frames {
    /// The first one: the envelope of our own wire.
    pub(crate) head: Bytes,
    /// The others, if there are any.
    pub(crate) body: Option<Body>,
}

/// What a message is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// To be carried out by this service.
    Request(Address),
    /// The outcome of a request.
    Reply,
    /// The answer to a request for a service that nobody serves there.
    Refusal,
    /// To be done by somebody who pulls from this queue.
    Job(Address),
    /// Published. The frame before the envelope says on which channel, and under which topic.
    Event,
    /// Nobody waits any more for the outcome of a request that this service was asked for.
    Cancel(Address),
    /// What a forwarder says of a request whose server is gone: nobody knows what became of it.
    Loss,
}

/// A convention of what frames mean.
pub(crate) trait Wire: Send + Sync + 'static {
    /// Lays out a message.
    ///
    /// # Errors
    ///
    /// `TooLarge` if what goes into the head is larger than the limits allow; unsent.
    fn encode(&self, role: &Role, message: Message, limits: &Limits) -> Result<Frames>;

    /// Reads a message.
    ///
    /// # Errors
    ///
    /// [`Garbled`], with what could be made out nevertheless.
    fn decode(&self, frames: Frames, limits: &Limits) -> Result<(Role, Message), Garbled>;

    /// Writes what is left of the deadline now into a message that had to wait after it was laid
    /// out, if it has one.
    fn restamp(&self, frames: &mut Frames, deadline: Deadline);

    /// The most bytes that [`Frames::head`] may hold.
    fn head_max(&self, limits: &Limits) -> usize;
}

/// A message that cannot be read.
#[derive(Debug)]
pub(crate) struct Garbled {
    /// Which call it is about, if that much is certain.
    pub(crate) call: Option<CallId>,
    /// The service that was asked, if that much is certain.
    pub(crate) service: Option<Address>,
    /// What is wrong with it, and where.
    pub(crate) error: Error,
}
