//! The types of sockets, and the types that each may be connected with.
//!
//! The pairs are the valid combinations of [ZMTP 3.1](https://rfc.zeromq.org/spec/37/).

use std::time::Duration;

use crate::config::Settings;

/// The type of a socket of this engine.
///
/// A SUB socket of a subscriber is an XSUB socket here, since its subscriptions are messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketKind {
    /// Requests to one server, and its replies.
    Dealer,
    /// Requests and replies, with one link for each peer.
    Router,
    /// Jobs to pullers. Messages of the peer are dropped.
    Push,
    /// Jobs from pushers. Sends nothing.
    Pull,
    /// Events to subscribers, and their subscriptions.
    XPub,
    /// Events from publishers, and subscriptions to them.
    XSub,
}

impl SocketKind {
    /// Returns whether a peer of this type may connect.
    pub(super) fn accepts(self, socket_type: &[u8]) -> bool {
        let accepted: &[&[u8]] = match self {
            Self::Dealer => &[b"ROUTER", b"DEALER", b"REP"],
            Self::Router => &[b"DEALER", b"ROUTER", b"REQ"],
            Self::Push => &[b"PULL"],
            Self::Pull => &[b"PUSH"],
            Self::XPub => &[b"SUB", b"XSUB"],
            Self::XSub => &[b"PUB", b"XPUB"],
        };
        accepted.contains(&socket_type)
    }

    /// Returns the time after which a peer that takes no bytes is given up, while some wait for it.
    ///
    /// The peer may be alive and not read. Its calls end as `Disconnected` then, or are sent again.
    /// The loss of a job or an event is not reported: so a puller has no such bound, and a
    /// subscriber a larger one, since other subscribers wait for it.
    pub(super) fn unread_max(self, settings: &Settings) -> Option<Duration> {
        match self {
            Self::Dealer | Self::Router => Some(settings.silence_max()),
            Self::XPub => Some(settings.unread_max()),
            Self::Push | Self::Pull | Self::XSub => None,
        }
    }

    /// Returns whether messages of the peer are read. A puller has none to send.
    pub(super) fn reads(self) -> bool {
        self != Self::Push
    }

    /// Returns whether a link goes on after the last byte of the peer, until all is read.
    ///
    /// The others, PUSH and XPUB, end with the stream of the peer.
    pub(super) fn drains(self) -> bool {
        matches!(self, Self::Dealer | Self::Router | Self::Pull | Self::XSub)
    }

    /// Returns whether the peer has to answer heartbeats. A puller that is busy reads none, and the
    /// end of its connection would lose the jobs in it.
    pub(super) fn is_answered(self) -> bool {
        self != Self::Push
    }

    /// Returns whether each sent message leaves the socket, so that the relay can count them. An
    /// XPUB socket drops a message whose subscription has ended meanwhile.
    pub(super) fn is_counted(self) -> bool {
        matches!(self, Self::Dealer | Self::Router | Self::Push)
    }
}
