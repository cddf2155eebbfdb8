//! What happens to the connections of a transport, for those who watch it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use polywire_core::Error;

/// Something that happened to one of the two connections of a transport. The same is told to
/// `tracing`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionEvent {
    /// Which connection.
    pub role: ConnectionRole,
    /// What happened to it.
    pub change: ConnectionChange,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum ConnectionRole {
    /// Messages go out on it.
    Publishing,
    /// Messages come in on it.
    Consuming,
}

/// What happened to a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionChange {
    /// It is there, at this broker. Whoever begins to watch hears this first of each connection
    /// that is.
    Connected {
        /// The broker's host.
        host: String,
        /// Its port.
        port: u16,
    },
    /// It is lost, and is being made again.
    Lost(Error),
    /// It is there again, at this broker; what is consumed over it is set up anew.
    Restored {
        /// The broker's host.
        host: String,
        /// Its port.
        port: u16,
    },
    /// The broker does not take messages for now, and says why: it runs out of memory or disk.
    Blocked(String),
    /// The broker takes messages again.
    Unblocked,
    /// The broker refuses us, and it is not tried any more: every end says so.
    Refused(Error),
}

impl fmt::Display for ConnectionRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publishing => "publisher",
            Self::Consuming => "consumer",
        })
    }
}

/// How the connections of a transport are, and what happens to them from now on; made by
/// [`Amqp::events`](crate::Amqp::events).
///
/// One that is not read holds the latest 64 events. It ends with the transport.
pub struct ConnectionEvents(pub(crate) BoxStream<'static, ConnectionEvent>);

impl ConnectionEvents {
    /// The next event; `None` when the transport is gone. Nothing is lost if it is dropped.
    pub async fn next(&mut self) -> Option<ConnectionEvent> {
        self.0.next().await
    }
}

impl Stream for ConnectionEvents {
    type Item = ConnectionEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl fmt::Debug for ConnectionEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionEvents")
    }
}
