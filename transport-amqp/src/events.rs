//! What happens to the connections of a transport, for those who watch it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use polywire_core::Error;
use tokio::sync::broadcast;

/// Something that happened to one of the two connections of a transport. The same is told to `tracing`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionEvent {
    /// Which connection.
    pub purpose: Purpose,
    /// What happened to it.
    pub change: Change,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Purpose {
    /// Messages go out on it.
    Publishing,
    /// Messages come in on it.
    Consuming,
}

/// What happened to a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
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

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publishing => "publisher",
            Self::Consuming => "consumer",
        })
    }
}

/// What happens to the connections of a transport from now on; made by [`Amqp::events`](crate::Amqp::events).
///
/// One that is not read holds the latest 64 events. It ends with the transport.
pub struct ConnectionEvents(BoxStream<'static, ConnectionEvent>);

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

/// Tells all who watch.
#[derive(Clone)]
pub(crate) struct Announcer(broadcast::Sender<ConnectionEvent>);

impl Announcer {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(KEPT))
    }

    pub(crate) fn tell(&self, purpose: Purpose, change: Change) {
        match &change {
            Change::Lost(error) => tracing::warn!(%purpose, ?error, "the connection is lost"),
            // The keeper says it itself, with how long it took.
            Change::Restored { .. } => {}
            Change::Blocked(reason) => tracing::warn!(%purpose, reason, "the broker takes no messages"),
            Change::Unblocked => tracing::info!(%purpose, "the broker takes messages again"),
            Change::Refused(error) => tracing::error!(%purpose, ?error, "the broker refuses us for good"),
        }
        // Nobody has to watch.
        let _ = self.0.send(ConnectionEvent { purpose, change });
    }

    pub(crate) fn listen(&self) -> ConnectionEvents {
        let events = stream::unfold(self.0.subscribe(), |mut events| async {
            loop {
                match events.recv().await {
                    Ok(event) => return Some((event, events)),
                    // What a slow reader missed is gone; what comes next is not.
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        ConnectionEvents(events.boxed())
    }
}

const KEPT: usize = 64;
