//! The publisher of a foreign endpoint handle.

use std::sync::Arc;

use lapin::types::ShortString;
use polywire_core::transport::Sending;
use polywire_core::{Deadline, ErrorKind, Result};

use super::header_check::check_headers;
use super::message::AmqpMessage;
use super::topology::LayoutExchange;
use crate::publishing::confirmed_publisher::ConfirmedPublisher;
use crate::publishing::event_publishers::EventPublisher;
use crate::shared::AmqpShared;
use crate::topology::custom_topology::Topology;
use crate::topology::declare_custom_topology::declare;
use crate::wire::native::short_string;
use crate::wire::{MessageSender, OutgoingMessage};

/// Publishes the messages of a handle to its exchange.
///
/// All handles of the transport that publish to one exchange share its channel. A message whose
/// exchange is missing is published once more, after the exchange was declared.
pub(super) struct ExchangePublisher {
    pub(super) shared: Arc<AmqpShared>,
    exchange: ShortString,
    topology: Topology,
    /// The publisher of an exchange with a name. The default exchange has the transport's.
    named: Option<Arc<EventPublisher>>,
}

impl ExchangePublisher {
    /// Declares the exchange, and opens its publisher.
    ///
    /// # Errors
    ///
    /// Those of the declarations; [`ErrorKind::Config`] if the connection has no room for another
    /// exchange.
    pub(super) async fn open(shared: &Arc<AmqpShared>, exchange: LayoutExchange) -> Result<Self> {
        let LayoutExchange { name, topology } = exchange;
        topology.validate()?;
        let exchange = short_string("exchange", name)?;
        let connection = &shared.consuming_connection;
        connection.unless_lost(declare(connection, &topology)).await?;
        let named = match exchange.as_str() {
            "" => None,
            _ => Some(shared.event_publisher(exchange.clone())?),
        };
        Ok(Self { shared: shared.clone(), exchange, topology, named })
    }

    /// Publishes a message that expires at `deadline`. Dropping the future is as for
    /// [`ConfirmedPublisher::publish`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for a reserved header, and those of [`ConfirmedPublisher::publish`].
    pub(super) fn publish(&self, message: AmqpMessage, deadline: Option<Deadline>) -> Sending<'_> {
        if let Err(error) = check_headers(&message.properties) {
            return Sending::ready(Err(error));
        }
        let AmqpMessage { routing_key, mandatory, properties, body } = message;
        let message = OutgoingMessage {
            exchange: self.exchange.clone(),
            routing_key,
            mandatory,
            sender: MessageSender::Unnamed,
            deadline,
            keep_expired: false,
            is_foreign: true,
            properties,
            body,
        };
        if self.named.is_none() {
            return self.publisher().publish(message);
        }
        // Published before the future is polled, so that messages keep the order of the calls. The
        // copy is for an exchange that is missing; its body is shared.
        let sending = self.publisher().publish(message.clone());
        Sending::later(async move {
            match sending.await {
                Err(missing) if missing.kind() == ErrorKind::Config => {
                    let connection = &self.shared.consuming_connection;
                    connection.unless_lost(declare(connection, &self.topology)).await?;
                    self.publisher().publish(message).await
                }
                sent => sent,
            }
        })
    }

    fn publisher(&self) -> &ConfirmedPublisher {
        match &self.named {
            Some(named) => &named.publisher,
            None => &self.shared.publisher,
        }
    }
}
