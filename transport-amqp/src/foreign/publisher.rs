//! The sending half of publishers in a foreign layout.

use std::sync::Arc;

use polywire_core::transport::{Outbound, Sender, Sending};
use polywire_core::{Address, Error, ErrorKind, Message, Result};

use super::exchange_publisher::{ExchangePublisher, Repetition};
use super::layout::AmqpLayout;
use crate::shared::AmqpShared;

/// Opens a sender of events to `channel`, and declares the exchange.
///
/// # Errors
///
/// Those of the layout and of the declarations.
pub(super) async fn open(
    shared: &Arc<AmqpShared>,
    layout: Arc<dyn AmqpLayout>,
    channel: &Address,
) -> Result<Sender> {
    let publisher =
        ExchangePublisher::open(shared, layout.event_exchange(channel)?, Repetition::Always)
            .await?;
    Ok(Sender::new(ForeignEventSender { channel: channel.clone(), publisher, layout }))
}

/// The sender of events to one channel.
struct ForeignEventSender {
    channel: Address,
    publisher: ExchangePublisher,
    layout: Arc<dyn AmqpLayout>,
}

impl Outbound for ForeignEventSender {
    fn send(&self, message: Message) -> Sending<'_> {
        let deadline = message.deadline;
        let checked = self.publisher.shared.check_message(&message).and_then(|()| {
            message.topic.is_some().then_some(()).ok_or_else(|| {
                Error::new(ErrorKind::Config, "cannot publish the event: it has no topic").unsent()
            })
        });
        match checked.and_then(|()| self.layout.encode_event(&self.channel, message)) {
            Ok(event) => self.publisher.publish(event, deadline),
            Err(error) => Sending::ready(Err(error)),
        }
    }
}
