//! A transport with a foreign layout.

use std::fmt;
use std::sync::Arc;

use polywire_core::health::HealthReader;
use polywire_core::transport::{Filters, Receiver, Sender, Subscription};
use polywire_core::{Address, Capabilities, Error, Result, Transport, Window};

use super::layout::AmqpLayout;
use super::{publisher, requester, responder, subscriber};
use crate::shared::AmqpShared;

/// RabbitMQ as a transport whose messages have the layout of another system; made by
/// [`Amqp::with_layout`](crate::Amqp::with_layout).
///
/// Its handles use the connections of the [`Amqp`](crate::Amqp), which has its own handles on the
/// native wire beside them. Clones are the same transport.
///
/// # What differs from the native wire
///
/// - A server does not learn that a caller has stopped waiting: the handler runs to its end. Its
///   deadline is that of a [`Deadlines`](polywire_core::middleware::Deadlines) layer, if
///   there is one. A request in the queue expires at the deadline of its caller.
/// - A declined request is answered with the fault. Jobs, dead letters, delayed retries and
///   priorities are [`Unsupported`](polywire_core::ErrorKind::Unsupported).
/// - A call that runs at most once is refused as
///   [`Unsupported`](polywire_core::ErrorKind::Unsupported), unsent: the layout cannot express it.
/// - A handle has no canaries.
/// - Deliveries of a request are not counted, and suspects are not isolated: a request that ends
///   its server process comes back forever, and ends the next one. With
///   [`ServerBind::at_most_once`](polywire_core::rpc::ServerBind::at_most_once), a server settles
///   each request before it begins, so that none comes back; its caller then waits until its own
///   deadline.
/// - Attempts at an event are not counted: a listener runs a failing event twice at most. A failing
///   event is not retried if it was redelivered for any reason, such as a lost connection.
/// - A request that is malformed or exceeds the [`Limits`](polywire_core::Limits) is answered with
///   a fault if its caller waits.
/// - An exchange that was deleted is declared again by the next message, without the bindings of
///   the queues. A queue is bound again when its handle opens or gets a new channel. Until then,
///   requests are unroutable, and replies and events get lost.
/// - Each requester has a reply queue of its own. Replies wait there while the connection is lost.
#[derive(Clone)]
pub struct ForeignAmqp {
    shared: Arc<AmqpShared>,
    layout: Arc<dyn AmqpLayout>,
}

impl ForeignAmqp {
    /// Creates a transport over the connections of another one.
    pub(crate) fn new(shared: Arc<AmqpShared>, layout: impl AmqpLayout) -> Self {
        Self { shared, layout: Arc::new(layout) }
    }
}

impl Transport for ForeignAmqp {
    /// Returns the capabilities of the layout: requests are settled after their replies, and are
    /// durable. A call to an unknown service fails at once if the layout makes its requests
    /// [mandatory](crate::AmqpMessage::mandatory).
    fn capabilities(&self) -> Capabilities {
        let least = Capabilities::least(self.shared.config.limits.body_max);
        let given = least.with_settlement(true).with_durable(true).with_unroutable_at_once(true);
        self.layout.capabilities(given)
    }

    /// Opens a requester with a reply queue of its own.
    ///
    /// If the future is dropped, the reply queue is deleted, or expires.
    async fn requester(&self, service: &Address) -> Result<(Sender, Receiver)> {
        self.shared.tasks.check_open()?;
        let opening = requester::open(&self.shared, self.layout.clone(), service);
        self.shared.within_connect_timeout(opening).await
    }

    /// Opens a responder, and declares the queue of the service with its bindings.
    ///
    /// Dropping the future cancels the consumer.
    async fn responder(&self, service: &Address, window: Window) -> Result<(Sender, Receiver)> {
        self.shared.tasks.check_open()?;
        let opening = responder::open(&self.shared, self.layout.clone(), service, window);
        self.shared.within_connect_timeout(opening).await
    }

    /// Fails: layouts have no jobs.
    async fn pusher(&self, _: &Address) -> Result<Sender> {
        Err(Error::unsupported("pipeline"))
    }

    /// Fails: layouts have no jobs.
    async fn puller(&self, _: &Address, _: Window) -> Result<Receiver> {
        Err(Error::unsupported("pipeline"))
    }

    /// Opens a publisher, and declares the exchange of the channel.
    ///
    /// If the future is dropped, the exchange may stay.
    async fn publisher(&self, channel: &Address) -> Result<Sender> {
        self.shared.tasks.check_open()?;
        let opening = publisher::open(&self.shared, self.layout.clone(), channel);
        self.shared.within_connect_timeout(opening).await
    }

    /// Opens a subscriber, and declares its queue with its bindings.
    ///
    /// Dropping the future cancels the consumer.
    async fn subscriber(
        &self,
        channel: &Address,
        subscription: Subscription,
    ) -> Result<(Receiver, Filters)> {
        self.shared.tasks.check_open()?;
        let opening = subscriber::open(&self.shared, self.layout.clone(), channel, subscription);
        self.shared.within_connect_timeout(opening).await
    }

    /// Returns a reader of the health of the connections, and of the handles on both wires.
    fn health(&self) -> HealthReader {
        self.shared.broadcast.health().reader()
    }

    /// Closes the connections, and with them the handles of the [`Amqp`](crate::Amqp) that this
    /// transport was made of.
    ///
    /// If the future is dropped, closing goes on.
    async fn close(&self) -> Result<()> {
        self.shared.close().await;
        Ok(())
    }
}

impl fmt::Debug for ForeignAmqp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForeignAmqp").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
