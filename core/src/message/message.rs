//! The logical envelope: what every wire carries, each in its own way.

mod address;
mod body;
mod deadline;
mod extensions;
mod filter;
mod headers;
mod history;
mod identity;
mod limits;

pub use self::address::Address;
pub use self::body::Body;
pub use self::deadline::Deadline;
pub use self::extensions::Extensions;
pub use self::filter::Filter;
pub use self::headers::Headers;
pub use self::history::{DeadLetterReason, DeadLetterRecord, History};
pub use self::identity::Identity;
pub use self::limits::Limits;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;

use crate::error::Fault;

/// A message, as core knows it.
///
/// A backend lays it out on its wire: as properties and headers on AMQP, as an envelope frame on
/// ZeroMQ, as it is in memory. Core fills in and reads the fields; it never sees a wire.
///
/// Moving a message moves a few pointers; its bytes are shared.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Message {
    /// What to run. Set on a request.
    pub method: Option<Address>,
    /// What it is about: what subscribers filter on. Set on what is published.
    pub topic: Option<Address>,
    /// Which call this is, or answers.
    pub id: Option<CallId>,
    /// Where the outcome goes. Set by the backend on a request that arrives, and by core on the
    /// reply to it.
    pub reply_to: Option<ReplyTo>,
    /// Who sent it. Set by the backend on what arrives, if it
    /// [verifies](crate::Capabilities::security) its peers, and has verified this one; never
    /// sent.
    pub peer: Option<Arc<Identity>>,
    /// When the outcome stops mattering.
    pub deadline: Option<Deadline>,
    /// Whether carrying it out twice does no more than carrying it out once, so that a backend may
    /// send it again when nobody knows what became of it. Set by core on a request that its
    /// caller [says so](crate::Request::idempotent) of.
    pub idempotent: bool,
    /// What went wrong, on a reply that failed. On a request that arrives: why it cannot be read,
    /// and is to be answered with this.
    pub fault: Option<Box<Fault>>,
    /// How urgent it is: where queues know priorities, higher ones are taken first. None is as 0.
    pub priority: Option<u8>,
    /// The format of the body, as a media type.
    pub content_type: Option<ByteString>,
    /// What the message says about itself.
    pub headers: Headers,
    /// What happened to it before. Set by the backend on what arrives; what is sent has none.
    pub history: Option<Box<History>>,
    /// The content.
    pub body: Body,
}

impl Message {
    /// A message of this content and nothing else.
    #[must_use]
    pub fn new(body: impl Into<Body>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// A request to run `method`.
    #[must_use]
    pub fn request(method: Address, deadline: Deadline) -> Self {
        Self { method: Some(method), deadline: Some(deadline), ..Self::default() }
    }

    /// A reply that says what went wrong.
    #[must_use]
    pub fn failed(fault: Fault) -> Self {
        Self { fault: Some(Box::new(fault)), ..Self::default() }
    }
}

/// The number of a call among those of one requester.
///
/// It is counted up and never used twice, so that the late reply to an abandoned call cannot be
/// taken for the reply to a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a reply goes, in the words of the backend that wrote it; core only carries it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ReplyTo(Bytes);

impl ReplyTo {
    /// A return address that this backend will understand.
    #[must_use]
    pub fn new(address: impl Into<Bytes>) -> Self {
        Self(address.into())
    }

    /// What the backend wrote.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for ReplyTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}
