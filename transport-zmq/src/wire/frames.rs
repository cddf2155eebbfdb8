//! The frames of a message.

use bytes::Bytes;
use polywire_core::Body;

/// The frames of one ZeroMQ message, without the identities that ROUTER sockets add and remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frames {
    /// The envelope, which is the first frame.
    pub(crate) head: Bytes,
    /// The other frames, if there are any.
    pub(crate) body: Option<Body>,
}
