//! Permission to begin a call that runs at most once: the messages between a server and its caller.
//!
//! A server asks the caller before it begins such a call. The caller alone knows all deliveries of
//! its request, so it permits one of them. [`Outbound::ask`](super::Outbound::ask) begins the
//! exchange.

use bytes::Bytes;

use crate::message::{CallId, ReplyTo};

/// Question of a server whether it may begin a call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Question {
    /// Reply address of the request.
    pub reply_to: ReplyTo,
    /// Id of the call.
    pub id: CallId,
    /// Number of the delivery, unique within the server.
    pub delivery: u64,
}

impl Question {
    /// Creates the question about a delivery of a call.
    #[must_use]
    pub fn new(reply_to: ReplyTo, id: CallId, delivery: u64) -> Self {
        Self { reply_to, id, delivery }
    }
}

/// Answer to a [`Question`], as the server gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer {
    /// Question that is answered.
    pub question: Question,
    /// `true` if the server may begin the call.
    pub is_permitted: bool,
}

impl Answer {
    /// Creates the answer to a question.
    #[must_use]
    pub fn new(question: Question, is_permitted: bool) -> Self {
        Self { question, is_permitted }
    }
}

/// Address of a server, in the encoding of the backend that wrote it. Core compares addresses, and
/// never reads one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress(Bytes);

impl ServerAddress {
    /// Creates an address from the bytes of a backend.
    #[must_use]
    pub fn new(address: impl Into<Bytes>) -> Self {
        Self(address.into())
    }

    /// Returns the bytes that the backend wrote.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

/// Question of a server, as the caller gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asked {
    /// Id of the call.
    pub id: CallId,
    /// Server that asks.
    pub server: ServerAddress,
    /// Number of the delivery, unique within the server.
    pub delivery: u64,
}

impl Asked {
    /// Creates the question of a server about a delivery of a call.
    #[must_use]
    pub fn new(id: CallId, server: ServerAddress, delivery: u64) -> Self {
        Self { id, server, delivery }
    }
}

/// Notice about the servers of a requester's calls.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerNotice {
    /// A server asks whether it may begin a call.
    Asked(Asked),
    /// A [checked](super::Outbound::check) server is gone, and the requests that it held with it.
    Gone(ServerAddress),
}
