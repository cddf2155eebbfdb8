//! The sending half of publishers.

use std::sync::Arc;

use polywire_core::transport::{Outbound, Sender, Sending};
use polywire_core::{Address, Message, Result};

use crate::publishing::exchanges::Exchange;
use crate::shared::Shared;
use crate::wire::{OutgoingMessage, native};

/// Opens a sender of events to `channel`, and declares the exchange.
///
/// # Errors
///
/// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) if there is an exchange of another type
/// by this name.
pub(crate) async fn open(shared: &Arc<Shared>, channel: &Address) -> Result<Sender> {
    let exchange = shared.publisher.exchange(native::event_exchange(channel)?);
    let events = EventSender { shared: shared.clone(), exchange };
    events.declare().await?;
    Ok(Sender::new(events))
}

/// The sender of events to one channel.
struct EventSender {
    shared: Arc<Shared>,
    exchange: Arc<Exchange>,
}

impl Outbound for EventSender {
    fn send(&self, message: Message) -> Sending<'_> {
        let event = self.shared.check_message(&message);
        let persistent = self.shared.config.persistent;
        let event =
            event.and_then(|()| native::encode_event(&self.exchange.name, message, persistent));
        match event {
            Ok(event) if self.exchange.may_be_missing() => {
                Sending::later(self.declare_and_publish(event))
            }
            // Published before the future is polled, so that events keep the order of the calls.
            Ok(event) => self.shared.publisher.publish(event),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}

impl EventSender {
    async fn declare_and_publish(&self, event: OutgoingMessage) -> Result<()> {
        self.shared.within_connect_timeout(self.declare()).await?;
        self.shared.publisher.publish(event).await
    }

    /// Declares the exchange over the consuming connection, which the broker never blocks.
    async fn declare(&self) -> Result<()> {
        self.exchange.declare(&self.shared.consuming_connection).await
    }
}
