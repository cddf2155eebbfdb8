//! The end that publishes events.

use std::sync::Arc;

use polywire_core::transport::{Outbound, Sender, Sending};
use polywire_core::{Address, Message, Result};

use crate::lines::Exchange;
use crate::shared::Shared;
use crate::wire::{Native, Publishing, Wire};

/// Opens the publishing end of `channel`, whose exchange is there when this returns.
pub(crate) async fn open(transport: &Arc<Shared>, channel: &Address) -> Result<Sender> {
    let exchange = transport.publisher.exchange(Native.event_exchange(channel)?);
    let events = Events { transport: transport.clone(), exchange };
    events.declare().await?;
    Ok(Sender::new(events))
}

struct Events {
    transport: Arc<Shared>,
    exchange: Arc<Exchange>,
}

impl Outbound for Events {
    fn send(&self, message: Message) -> Sending<'_> {
        let event = self.transport.check_message(&message);
        let persistent = self.transport.config.persistent;
        let event =
            event.and_then(|()| Native.encode_event(&self.exchange.name, message, persistent));
        match event {
            Ok(event) if self.exchange.is_doubtful() => {
                Sending::later(self.declare_and_publish(event))
            }
            // Published here and now, so that events are in the order in which they were published.
            Ok(event) => self.transport.publisher.publish(event, None),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}

impl Events {
    async fn declare_and_publish(&self, event: Publishing) -> Result<()> {
        self.transport.within_connect_timeout(self.declare()).await?;
        self.transport.publisher.publish(event, None).await
    }

    /// Over the connection that the broker does not block.
    async fn declare(&self) -> Result<()> {
        self.exchange.declare(&self.transport.consuming_connection).await
    }
}
