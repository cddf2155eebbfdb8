//! The sending half of publishers.

use std::sync::Arc;

use polywire_core::transport::{Outbound, Sender, Sending};
use polywire_core::{Address, Message, Result};

use crate::publishing::event_publishers::EventPublisher;
use crate::shared::AmqpShared;
use crate::wire::native;

/// Opens a sender of events to `channel`, and declares the exchange.
///
/// If the exchange was missing and queues wait for it, their subscribers get up to about 1.5
/// seconds to declare it first.
///
/// # Errors
///
/// [`ErrorKind::Config`](polywire_core::ErrorKind::Config) if there is an exchange of another type
/// by this name, or if the connection has no room for another exchange.
pub(crate) async fn open(shared: &Arc<AmqpShared>, channel: &Address) -> Result<Sender> {
    let events = shared.event_publisher(shared.config.event_exchange_names.of(channel)?)?;
    events.declare().await?;
    Ok(Sender::new(EventSender { shared: shared.clone(), events }))
}

/// The sender of events to one channel.
///
/// All senders of an exchange share one channel. Events keep the order of the calls of `send`; one
/// that is published again comes behind later ones.
struct EventSender {
    shared: Arc<AmqpShared>,
    events: Arc<EventPublisher>,
}

impl Outbound for EventSender {
    fn send(&self, message: Message) -> Sending<'_> {
        let event = self.shared.check_message(&message);
        let (exchange, persistent) = (&self.events.exchange, self.shared.config.persistent);
        let event = event.and_then(|()| native::encode_event(exchange, message, persistent));
        let event = match event {
            Ok(event) => event,
            Err(error) => return Sending::ready(Err(error)),
        };
        // Published before the future is polled, so that events keep the order of the calls. The
        // copy is for an exchange that is missing; its body is shared.
        let sending = self.events.publisher.publish(event.clone());
        Sending::later(async move {
            match sending.await {
                Err(refused) => self.events.publish_again(event, refused).await,
                Ok(()) => Ok(()),
            }
        })
    }
}
