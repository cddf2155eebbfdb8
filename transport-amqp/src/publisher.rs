//! The end that publishes events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lapin::types::ShortString;
use polywire_core::{Address, ErrorKind, Message, Outbound, Result, Sender, Sending};

use crate::topology::declare_exchange;
use crate::transport::Inner;
use crate::wire::{Native, Publishing, Wire};

/// Opens the publishing end of `channel`, whose exchange is there when this returns.
pub(crate) async fn open(transport: &Arc<Inner>, channel: &Address) -> Result<Sender> {
    let (exchange, is_doubtful) = (Native.event_exchange(channel)?, AtomicBool::new(false));
    let events = Events { transport: transport.clone(), exchange, is_doubtful };
    events.declare().await?;
    Ok(Sender::new(events))
}

struct Events {
    transport: Arc<Inner>,
    exchange: ShortString,
    /// Whether the exchange may be gone: publishing to one that is costs the line, and whatever is on its way there.
    is_doubtful: AtomicBool,
}

impl Outbound for Events {
    fn send(&self, message: Message) -> Sending<'_> {
        let event = self.transport.check(&message);
        let persistent = self.transport.config.persistent;
        let event = event.and_then(|()| Native.encode_event(&self.exchange, message, persistent));
        match event {
            Ok(event) if self.is_doubtful.load(Ordering::Relaxed) => {
                Sending::later(self.declare_and_publish(event))
            }
            // Published here and now, so that events are in the order in which they were published.
            Ok(event) => Sending::later(self.watched(self.transport.lines.publish(event, None))),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}

impl Events {
    async fn watched(&self, sending: Sending<'_>) -> Result<()> {
        let outcome = sending.await;
        if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Disconnected) {
            self.is_doubtful.store(true, Ordering::Relaxed);
        }
        outcome
    }

    async fn declare_and_publish(&self, event: Publishing) -> Result<()> {
        self.transport.in_connect_time(self.declare()).await?;
        self.is_doubtful.store(false, Ordering::Relaxed);
        self.watched(self.transport.lines.publish(event, None)).await
    }

    async fn declare(&self) -> Result<()> {
        declare_exchange(&self.transport.publishing.channel().await?, &self.exchange).await
    }
}
