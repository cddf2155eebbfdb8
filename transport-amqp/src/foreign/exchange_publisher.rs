//! The publisher of a foreign endpoint handle.

use std::sync::Arc;

use lapin::types::ShortString;
use polywire_core::transport::Sending;
use polywire_core::{Deadline, Error, ErrorKind, Result};

use super::header_check::check_headers;
use super::message::AmqpMessage;
use super::topology::LayoutExchange;
use crate::publishing::confirmed_publisher::ConfirmedPublisher;
use crate::publishing::event_publishers::{AGAIN_MAX, EventPublisher};
use crate::publishing::refused_message::is_neighbor;
use crate::shared::AmqpShared;
use crate::topology::custom_topology::Topology;
use crate::topology::declare_custom_topology::declare;
use crate::wire::native::short_string;
use crate::wire::{MessageSender, OutgoingMessage};

/// Publishes the messages of a handle to its exchange.
///
/// All handles of the transport that publish to one exchange share its channel. A message whose
/// exchange is missing is published once more, after the exchange was declared. A message that
/// failed because of another one on the channel is published again, as [`Repetition`] says.
pub(super) struct ExchangePublisher {
    pub(super) shared: Arc<AmqpShared>,
    exchange: ShortString,
    topology: Topology,
    /// The publisher of an exchange with a name. The default exchange has the transport's.
    named: Option<Arc<EventPublisher>>,
    repetition: Repetition,
}

/// The messages that are published again after another message has closed their channel. There are
/// up to [`AGAIN_MAX`] further attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repetition {
    /// All, as for replies and events: one that was accepted and not confirmed arrives twice.
    Always,
    /// Only those that were not written, as for requests: the caller decides about the others.
    Unsent,
}

impl Repetition {
    /// Returns whether a message that failed with `refused` is published again.
    fn applies(self, refused: &Error) -> bool {
        is_neighbor(refused) && (self == Self::Always || refused.is_unsent())
    }
}

impl ExchangePublisher {
    /// Declares the exchange, and opens its publisher.
    ///
    /// # Errors
    ///
    /// Those of the declarations; [`ErrorKind::Config`] if the connection has no room for another
    /// exchange.
    pub(super) async fn open(
        shared: &Arc<AmqpShared>,
        exchange: LayoutExchange,
        repetition: Repetition,
    ) -> Result<Self> {
        let LayoutExchange { name, topology } = exchange;
        topology.validate()?;
        let exchange = short_string("exchange", name)?;
        let connection = &shared.consuming_connection;
        connection.unless_lost(declare(connection, &topology)).await?;
        let named = match exchange.as_str() {
            "" => None,
            _ => Some(shared.event_publisher(exchange.clone())?),
        };
        Ok(Self { shared: shared.clone(), exchange, topology, named, repetition })
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
        // copy is for a further attempt; its body is shared.
        let sending = self.publisher().publish(message.clone());
        Sending::later(async move {
            match sending.await {
                Err(refused) => self.publish_again(message, refused).await,
                Ok(()) => Ok(()),
            }
        })
    }

    /// Publishes a message again whose first attempt failed with `refused`, if that is of use.
    ///
    /// # Errors
    ///
    /// Those of [`ConfirmedPublisher::publish`] and of the declarations, and `refused` itself if
    /// the message is its cause.
    async fn publish_again(&self, message: OutgoingMessage, mut refused: Error) -> Result<()> {
        let mut is_declared = false;
        for _ in 0..AGAIN_MAX {
            if refused.kind() == ErrorKind::Config && !is_declared {
                let connection = &self.shared.consuming_connection;
                connection.unless_lost(declare(connection, &self.topology)).await?;
                is_declared = true;
            } else if !self.repetition.applies(&refused) {
                break;
            }
            match self.publisher().publish(message.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    fn publisher(&self) -> &ConfirmedPublisher {
        match &self.named {
            Some(named) => &named.publisher,
            None => &self.shared.publisher,
        }
    }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::{AMQPError, AMQPErrorKind, AMQPSoftError};

    use super::*;
    use crate::publishing::refused_message::Refused;

    #[test]
    fn message_of_a_closed_channel_is_published_again_by_its_kind() {
        let message = Refused { exchange: "e", routing_key: "a.b", body_len: 9 };
        let soft = |kind, text: &str| {
            let error = AMQPError::new(AMQPErrorKind::Soft(kind), text.into());
            message.error(&lapin::ErrorKind::ProtocolError(error).into())
        };
        let text = "message size 8 is larger than max size 5";
        let neighbor = soft(AMQPSoftError::PRECONDITIONFAILED, text);
        let cause = soft(AMQPSoftError::ACCESSREFUSED, "access to exchange 'e' refused");
        let state = lapin::ChannelState::Closing;
        let unwritten = lapin::ErrorKind::InvalidChannelState(state, "basic.publish");
        let unwritten = message.error(&unwritten.into());
        for (refused, always, unsent) in
            [(neighbor, true, false), (unwritten, true, true), (cause, false, false)]
        {
            assert_eq!(Repetition::Always.applies(&refused), always, "{refused:?}");
            assert_eq!(Repetition::Unsent.applies(&refused), unsent, "{refused:?}");
        }
    }
}
