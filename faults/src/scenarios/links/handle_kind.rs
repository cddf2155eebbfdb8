//! The endpoint handles whose connections are disturbed.

use std::fmt;

use crate::traffic::Pattern;

/// The endpoint handle with the disturbed connection; the other side has a good one.
///
/// Two kinds make a pattern: one starts the operations, and the other one receives them.
#[derive(Clone, Copy)]
pub(super) enum HandleKind {
    Requester,
    Responder,
    Pusher,
    Puller,
    Publisher,
    Subscriber,
}

impl HandleKind {
    /// All kinds.
    pub(super) const ALL: [Self; 6] = [
        Self::Requester,
        Self::Responder,
        Self::Pusher,
        Self::Puller,
        Self::Publisher,
        Self::Subscriber,
    ];

    /// Returns the name in reports and in addresses.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Requester => "requester",
            Self::Responder => "responder",
            Self::Pusher => "pusher",
            Self::Puller => "puller",
            Self::Publisher => "publisher",
            Self::Subscriber => "subscriber",
        }
    }

    /// Returns the pattern that the handle is part of.
    pub(super) fn pattern(self) -> Pattern {
        match self {
            Self::Requester | Self::Responder => Pattern::Calls,
            Self::Pusher | Self::Puller => Pattern::Jobs,
            Self::Publisher | Self::Subscriber => Pattern::Events,
        }
    }

    /// Returns true for a handle that starts operations.
    pub(super) fn is_sending(self) -> bool {
        matches!(self, Self::Requester | Self::Pusher | Self::Publisher)
    }
}

impl fmt::Display for HandleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
