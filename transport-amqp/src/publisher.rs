//! The sending half of publishers.

use std::sync::Arc;

use polywire_core::transport::{Outbound, Sender, Sending};
use polywire_core::{Address, Message, Result};

use crate::publishing::Exchange;
use crate::transport::Inner;
use crate::wire::{OutgoingMessage, native};

/// Opens a sender of events to `channel`, and declares the exchange.
///
/// # Errors
///
/// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) if there is an exchange of another type
/// by this name.
pub(crate) async fn open(transport: &Arc<Inner>, channel: &Address) -> Result<Sender> {
    let exchange = transport.lines.exchange(native::event_exchange(channel)?);
    let events = EventSender { transport: transport.clone(), exchange };
    events.declare().await?;
    Ok(Sender::new(events))
}

struct EventSender {
    transport: Arc<Inner>,
    exchange: Arc<Exchange>,
}

impl Outbound for EventSender {
    fn send(&self, message: Message) -> Sending<'_> {
        let event = self.transport.check(&message);
        let persistent = self.transport.config.persistent;
        let event =
            event.and_then(|()| native::encode_event(&self.exchange.name, message, persistent));
        match event {
            Ok(event) if self.exchange.may_be_missing() => {
                Sending::later(self.declare_and_publish(event))
            }
            // Published before the future is polled, so that events keep the order of the calls.
            Ok(event) => self.transport.lines.publish(event),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}

impl EventSender {
    async fn declare_and_publish(&self, event: OutgoingMessage) -> Result<()> {
        self.transport.in_connect_time(self.declare()).await?;
        self.transport.lines.publish(event).await
    }

    /// Declares the exchange over the consuming connection, which the broker never blocks.
    async fn declare(&self) -> Result<()> {
        self.exchange.declare(&self.transport.consuming).await
    }
}
