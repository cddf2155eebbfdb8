//! Connection events of a transport.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use polywire_core::Error;

/// A change of a connection of a transport. Changes are logged with `tracing` as well, and counted
/// there while a connection flaps.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionEvent {
    /// The connection.
    pub role: ConnectionRole,
    /// The change.
    pub change: ConnectionChange,
}

/// Role of a connection. [`Display`](fmt::Display) writes `publisher`, `consumer` or `both`, as in
/// the log and in the connection's name at the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum ConnectionRole {
    /// The connection that publishes.
    Publishing,
    /// The connection that consumes.
    Consuming,
    /// The [only connection](crate::AmqpBuilder::one_connection) of a transport, which publishes
    /// and consumes.
    Both,
}

/// Change of a connection.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ConnectionChange {
    /// The connection is established. A new [`ConnectionEvents`] begins with this change for each
    /// established connection.
    Connected {
        /// Host of the broker.
        host: String,
        /// Port of the broker.
        port: u16,
    },
    /// The connection is lost, and the transport reconnects.
    ///
    /// The kind is `Disconnected`, and the source is the cause, as far as the engine reports one.
    /// For a broker of the URL, the details name the host and the port.
    Lost(Error),
    /// The connection is established again. Consumers are registered again after this.
    Restored {
        /// Host of the broker.
        host: String,
        /// Port of the broker.
        port: u16,
    },
    /// The broker has stopped accepting messages, for the given reason: it is out of memory or
    /// disk.
    ///
    /// RabbitMQ sends the reason with
    /// [`connection.blocked`](https://www.rabbitmq.com/docs/connection-blocked). Acknowledgements
    /// still flow, unless the transport has only one connection.
    Blocked(String),
    /// The broker accepts messages again. Buffered messages are sent from now on, in their order.
    Unblocked,
    /// The broker has refused for longer than [`give_up_after`](crate::AmqpBuilder::give_up_after).
    /// The transport reconnects no more, and all endpoint handles fail with the error.
    ///
    /// The end of a connection that the program handed in is also a refusal, with the kind
    /// `Closed`. No change of this connection follows.
    Refused(Error),
}

impl fmt::Display for ConnectionRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publishing => "publisher",
            Self::Consuming => "consumer",
            Self::Both => "both",
        })
    }
}

/// Stream of the state of each connection and of each later change, from
/// [`Amqp::events`](crate::Amqp::events).
///
/// A stream that is not read keeps the latest 64 events. The stream ends with the transport.
///
/// The events of one connection come in the order of its changes. Events that a slow reader has
/// lost are skipped without a notice.
///
/// ```no_run
/// # async fn watch(transport: polywire_amqp::Amqp) {
/// use polywire_amqp::ConnectionChange;
///
/// let mut events = transport.events();
/// while let Some(event) = events.next().await {
///     if let ConnectionChange::Blocked(reason) = event.change {
///         println!("the broker has stopped accepting messages: {reason}");
///     }
/// }
/// # }
/// ```
pub struct ConnectionEvents(pub(crate) BoxStream<'static, ConnectionEvent>);

impl ConnectionEvents {
    /// Waits for the next event; `None` after the transport was dropped. No event is lost if the
    /// future is dropped.
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
